"""IDMVAE (ICLR 2026): MMVAE+ whose shared codes find each other, and whose two codes can be told apart.

The objective of MMVAE+ (`mmvae_plus`), minus, for a batch:

    contrast * mean over pairs m < n of NT-Xent(means of z given x_m, means of z given x_n)            (CrossMI)
    cycle / (2 M) sum_m { NT-Xent(z of x_m, z of x'_m) + NT-Xent(w of x_m, w of x''_m) }               (GenAug)

x'_m decoded from z of its row and w of the row before, x''_m the other way round (`objectives.regularisers`). In the
published code (`official`) both count M times, so that its weights 80 and 20 are 400 and 100 here for five modalities.
Its diffusion prior, whose loss the code adds to a divergence from N(0, I), is left out: a prior can be fitted after
training (`polyvae fit-prior`). At test time: as MMVAE+.
"""

from dataclasses import dataclass, replace
from functools import partial

from polyvae.methods.mmvae_plus import MMVAE_PLUS
from polyvae.models.private import PrivateOptions
from polyvae.objectives import Contrast, Cycle, Regulariser
from polyvae.objectives.regularisers import CycleKind
from polyvae.options import require
from polyvae.posteriors import Family


@dataclass(frozen=True)
class Options(PrivateOptions):
    """contrast, cycle: weights of CrossMI and GenAug, at least 0; temperature of both, above 0.

    cycle_kind: "square" has squared distances of means in place of NT-Xent in GenAug, as a variant of the paper.
    """

    contrast: float = 80.0
    cycle: float = 20.0
    temperature: float = 1.0
    cycle_kind: CycleKind = "contrast"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("contrast", "cycle"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        regularisers(self)


def regularisers(options: Options, *, is_official: bool = False) -> tuple[Regulariser, ...]:
    contrast = Contrast(options.temperature, times_modalities=is_official)
    cycle = Cycle(options.temperature, is_official, kind=options.cycle_kind)
    return Regulariser("contrast", options.contrast, contrast), Regulariser("cycle", options.cycle, cycle, passes=2)


IDMVAE = replace(
    MMVAE_PLUS,
    name="idmvae",
    summary="mmvae_plus with contrastive losses on its two codes, z and w",
    source="Zhang et al. 2026, weights of the paper",
    prior="normal",
    family=Family("normal", "softplus"),
    options=Options,
    regularisers=regularisers,
)
ROWS = (
    IDMVAE,
    replace(
        IDMVAE,
        name="idmvae_official",
        summary="idmvae with its losses summed over modalities, as in its code",
        source="Zhang et al. 2026, their code",
        regularisers=partial(regularisers, is_official=True),
    ),
)
