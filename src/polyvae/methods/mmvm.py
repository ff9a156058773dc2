"""MMVM (Sutter et al. 2024): one posterior per modality, each held to the mixture of all, its data-dependent prior.

For a row with M modalities, maximised:

    sum_m E_{q_m} log p(x_m | z) - beta sum_m KL(q_m || 1/M sum_k q_k)

The divergences, M times a Jensen-Shannon divergence of at most log M nats, are estimated at the draws. The published
code (`official`) has closed forms in their place, an upper bound without limit:

    sum_m { (1 - a) / M sum_k KL(q_m || q_k) + a KL(q_m || p) }

No term predicts another modality, and with M = 1 (a = 0) no term of the rate is left. At test time z is drawn from the
mixture of what is given. N(0, I) is not the law of these codes: fit a prior before sampling without inputs.
"""

from dataclasses import dataclass

from polyvae import subsets
from polyvae.methods.method import Method
from polyvae.objectives import PRIOR, Divergence, Draw, Mix, Q, Terms, singles
from polyvae.options import require


@dataclass(frozen=True)
class Options:
    """a: share of KL(q_m || N(0, I)), in [0, 1]: 0, as for PolyMNIST, has none; 1 trains independent VAEs."""

    a: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.a <= 1, "a", self.a, "in [0, 1]")


def recipe(names: tuple[str, ...], options: None = None) -> Terms:
    mixture = Mix(singles(names))
    return Terms(_own(names), tuple(Divergence(law, mixture, how="sampled") for _, law in mixture.parts))


def official(names: tuple[str, ...], options: Options) -> Terms:
    mixture = Mix(singles(names))
    pairs = (Divergence(law, mixture, 1 - options.a, how="pairwise") for _, law in mixture.parts)
    return Terms(_own(names), (*pairs, *(Divergence(law, PRIOR, options.a) for _, law in mixture.parts)))


def _own(names: tuple[str, ...]) -> tuple[Draw, ...]:
    return tuple(Draw(Q((name,)), targets=(name,)) for name in names)


ROWS = (
    Method(
        "mmvm",
        subsets.mmvae,
        "one VAE per modality; the mixture of all posteriors is the prior of each",
        "Sutter et al. 2024",
        recipe=recipe,
        is_bound=False,
    ),
    Method(
        "mmvm_official",
        subsets.mmvae,
        "mmvm with pairwise divergences, as in its code",
        "Sutter et al. 2024, their code",
        recipe=official,
        options=Options,
        is_bound=False,
    ),
)
