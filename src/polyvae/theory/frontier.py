"""Which S costs how much: the frontier between Delta and the number of modalities that the encoder may see."""

from typing import NamedTuple

import numpy as np

from polyvae import subsets
from polyvae.errors import InputError
from polyvae.subsets import SubsetMixture
from polyvae.theory.discrepancies import Law, discrepancy, known, presets

MOST_POINTS = 1000
MOST_LP_MODALITIES = 12
NEGLIGIBLE = 1e-9  # a weight below it counts as none


class Mix(NamedTuple):
    """An S and its place: observed = sum_A w_A |A|, the mean number of encoded modalities; Delta in nats."""

    S: SubsetMixture
    observed: float
    delta: float


def tradeoff(law: Law, points: int = 9, *, least_share: float = 0.0) -> tuple[Mix, ...]:
    """The frontier: `best_mix` at `points` even steps of the mean number of observed modalities, from 1 to M."""
    H = known(law)
    count = len(H.names)
    if not 2 <= points <= MOST_POINTS:
        raise InputError(f"points {points} must be at least 2, at most {MOST_POINTS:,}")
    if not 0 <= least_share <= 1 / count:
        raise InputError(f"least share {least_share} must be between 0 and 1 / {count}")
    most = count - least_share * count * (count - 1)
    return tuple(best_mix(H, float(observed), least_share=least_share) for observed in np.linspace(1, most, points))


def best_mix(law: Law, observed: float, *, least_share: float = 0.0) -> Mix:
    """The S of least Delta that encodes `observed` modalities on average, sum_A w_A |A| = observed.

    A linear programme over weights on the powerset (SciPy, HiGHS): minimise sum_A w_A H(X_notA | X_A).
    least_share: the weight that every single modality keeps at least, so that each is learned to be encoded alone.
    The S is ready for training (`subsets.custom`). Raises InputError for more than 12 modalities, or where no S fits.
    """
    H = known(law)
    count = len(H.names)
    if count > MOST_LP_MODALITIES:
        raise InputError(f"{count} modalities have too many subsets; at most {MOST_LP_MODALITIES}")
    bits = np.arange(1, 2**count)
    size = (bits[:, None] >> np.arange(count) & 1).sum(1)
    from scipy.optimize import linprog  # here: it starts slowly, and training never needs it

    solution = linprog(
        H.joint - H.values[bits],
        A_eq=np.stack([np.ones(len(bits)), size]),
        b_eq=[1, observed],
        bounds=np.stack([np.where(size == 1, least_share, 0.0), np.ones(len(bits))], 1),
        method="highs",
    )
    if not solution.success:
        raise InputError(
            f"no S has {observed:g} observed modalities on average and {least_share:g} for each alone; at most "
            f"{count - least_share * count * (count - 1):g} with a share of at most 1 / {count}"
        )
    used = solution.x > NEGLIGIBLE
    weights = solution.x[used] / solution.x[used].sum()
    chosen = [tuple(name for i, name in enumerate(H.names) if subset >> i & 1) for subset in bits[used]]
    S = subsets.custom(list(zip(chosen, weights.tolist(), strict=True)), H.names)
    return Mix(S, mean_observed(S), discrepancy(H, S))


def preset_mixes(law: Law) -> dict[str, Mix]:
    """Where MVAE, MMVAE and MoPoE-VAE lie in that plane."""
    H = known(law)
    return {name: Mix(S, mean_observed(S), discrepancy(H, S)) for name, S in presets(H.names).items()}


def mean_observed(S: SubsetMixture) -> float:
    """sum_A w_A |A|."""
    return S.observed
