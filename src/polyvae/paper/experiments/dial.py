"""Delta as a dose: quality and coherence where Delta is turned up in known nats, everything else being equal.

Two dials on PolyMNIST with three modalities. Share: S = (1 - lambda) {all} + lambda {singles}, so Delta is lambda times
that of MMVAE. Crops: MMVAE, and the model without sub-sampling (Delta = 0) as its control, where a picture offers 1, 4,
64 or all positions for its crops: log(positions) nats that no other modality tells. Tuples are fresh, since a fixed set
has Delta = 0.
"""

from polyvae import subsets
from polyvae.config import RunConfig
from polyvae.paper.experiments.common import budget

NAMES = ("m0", "m1", "m2")
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
RANGES = (1, 2, 8)  # side of the square of crop positions
CPU = RunConfig(
    network="conv_half",
    latent_dim=64,
    batch_size=32,
    epochs=3,
    learning_rate=3e-3,
    schedule="cosine",
    test_size=1000,
    metrics="bound,coherence,frechet,diversity",
)


def configs(preset: str = "cpu") -> list[RunConfig]:
    """11 runs: five shares, and three limited sets of crops for both ends of the share."""
    base = CPU if preset == "cpu" else budget(preset)
    common = base.with_(dataset="polymnist", modalities=len(NAMES), method="custom", beta=0.5, pairing="fresh")
    shares = [common.with_(subsets=_terms(share)) for share in SHARES]
    ends = (SHARES[-1], SHARES[0])
    crops = [common.with_(subsets=_terms(share), crop_range=side) for side in RANGES for share in ends]
    return [*shares, *crops]


def _terms(share: float) -> str:
    """S = (1 - share) {all} + share {singles}."""
    weights = {NAMES: 1 - share} | {(name,): share / len(NAMES) for name in NAMES}
    S = subsets.custom([(given, weight) for given, weight in weights.items() if weight], NAMES)
    return subsets.terms_text(subsets.to_json(S))
