"""DMVAE (Lee & Pavlovic 2021): a shared z from every single expert and from their product, and private codes w_m.

For a row with M modalities X, sources s: the product of all experts and N(0, I), and every expert alone; maximised:

    sum_s { E sum_m log p(x_m | z_s, w_m) - beta [ KL(q_s || p) + sum_m KL(q(w_m | x_m) || p(w_m)) ] }

w_m always is the target's own. With M = 1 it is two bounds. At test time: the product of what is given and N(0, I),
also for one modality; own w_m for what is given, w_n ~ p(w_n) for others (`at_test`).
In the published code (`official`) the reconstructions from the product are multiplied by 0, KL(q_s || p) counts once
for every target, and KL(q(w_m | x_m) || p(w_m)) M + 1 times.
"""

from dataclasses import replace
from functools import partial

from polyvae import subsets
from polyvae.methods.method import Method
from polyvae.models.private import PrivateOptions
from polyvae.objectives import PRIOR, Divergence, Draw, Q, Terms


def recipe(names: tuple[str, ...], options: PrivateOptions, *, is_official: bool = False) -> Terms:
    sources = (Q(names, True, "all"), *(Q((name,), private="all") for name in names))
    if not is_official:
        return Terms(tuple(map(Draw, sources)), tuple(Divergence(law, PRIOR) for law in sources))
    of_z = tuple(law._replace(private="none") for law in sources)
    shared = (Divergence(law, PRIOR, len(names)) for law in of_z)
    return Terms(tuple(map(Draw, sources[1:])), (*shared, Divergence(sources[0], of_z[0], len(sources))))


DMVAE = Method(
    "dmvae",
    subsets.mvae,
    "product and each expert predict all modalities, with the targets' private codes",
    "Lee & Pavlovic 2021",
    model="private",
    options=PrivateOptions,
    recipe=recipe,
    is_bound=False,
)
ROWS = (
    DMVAE,
    replace(
        DMVAE,
        name="dmvae_official",
        summary="dmvae without reconstructions from the product, as in its code",
        source="Lee & Pavlovic 2021, their code",
        recipe=partial(recipe, is_official=True),
    ),
)
