"""Linear-Gaussian laws: evidence, posteriors, optimal encoders and differential entropies in closed form, in nats."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from polyvae.errors import InputError
from polyvae.theory.information import MOST_MODALITIES, Entropies


@dataclass(frozen=True, eq=False)
class LinearGaussian:
    """x_m = W_m z + noise with z ~ N(0, I); modalities are called m0, m1, ...

    weights: Float64 (feature, latent) for each modality; noise: standard deviation of every feature's noise.
    Raises InputError for weights that do not agree in their latent dimensions, or a noise that is not above 0.
    """

    weights: tuple[np.ndarray, ...]
    noise: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", tuple(np.asarray(w, np.float64) for w in self.weights))
        if not self.weights or len({w.shape[1:] for w in self.weights}) != 1 or any(w.ndim != 2 for w in self.weights):
            raise InputError(f"weights have shapes {[w.shape for w in self.weights]}; each must be (feature, latent)")
        if len(self.weights) > MOST_MODALITIES or not all(np.isfinite(w).all() for w in self.weights):
            raise InputError(f"{len(self.weights)} weights; there may be {MOST_MODALITIES}, of finite numbers")
        if not (self.noise > 0 and math.isfinite(self.noise)):
            raise InputError(f"noise {self.noise} must be a finite number above 0")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"m{m}" for m in range(len(self.weights)))

    @property
    def latent(self) -> int:
        return self.weights[0].shape[1]

    def stacked(self, given: Sequence[int] | None = None) -> np.ndarray:
        """W of the modalities `given` (None: all) laid end to end: (feature, latent)."""
        chosen = range(len(self.weights)) if given is None else given
        return np.concatenate([np.zeros((0, self.latent)), *(self.weights[m] for m in chosen)])

    def covariance(self, given: Sequence[int] | None = None) -> np.ndarray:
        """Covariance of x_given: (feature, feature)."""
        stacked = self.stacked(given)
        return stacked @ stacked.T + self.noise**2 * np.eye(len(stacked))

    def draw(self, rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """name -> Float64 (row, feature): independent rows."""
        z = rng.standard_normal((rows, self.latent))
        pairs = zip(self.names, self.weights, strict=True)
        return {name: z @ w.T + self.noise * rng.standard_normal((rows, len(w))) for name, w in pairs}

    def log_evidence(self, values: np.ndarray, given: Sequence[int] | None = None) -> np.ndarray:
        """Exact log p(x_given) of the rows `values` (row, feature), modalities laid end to end: (row,)."""
        factor = np.linalg.cholesky(self.covariance(given))
        standard = np.linalg.solve(factor, np.asarray(values, np.float64).T)
        return -0.5 * ((standard**2).sum(0) + len(factor) * math.log(2 * math.pi)) - np.log(np.diag(factor)).sum()

    def entropy(self, given: Sequence[int] | None = None) -> float:
        """Differential entropy of x_given: minus the expected log evidence."""
        covariance = self.covariance(given)
        return float(0.5 * (np.linalg.slogdet(covariance)[1] + len(covariance) * math.log(2 * math.pi * math.e)))

    @cached_property
    def entropies(self) -> Entropies:
        """Differential entropies of all subsets."""
        count = len(self.weights)
        subsets = ([m for m in range(count) if bits >> m & 1] for bits in range(2**count))
        return Entropies(self.names, np.array([self.entropy(subset) for subset in subsets]), is_discrete=False)

    def posterior(self, given: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(gain, covariance) of the exact posterior z | x_given ~ N(gain x_given, covariance)."""
        stacked = self.stacked(given)
        covariance = np.linalg.inv(np.eye(self.latent) + stacked.T @ stacked / self.noise**2)
        return covariance @ stacked.T / self.noise**2, covariance

    def optimal_encoder(self, given: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """(gain, covariance) of the encoder of x_given that is best in L_S while the decoder is the true one.

        It predicts every modality, so it minimises E KL(encoder || z | x) over the x that go with x_given: the mean of
        the full posterior's mean, N(E[z | x_given], covariance of z | x). Narrower than the true z | x_given, which
        scores worse: samples of what is missing lack diversity (docs/theory.md).
        """
        return self.posterior(given)[0], self.posterior()[1]

    def encoder_gap(self, given: Sequence[int]) -> float:
        """E log p(x) minus the L_S term of the best encoder of x_given: (tr(full^-1 partial) - latent) / 2."""
        full, partial = self.posterior()[1], self.posterior(given)[1]
        return float((np.trace(np.linalg.solve(full, partial)) - self.latent) / 2)

    def distortion(self, given: Sequence[int], encoder: tuple[np.ndarray, np.ndarray]) -> float:
        """E[-log p(x | z)] for z ~ N(gain x_given, covariance) under the true decoder, over the law of x."""
        gain, covariance = encoder
        whole, stacked = self.covariance(), self.stacked()
        places = np.split(np.arange(len(whole)), np.cumsum([len(w) for w in self.weights])[:-1])
        seen = np.concatenate([places[m] for m in given])
        predicted = stacked @ gain
        explained = np.trace(predicted @ whole[np.ix_(seen, seen)] @ predicted.T)
        error = np.trace(whole) - 2 * np.trace(predicted @ whole[seen]) + explained
        error += np.trace(stacked @ covariance @ stacked.T)
        return float(0.5 * error / self.noise**2 + len(whole) * math.log(self.noise * math.sqrt(2 * math.pi)))

    def rate(self, given: Sequence[int], encoder: tuple[np.ndarray, np.ndarray]) -> float:
        """E KL(N(gain x_given, covariance) || N(0, I)), over the law of x."""
        gain, covariance = encoder
        spread = np.trace(covariance) + np.trace(gain @ self.covariance(given) @ gain.T)
        return float(0.5 * (spread - self.latent - np.linalg.slogdet(covariance)[1]))

    def feature_entropies(self, given: Sequence[int], among: Sequence[int] | None = None) -> float:
        """sum of h(x_j | x_given) over the features j outside `given`, of modalities `among` (None: all): line 6."""
        rest = [m for m in (range(len(self.weights)) if among is None else among) if m not in given]
        outside, covariance = self.stacked(rest), self.posterior(given)[1]
        variance = np.einsum("jk,kl,jl->j", outside, covariance, outside) + self.noise**2
        return float(0.5 * np.log(2 * math.pi * math.e * variance).sum())
