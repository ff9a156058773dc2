"""MVTCAE (Hwang et al. 2021): the product of experts, trained to reduce total correlation.

For a row with M modalities X, q_X the product of their experts without prior expert, maximised:

    (M - alpha) / M E_{q_X} sum_m log p(x_m | z)
        - beta { (1 - alpha) KL(q_X || p) + alpha / M sum_m KL(q_X || q_m) }

which at beta 1 is at most (1 - alpha) log p(X) + alpha / M sum_m log p(X without x_m | x_m). One draw, closed KLs,
gradients everywhere. At test time, too, a subset's posterior is the product of its experts without prior expert. Single
posteriors overshoot under it; `mvtcae_over_messages`, trained alike, has p^(1 - |A| / M) prod q_m (`fusions`).

`mvtcae_contrast`, ours and unpublished, subtracts contrast * NT-Xent of the single experts' means in a block of z
(`objectives.regularisers`): what modalities share is learned there, without a decoder.
"""

from dataclasses import dataclass, replace

from polyvae import subsets
from polyvae.methods.method import Method
from polyvae.objectives import PRIOR, Contrast, Divergence, Draw, Q, Regulariser, Terms
from polyvae.options import require


@dataclass(frozen=True)
class Options:
    """alpha: share of the conditional bounds, in [0, 1]: 0 is MVAE without prior expert, 1 has no term of the prior."""

    alpha: float = 5 / 6

    def __post_init__(self) -> None:
        require(0 <= self.alpha <= 1, "alpha", self.alpha, "in [0, 1]")


@dataclass(frozen=True)
class WithContrast(Options):
    """contrast: weight of NT-Xent, at least 0; its temperature, above 0; its share of the dimensions, in (0, 1]."""

    contrast: float = 80.0
    temperature: float = 0.2
    share: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.contrast >= 0, "contrast", self.contrast, "at least 0")
        regularisers(self)


def regularisers(options: WithContrast) -> tuple[Regulariser, ...]:
    return (Regulariser("contrast", options.contrast, Contrast(options.temperature, options.share)),)


def recipe(names: tuple[str, ...], options: Options) -> Terms:
    whole, count, alpha = Q(names), len(names), options.alpha
    conditional = (Divergence(whole, Q((name,)), alpha / count) for name in names)
    return Terms((Draw(whole, (count - alpha) / count),), (Divergence(whole, PRIOR, 1 - alpha), *conditional))


MVTCAE = Method(
    "mvtcae",
    subsets.whole,
    "product of experts, held close to each expert: total correlation",
    "Hwang et al. 2021",
    recipe=recipe,
    options=Options,
    is_bound=False,
)
ROWS = (
    MVTCAE,
    replace(
        MVTCAE,
        name="mvtcae_over_messages",
        summary="mvtcae; at test time each expert holds 1 / M of the prior",
        source="Hwang et al. 2021; docs/methods.md",
        model="messages",
    ),
    replace(
        MVTCAE,
        name="mvtcae_contrast",
        summary="mvtcae with a contrastive loss on a block of z",
        source="ours, unpublished; docs/methods.md",
        options=WithContrast,
        regularisers=regularisers,
    ),
)
