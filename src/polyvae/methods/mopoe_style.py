"""MoPoE-VAE with style codes (Sutter et al. 2021, their code): content z as in MoPoE, a style s_m for each modality.

For a row with modalities X, the mean over all non-empty subsets A of them, maximised:

    mean_A E sum_m log p(x_m | z_A, s_m) - beta { mean_A KL(q_A || p) + b sum_m KL(q(s_m | x_m) || p(s_m)) }

s_m ~ q(s_m | x_m), always the target's own, so that content may pass through the styles. At test time: z as in MoPoE,
and s_m ~ p(s_m) for all targets, those that are given, too (`at_test`).
"""

from dataclasses import dataclass

from polyvae import subsets
from polyvae.methods.method import Method
from polyvae.models.private import AtTest, PrivateOptions
from polyvae.objectives import PRIOR, Divergence, Draw, Mix, Q, Terms
from polyvae.options import require


@dataclass(frozen=True)
class Options(PrivateOptions):
    """As `PrivateOptions`, with draws of p(s_m) for all at test time.

    style: b, the weight of the styles' divergences in units of beta, at least 0; published for CelebA: 2.
    """

    at_test: AtTest = "prior"
    style: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.style >= 0, "style", self.style, "at least 0")


def recipe(names: tuple[str, ...], options: Options) -> Terms:
    parts = tuple((t.weight, Q(t.given, t.prior_expert, "all")) for t in subsets.mopoe(names).terms)
    whole = parts[-1][1]
    styles = Divergence(whole, whole._replace(private="none"), options.style - 1)  # z is alike in both
    return Terms((Draw(Mix(parts)),), (Divergence(Mix(parts), PRIOR), styles))  # the former counts styles once


ROWS = (
    Method(
        "mopoe_style",
        subsets.mopoe,
        "mopoe with a style code for each modality, read by its decoder alone",
        "Sutter et al. 2021, their code",
        model="private",
        options=Options,
        recipe=recipe,
    ),
)
