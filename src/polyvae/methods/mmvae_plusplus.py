"""MMVAE++ (Märtens & Yau 2024): MMVAE+ whose z learns from other modalities alone, and whose unknown w_n are 0.

For a row with modalities X, sg[.] without gradient, maximised:

    sum_m E { log p(x_m | sg[z], w_m) + sum_{n != m} log p(x_n | z, w_n = 0) } - beta KL(q(z, w_m | x_m) || p(z) p(w_m))

with z, w_m ~ q(z | x_m) q(w_m | x_m). Sums over modalities, not means; divergences in closed form. At test time: z from
the mixture of what is given, own w_m for that, and w_n = 0 for others (`at_test`).
"""

from dataclasses import dataclass

from polyvae import subsets
from polyvae.methods.method import Method
from polyvae.models.private import AtTest, PrivateOptions
from polyvae.objectives import PRIOR, Divergence, Draw, Q, Terms


@dataclass(frozen=True)
class Options(PrivateOptions):
    """As `PrivateOptions`, with 0 for what is not known at test time, too."""

    at_test: AtTest = "zero"


def recipe(names: tuple[str, ...], options: Options) -> Terms:
    laws = [Q((name,)) for name in names]
    draws = tuple(Draw(law, unseen="zero", is_own_constant=True) for law in laws)
    return Terms(draws, tuple(Divergence(law, PRIOR) for law in laws))


ROWS = (
    Method(
        "mmvae_plusplus",
        subsets.mmvae,
        "mmvae_plus whose shared code learns from other modalities alone",
        "Märtens & Yau 2024",
        model="private",
        options=Options,
        recipe=recipe,
        is_bound=False,
    ),
)
