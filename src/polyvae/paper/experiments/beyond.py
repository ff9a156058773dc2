"""Questions on PolyMNIST that the paper leaves open: objectives, Delta as a dose, pairs, coherence without labels."""

from polyvae import subsets
from polyvae.config import RunConfig
from polyvae.paper.experiments.common import SEEDS, SHORT, budget, grid, with_methods
from polyvae.paper.experiments.quick import COMMON

OBJECTIVES = ("elbo", "elbo_tight", "iwae", "dreg", "iwae_looser", "dreg_looser", "dreg_looser_official")
NAMES = ("m0", "m1", "m2")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
RANGES = (1, 2, 8)  # side of the square of crop positions
TUPLES = (1000, 6000, 60_000)
TRAINED = {16: (0.03, 0.1), 12: (0.1, 0.5, 2.5), 5: (0.1, 0.5)}  # epochs -> betas
DIAL = SHORT.with_(latent_dim=64, batch_size=32, epochs=3, test_size=1000, metrics="bound,coherence,frechet,diversity")


def bounds(preset: str = "cpu") -> list[RunConfig]:
    """What the objective itself changes: MMVAE and MoPoE-VAE with every objective and four samples.

    Normal posteriors, N(0, I), beta 1, all else as in figure 2, whose runs those of `elbo` are: 28 runs (`cpu`), 42
    (`paper`).
    """
    base = budget(preset).with_(beta=1.0)
    changes = [{} if name == "elbo" else {"objective": name, "objective_samples": 4} for name in OBJECTIVES]
    settings = [base.with_(seed=seed, **change) for seed in SEEDS[preset] for change in changes]
    return with_methods(settings, ("mmvae", "mopoe"))


def dial(preset: str = "cpu") -> list[RunConfig]:
    """Delta as a dose: quality and coherence where Delta is turned up in known nats, everything else being equal.

    Two dials on PolyMNIST with three modalities. Share: S = (1 - lambda) {all} + lambda {singles}, so Delta is lambda
    times that of MMVAE. Crops: MMVAE, and the model without sub-sampling (Delta = 0) as its control, where a picture
    offers 1, 4, 64 or all positions for its crops: log(positions) nats that no other modality tells. Tuples are fresh,
    since a fixed set has Delta = 0. 11 runs: five shares, and three limited sets of crops for both ends of the share.
    """
    base = DIAL if preset == "cpu" else budget(preset)
    common = base.with_(modalities=len(NAMES), method="custom", beta=0.5, pairing="fresh")
    ends = [_terms(SHARES[-1]), _terms(SHARES[0])]
    return [*grid(common, subsets=map(_terms, SHARES)), *grid(common, crop_range=RANGES, subsets=ends)]


def pairing(preset: str = "cpu") -> list[RunConfig]:
    """Coherence against the number of distinct training tuples, at an equal number of steps, up to endless fresh ones.

    PolyMNIST pairs each digit once per modality. How much coherence is owed to few or many distinct pairs?
    24 runs (`cpu`; those with 60,000 tuples are runs of figure 2), 36 (`paper`).
    """
    base = budget(preset).with_(beta=1.0)
    size_of_batch = base.sizes.batch_size
    steps = base.sizes.epochs * (max(TUPLES) // size_of_batch)
    fewer = [{"train_size": size, "epochs": round(steps / (size // size_of_batch))} for size in TUPLES[:-1]]
    settings = [base.with_(seed=seed, **c) for seed in SEEDS[preset] for c in ({"pairing": "fresh"}, *fewer, {})]
    return with_methods(settings, ("mvae", "mmvae", "mopoe"))


def label_free() -> list[RunConfig]:
    """Does coherence without labels rank models as the one with labels does?

    28 models of different coherence: four methods, well trained and hardly trained (about 45 minutes on two cores).
    """
    methods = ("mvae_plus", "mvae", "mopoe", "mmvae")
    base = COMMON.with_(metrics="coherence,label_free")
    return [c for epochs, betas in TRAINED.items() for c in grid(base, epochs=[epochs], method=methods, beta=betas)]


def _terms(share: float) -> str:
    """S = (1 - share) {all} + share {singles}, as the text of a config."""
    weights = {NAMES: 1 - share} | {(name,): share / len(NAMES) for name in NAMES}
    S = subsets.custom([(given, weight) for given, weight in weights.items() if weight], NAMES)
    return subsets.terms_text(subsets.to_json(S))
