"""Discrete latent variable models over a joint table: every quantity of the theorem as an exact sum, in nats.

They are what the certified lines are tested on, and what attains them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax, xlogy

from polyvae.errors import InputError
from polyvae.subsets import SubsetMixture
from polyvae.theory.generators import DiscreteLaw, product

SUM_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class DiscreteModel:
    """prior: (code,); encoders: subset -> (*cells of its modalities in the law's order, code); decoder: (code, *cells).

    Raises InputError unless all are distributions (over codes; the decoder over cells).
    """

    prior: np.ndarray
    encoders: Mapping[tuple[str, ...], np.ndarray]
    decoder: np.ndarray

    def __post_init__(self) -> None:
        sums = {"prior": self.prior.sum(-1), "decoder": self.decoder.reshape(len(self.decoder), -1).sum(-1)}
        sums |= {f"encoder of {'+'.join(given)}": table.sum(-1) for given, table in self.encoders.items()}
        for what, total in sums.items():
            if not np.abs(total - 1).max() <= SUM_TOLERANCE:
                raise InputError(f"the {what} sums to {float(np.ravel(total)[0]):g}, not to 1; normalise it")
        for table in (self.prior, self.decoder, *self.encoders.values()):
            if table.min() < 0:
                raise InputError(f"a probability is {table.min():g}; it must be at least 0")

    def aggregate(self, law: DiscreteLaw, given: tuple[str, ...]) -> np.ndarray:
        """p(x, z) when z encodes x_given: (*cells, code)."""
        shape = [size if name in given else 1 for name, size in zip(law.names, law.table.shape, strict=True)]
        return law.table[..., None] * self.encoders[given].reshape(*shape, -1)

    def distortion(self, law: DiscreteLaw, given: tuple[str, ...]) -> float:
        """E[-log decoder(x | z)] for z of x_given."""
        return float(-xlogy(self.aggregate(law, given), np.moveaxis(self.decoder, 0, -1)).sum())

    def best_encoder(self, law: DiscreteLaw, given: tuple[str, ...]) -> np.ndarray:
        """The encoder of x_given that is best in L_S for this prior and decoder: (*cells of given, code).

        It minimises E KL(encoder || posterior of z given X) over the X that go with x_given, so it is the normalised
        geometric mean of these posteriors, exp E[log posterior | x_given] (docs/theory.md).
        The decoder must give every cell that occurs a probability under some code common to its x_given.
        """
        axes = tuple(i for i, name in enumerate(law.names) if name not in given)
        posterior = self.prior * np.moveaxis(self.decoder, 0, -1)
        score = xlogy(law.table[..., None], posterior).sum(axes)
        weight = law.table.sum(axes)[..., None]
        return softmax(np.divide(score, weight, out=np.zeros_like(score), where=weight > 0), -1)

    def rate(self, law: DiscreteLaw, given: tuple[str, ...]) -> float:
        """E KL(encoder(z | x_given) || prior)."""
        axes = tuple(i for i, name in enumerate(law.names) if name not in given)
        return self._kl(law.table.sum(axes), self.encoders[given])

    def objective(self, law: DiscreteLaw, S: SubsetMixture, beta: float = 1.0) -> float:
        """L_S^beta = -(D + beta R) (paper, eq. 2)."""
        parts = ((t.weight, self.distortion(law, t.given) + beta * self.rate(law, t.given)) for t in S.terms)
        return -sum(weight * value for weight, value in parts)

    def mixture_objective(self, law: DiscreteLaw, S: SubsetMixture, beta: float = 1.0) -> float:
        """The same with the rate of the mixture of all encoders, E KL(sum_A w_A encoder_A || prior) (paper, eq. 29)."""
        mixed = sum(t.weight * self.aggregate(law, t.given) for t in S.terms)
        encoder = np.divide(mixed, law.table[..., None], out=np.zeros_like(mixed), where=law.table[..., None] > 0)
        distortion = sum(t.weight * self.distortion(law, t.given) for t in S.terms)
        return -(distortion + beta * self._kl(law.table, encoder))

    def log_evidence(self, law: DiscreteLaw) -> float:
        """E log p_model(x) under the law."""
        return float(xlogy(law.table, np.tensordot(self.prior, self.decoder, 1)).sum())

    def _kl(self, weight: np.ndarray, encoder: np.ndarray) -> float:
        with np.errstate(divide="ignore"):  # a code of prior 0 costs an infinite rate if it is used, else nothing
            return float((weight[..., None] * (xlogy(encoder, encoder) - xlogy(encoder, self.prior))).sum())


def random_model(law: DiscreteLaw, S: SubsetMixture, codes: int, rng: np.random.Generator) -> DiscreteModel:
    """Random prior, encoders and decoder, sharp or flat alike."""
    sharp = 10.0 ** rng.uniform(-1.5, 1)
    encoders = {t.given: rng.dirichlet(np.full(codes, sharp), _sizes(law, t.given)) for t in S.terms}
    decoder = rng.dirichlet(np.full(law.table.size, 10.0 ** rng.uniform(-1, 1)), codes)
    smooth = 0.999 * decoder + 0.001 / law.table.size  # no cell has probability 0
    return DiscreteModel(rng.dirichlet(np.ones(codes)), encoders, smooth.reshape(codes, *law.table.shape))


def naming_code(law: DiscreteLaw, S: SubsetMixture, *, factorised: bool = False) -> DiscreteModel:
    """The code z = (A, x_A), prior w_A p(x_A), decoder p(x | x_A): attains line 4 (docs/theory.md).

    factorised: the decoder is the product of p(x_m | x_A) instead, which attains line 6 up to H(w).
    """
    codes = [(t, cell) for t in S.terms for cell in np.ndindex(*_sizes(law, t.given))]
    prior, decoder = np.zeros(len(codes)), np.zeros((len(codes), *law.table.shape))
    for index, (term, cell) in enumerate(codes):
        places = dict(zip((n for n in law.names if n in term.given), cell, strict=True))
        window = tuple(slice(places[n], places[n] + 1) if n in places else slice(None) for n in law.names)
        mass = law.table[window].sum()
        prior[index] = term.weight * mass
        slab = law.table[window] / mass if mass > 0 else np.full_like(law.table[window], 1 / law.table[window].size)
        decoder[index][window] = _product_of_marginals(slab) if factorised else slab
    encoders, start = {}, 0
    for term in S.terms:
        sizes = _sizes(law, term.given)
        count = math.prod(sizes)
        encoders[term.given] = np.eye(count, len(codes), start).reshape(*sizes, -1)
        start += count
    return DiscreteModel(prior / prior.sum(), encoders, decoder)


def _sizes(law: DiscreteLaw, given: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(size for name, size in zip(law.names, law.table.shape, strict=True) if name in given)


def _product_of_marginals(table: np.ndarray) -> np.ndarray:
    axes = range(table.ndim)
    return product(table.sum(tuple(i for i in axes if i != axis)) for axis in axes)
