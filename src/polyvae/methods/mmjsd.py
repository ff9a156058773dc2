"""mmJSD (Sutter et al. 2020): a mixture of single experts, held together by a Jensen-Shannon divergence.

For a row with M modalities, f the weighted geometric mean of its M experts and N(0, I), weights 1 / (M + 1), maximised:

    E_{mixture of q_m} sum_m log p(x_m | z) - beta / (M + 1) { sum_m KL(q_m || f) + KL(p || f) }

In the published code (`official`, of the MoPoE repository, origin of its PolyMNIST numbers) N(0, I) is one more part of
the mixture that z is drawn from, so 1 / (M + 1) of the reconstructions start from noise. With M = 1 it is not a VAE:
the divergence is half KL(q || f) and half KL(p || f). At test time: the mixture of single experts, as in that code.
"""

from functools import partial

from polyvae import subsets
from polyvae.methods.method import Method
from polyvae.objectives import PRIOR, Divergence, Draw, Geometric, Mix, Q, Terms, singles


def recipe(names: tuple[str, ...], options: None = None, *, is_official: bool = False) -> Terms:
    laws = (*(Q((name,)) for name in names), PRIOR)
    parts = tuple((1 / len(laws), law) for law in laws)
    mean = Geometric(parts)
    drawn = Mix(parts if is_official else singles(names))
    return Terms((Draw(drawn),), tuple(Divergence(law, mean, share) for share, law in parts))


ROWS = (
    Method(
        "mmjsd",
        subsets.mmvae,
        "mixture of single experts, held close to their geometric mean",
        "Sutter et al. 2020",
        recipe=recipe,
        is_bound=False,
    ),
    Method(
        "mmjsd_official",
        subsets.mmvae,
        "mmjsd that also decodes noise, as the code of MoPoE-VAE does",
        "Sutter et al. 2021, their code",
        recipe=partial(recipe, is_official=True),
        is_bound=False,
    ),
)
