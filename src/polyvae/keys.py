"""The grammar of metric keys: parts joined by slashes, the metric first, the modalities that it is about last.

coherence/leave_one_out            one number
coherence/self/m0                  of a modality
coherence/conditional/m0+m1/m2     of a target, given others in data set order
frechet/digits/unconditional/m0    of samples of a modality as an extractor sees them
prior/gmm/coherence/joint          any of these, by a prior that was fitted after training
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import permutations
from typing import NamedTuple

JOINT_COHERENCE, KAPPA, CHANCE = "coherence/joint", "coherence/joint_kappa", "coherence/chance"
LEAVE_ONE_OUT = "coherence/leave_one_out"
LABEL_FREE = "label_free/against_real"
LINEAR_PROBE = "linear_probe/joint"
LOG_LIKELIHOOD, BLIND = "log_likelihood/joint", "log_likelihood/unconditional"
OF_BLIND_ROWS, EFFECTIVE_SIZE = "log_likelihood/joint_of_blind_rows", "log_likelihood/joint_ess"
LOSS, DISTORTION, RATE = "bound/loss", "bound/distortion", "bound/rate"
FLOOR, DELTA = "bound/floor", "bound/delta"
RECONSTRUCTION = "bound/log_likelihood"
UNSEEN_BACKGROUNDS = "ood/unseen_backgrounds/leave_one_out"

# Stems, completed by `of`: by modality, by the number of inputs, by the number of labelled examples, by extractor.
SELF_COHERENCE, CEILING, BY_INPUTS = "coherence/self", "coherence/ceiling", "coherence/by_inputs"
PROBE_BY_EXAMPLES = "linear_probe/examples"
DIVERSITY = "diversity"
SWAP_SHARED, SWAP_PRIVATE = "swap/shared", "swap/private"
CODE_PROBE = "code_probe"
FITTED_PRIOR = "prior"
REGULARISER = "regulariser"

# Notes not about a metric: on the data, on the sample grids, on why steps on a GPU were not captured, on intervals.
DATA, SAMPLES, EAGER, CALIBRATION = "data", "samples", "training/eager", "calibration"

# Words of ours that stand where names of modalities stand: in keys of metrics, and in the files of `generate`.
BASELINES = ("mean", "ridge", "knn", "iterative")  # what imputation is compared with
RESERVED = ("joint", "joint_one_member", "examples", "real", "unconditional", "label", "labels", *BASELINES)


def collision(names: Sequence[str]) -> str | None:
    """Why modalities cannot have these names, or None: a name must not read as something else of ours."""
    if taken := [name for name in names if name in RESERVED]:
        return f"modality name {taken[0]!r} is a word in keys of metrics or of files ({', '.join(RESERVED)}); rename it"
    pairs: dict[str, tuple[str, str]] = {}
    for pair in permutations(names, 2):
        if (other := pairs.setdefault("_".join(pair), pair)) != pair:
            return f"modality names {', '.join(other)} and {', '.join(pair)} make the same file names; rename one"
    return None


class Seen(NamedTuple):
    """What an extractor sees of a modality: its samples without inputs, unless said otherwise."""

    extractor: str
    modality: str

    def key(self, metric: str = "frechet", kind: str = "unconditional") -> str:
        """metric: frechet, kid, precision, recall, density or coverage. kind: unconditional or floor."""
        return f"{metric}/{self.extractor}/{kind}/{self.modality}"


def seen(metrics: Iterable[str]) -> list[Seen]:
    """What these metrics have a Fréchet distance of."""
    parts = [key.split("/") for key in metrics if key.startswith("frechet/")]
    return [Seen(p[1], p[3]) for p in parts if len(p) == 4 and p[2] == "unconditional"]


def joined(given: Iterable[str]) -> str:
    """<given>: the names of what is conditioned on."""
    return "+".join(given)


def all_but(target: str, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name != target)


def interval(key: str) -> tuple[str, str]:
    """The ends of a metric's 95 % interval."""
    return f"{key}_low", f"{key}_high"


def coherence(given: Iterable[str], target: str) -> str:
    return f"coherence/conditional/{joined(given)}/{target}"


def code_probe(code: str, fact: str, modality: str) -> str:
    """code: shared, private, or chance for what needs no code. fact: label or place."""
    return f"{CODE_PROBE}/{code}/{fact}/{modality}"


def imputation(given: Iterable[str], target: str, score: str) -> str:
    """score: rmse, nll, coverage, or validation, which is the rmse on validation rows."""
    return f"imputation/{joined(given)}/{target}/{score}"


def imputation_by(baseline: str, target: str, score: str = "rmse") -> str:
    """The error of filling in by one of `BASELINES`, on the rows and from what the model fills in from."""
    return f"imputation/{baseline}/{target}/{score}"


class Filling(NamedTuple):
    """A modality that was filled in, and the joined names of what it was filled in from."""

    given: str
    target: str

    def key(self, score: str = "rmse") -> str:
        return imputation((self.given,), self.target, score)

    def is_from_all_others(self, names: Iterable[str]) -> bool:
        return self.given == joined(all_but(self.target, names))


def fillings(metrics: Iterable[str]) -> list[Filling]:
    """What these metrics, or notes on them, have a model's error of: not always a modality given all others."""
    parts = [key.split("/") for key in metrics if key.startswith("imputation/")]
    return [Filling(p[1], p[2]) for p in parts if len(p) == 4 and p[3] == "rmse" and p[1] not in BASELINES]


def captions(score: str, source: str, target: str) -> str:
    """source: real, unconditional, or the joined names of what captions are generated from."""
    return f"captions/{score}/{source}/{target}"


def in_words(key: str) -> str:
    """What a note with this key is about: a modality of the data, or one that is filled in; else the key."""
    metric, *parts = key.split("/")
    if metric == DATA and parts:
        return "/".join(parts)
    if metric == "imputation" and len(parts) == 3 and parts[2] == "rmse":
        return f"{parts[1]} from {' and '.join(parts[0].split('+'))}"
    return key


def of(stem: str, *parts: object) -> str:
    return "/".join(map(str, (stem, *parts)))


def stem(key: str) -> str:
    """The key without its last part."""
    return key.rpartition("/")[0]


def below(stem: str, metrics: Mapping[str, float]) -> dict[str, float]:
    """What follows `stem/` in the keys that start with it -> value: below("coherence/self", ...) is by modality."""
    return {key.removeprefix(f"{stem}/"): value for key, value in metrics.items() if key.startswith(f"{stem}/")}


def beginnings(key: str) -> list[str]:
    """The key, then ever shorter beginnings of it: a note may be about a whole metric."""
    parts = key.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
