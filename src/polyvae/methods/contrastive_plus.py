"""contrastive_plus, ours and unpublished: contrast says what z is, decoders read it with the target's own w_n.

For a row with M modalities X, sg[.] without gradient, maximised:

    1/M sum_m E { log p(x_m | sg[z], w_m) - b beta KL(q(w_m | x_m) || p) - beta KL(q(z | x_m) || p)
        + own_cross sum_{n != m} [ log p(x_n | z, w_n) - b beta KL(q(w_n | x_n) || p) ]
        + prior_cross sum_{n != m} log p(x_n | z, w'_n) },    z ~ q(z | x_m), w_n ~ q(w_n | x_n), w'_n ~ p

with one m per row, minus, for a batch (`objectives.regularisers`):

    contrast * mean over pairs m < n of NT-Xent(means of z given x_m, means of z given x_n)
    cycle * mean over m of { s NT-Xent(z of x_m, z of x'_m) + (1 - s) NT-Xent(w of x_m, w of x''_m) }

x'_m decoded from z of its row and w of the row before, x''_m the other way round. Pixels of x_m do not train
q(z | x_m), those of others do; with its own w_n a target asks of z only what it shares, and the cycle keeps that out of
w_n. With b and own_cross 1 and prior_cross 0, as by default, the first part is a bound at beta 1: the mean over m of
the ELBOs of q(z | x_m) prod_n q(w_n | x_n).

First the contrast is minimised alone, over encoders (`alone`, a share of the epochs): beside likelihoods it can stay at
chance. At test time: z from the product of q(z | x_m) of what is given, own w_m for that, and w_n ~ p for others.
"""

from dataclasses import dataclass

from polyvae import subsets
from polyvae.methods.method import Method, Stage, parameters_of
from polyvae.models.private import PrivateOptions
from polyvae.objectives import PRIOR, Contrast, Cycle, Divergence, Draw, Mix, Regulariser, Terms, singles
from polyvae.options import require


@dataclass(frozen=True)
class Options(PrivateOptions):
    """As `PrivateOptions`, with wide w and two trunks.

    private: b, weight of the divergences of w in units of beta. own_cross, prior_cross: weights of predictions of other
    modalities, with their own w_n and with a draw of p(w_n). detach: whether z is a constant in self-reconstructions.
    contrast, cycle: weights, at least 0; temperature: of both, above 0; cycle_share: s, in [0, 1].
    alone: share of the epochs in which contrast is minimised alone, in [0, 1); 0 trains all from the start.
    """

    private_dim: int = 64
    two_trunks: bool = True
    private: float = 1.0
    own_cross: float = 1.0
    prior_cross: float = 0.0
    detach: bool = True
    contrast: float = 80.0
    cycle: float = 20.0
    cycle_share: float = 0.5
    temperature: float = 0.2
    alone: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("private", "own_cross", "prior_cross", "contrast", "cycle"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "at least 0")
        require(0 <= self.alone < 1, "alone", self.alone, "at least 0 and below 1")
        regularisers(self)

    @property
    def together(self) -> float:
        """Share of the epochs in which all is trained."""
        return 1 - self.alone


def recipe(names: tuple[str, ...], options: Options) -> Terms:
    parts = singles(names, "all")
    sources, (_, first) = Mix(parts), parts[0]
    draws = [Draw(sources, others=options.own_cross, is_own_constant=options.detach)]
    if options.prior_cross:
        draws.append(Draw(Mix(singles(names)), 0.0, others=options.prior_cross))
    read = (1 + options.own_cross * (len(names) - 1)) / len(names)  # of each w_n, on average over the sources
    of_w = Divergence(first, first._replace(private="none"), options.private * read - 1)  # in which z is alike
    return Terms(tuple(draws), (Divergence(sources, PRIOR), of_w))  # the former counts every w_n once


def regularisers(options: Options) -> tuple[Regulariser, ...]:
    cycle = Cycle(options.temperature, share=options.cycle_share)
    return (
        Regulariser("contrast", options.contrast, Contrast(options.temperature)),
        Regulariser("cycle", options.cycle, cycle, passes=2),
    )


ROWS = (
    Method(
        "contrastive_plus",
        subsets.whole,
        "contrast finds z, decoders read it beside private codes, a cycle keeps the two apart",
        "ours, unpublished; docs/methods.md",
        stages=(
            Stage("contrast", "contrast", "alone", parameters_of("encoders")),
            Stage("together", share="together"),
        ),
        model="private",
        options=Options,
        recipe=recipe,
        regularisers=regularisers,
    ),
)
