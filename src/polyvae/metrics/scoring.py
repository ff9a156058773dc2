"""The door to all metrics: the table of their names, and what several of them share, made once."""

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any, Literal, TypeVar

import torch

from polyvae import keys
from polyvae.dataset import MultimodalDataset, chosen_rows
from polyvae.errors import InputError, choices
from polyvae.judges import digits, labelled
from polyvae.judges.extractors import AttributeJudge, Judge
from polyvae.judges.pretrained import EXTRACTORS, ExtractorSource
from polyvae.metrics.attribute_coherence import attribute_coherence
from polyvae.metrics.bound import bound
from polyvae.metrics.captions import captions
from polyvae.metrics.code_probe import code_probe
from polyvae.metrics.coherence import coherence, coherence_of, coherence_pairs, leave_one_out_of, true_classes
from polyvae.metrics.coherence import warnings as coherence_warnings
from polyvae.metrics.diversity import diversity
from polyvae.metrics.frechet import LEAST_FOR_LIMIT, frechet_limit_of, frechet_of, real_train
from polyvae.metrics.imputation import imputation
from polyvae.metrics.imputation import warnings as imputation_warnings
from polyvae.metrics.kernel import kernel_of
from polyvae.metrics.label_free import label_free
from polyvae.metrics.label_free import warnings as label_free_warnings
from polyvae.metrics.latent import latent
from polyvae.metrics.linear_probe import linear_probe
from polyvae.metrics.log_likelihood import legacy_log_likelihood, log_likelihood
from polyvae.metrics.log_likelihood import warnings as likelihood_warnings
from polyvae.metrics.manifold import NEIGHBOUR, Manifold, manifold_of
from polyvae.metrics.objective import objective
from polyvae.metrics.pairs import few_pairs, one_out_pairs
from polyvae.metrics.protocol import Evaluation, Options, readable
from polyvae.metrics.readings import Readings, read_model
from polyvae.metrics.swap import swap
from polyvae.models.contract import Model, NotDefined, is_sampled
from polyvae.registry import Registry

Fact = TypeVar("Fact", float, str)
SAMPLES_FOR_LARGE = 1000  # rows of a distance by an ImageNet network, by default
JUDGES = (digits.NAME, labelled.NAME, AttributeJudge.name)  # each a part of the keys of what it looks at
MANIFOLD = tuple(f"{score}/*" for score in Manifold._fields)
SAMPLED = "what needs a density or a mean is left out given fewer than all modalities: there z can only be drawn"
OF_LIKELIHOOD = ("joint*", "modality/*", "conditional/*", "unconditional", "samples", "complete_rows")


class Scoring:
    """A model on an evaluation. `readings` looks at every value once, for all the metrics `names` that need it."""

    def __init__(self, model: Model, evaluation: Evaluation, names: Iterable[str]) -> None:
        self.model, self.on = model, evaluation
        self.pairs = {METRICS[name].pairs for name in names}

    @property
    def options(self) -> Options:
        return {"seed": self.on.seed, "batch_size": self.on.batch_size}

    @property
    def judge(self) -> Judge | AttributeJudge:
        if self.on.judge is None:
            raise NotDefined(f"there is no judge for data set {self.on.test.name!r}")
        return self.on.judge

    @property
    def trusted_judge(self) -> Judge:
        """The judge of classes, for what depends on its accuracy."""
        judge = self.judge
        if not isinstance(judge, Judge):
            raise NotDefined("the data set's judge reads attributes, not classes")
        if judge.doubt:
            raise NotDefined(judge.doubt)
        return judge

    @cached_property
    def readings(self) -> Readings:
        """What the judge sees in real data, prior samples, and the samples given subsets that a metric needs."""
        judge = self.judge
        few = few_pairs(self.model.names, readable(self.model, judge)) if "moments" in self.pairs else []
        is_read = "labels" in self.pairs and isinstance(judge, Judge) and judge.doubt is None
        pairs = coherence_pairs(self.model, judge) if is_read else []
        return read_model(
            self.model, self.on.test, judge, label_pairs=pairs, moment_pairs=few, cache=self.on.cache, **self.options
        )


def _coherence(scoring: Scoring) -> dict[str, float]:
    if isinstance(scoring.judge, AttributeJudge):
        return attribute_coherence(scoring.model, scoring.on.test, scoring.judge, **scoring.options)
    judge = scoring.trusted_judge  # before anything is drawn
    return coherence_of(scoring.readings, judge)


def _coherence_from_means(scoring: Scoring) -> dict[str, float]:
    values = coherence(scoring.model, scoring.on.test, scoring.trusted_judge, from_means=True, **scoring.options)
    given_something = (keys.LEAVE_ONE_OUT, "coherence/conditional/", f"{keys.BY_INPUTS}/", f"{keys.SELF_COHERENCE}/")
    return {
        key.replace("coherence", "coherence_from_means", 1): value
        for key, value in values.items()
        if key.startswith(given_something)
    }


def _ood(scoring: Scoring) -> dict[str, float]:
    if not scoring.on.shifted:
        raise NotDefined("the data set has no generator of shifted inputs")
    judge, model, values = scoring.trusted_judge, scoring.model, {}
    pairs = one_out_pairs(model.names, readable(model, judge))
    for name, data in scoring.on.shifted.items():
        readings = read_model(model, data, judge, label_pairs=pairs, **scoring.options)
        scores = leave_one_out_of(readings, true_classes(data, judge))
        values |= {f"ood/{name}/{key}": value for key, value in scores.items()}
    return values


def _objective(scoring: Scoring) -> dict[str, float]:
    if scoring.on.objective is None:
        raise NotDefined("no objective was given")
    return objective(scoring.model, scoring.on.test, scoring.on.objective, **scoring.options)


def _label_free(scoring: Scoring) -> dict[str, float]:
    if scoring.on.critic is None:
        raise NotDefined("there is no critic: it needs two modalities and 64 training rows that have all of them")
    return label_free(scoring.model, scoring.on.test, scoring.on.critic, **scoring.options)


@dataclass(frozen=True)
class Metric:
    """A row of the table: what it measures, and what it needs for that.

    measure: key -> value, finite or not; raises NotDefined or InputError with the reason where it has no meaning.
    is_default: part of every run; the others are asked for by name, or by `all`.
    needs: "judge", "critic", or the extractor that must be at hand. least: test rows. pairs: what it reads in samples
    given subsets, if anything.
    keys: patterns (`fnmatch`) of its keys, which no other metric has; default: <name>/*. Scoring it again replaces them
    all.
    by_prior: patterns of those that depend on the model's prior.
    is_sampled: whether it draws importance samples, which --importance-samples is about. of_posteriors: whether it asks
    for densities or moments of posteriors given subsets.
    warnings: of what was measured, key -> why not to trust it, or why it is not there.
    """

    measure: Callable[[Scoring], dict[str, float]]
    summary: str
    is_default: bool = True
    needs: str | None = None
    needs_labels: bool = False
    needs_images: bool = False
    needs_text: bool = False
    least: int = 2
    pairs: Literal["labels", "moments"] | None = None
    keys: tuple[str, ...] = ()
    by_prior: tuple[str, ...] = ()
    is_sampled: bool = False
    of_posteriors: bool = False
    warnings: Callable[[Mapping[str, float]], dict[str, str]] = lambda values: {}

    def owns(self, name: str, key: str) -> bool:
        """Whether a key of metrics or notes is this metric's, which is called `name`."""
        return key == name or any(fnmatchcase(key, pattern) for pattern in self.keys or (f"{name}/*",))


def _read(measure: Callable[[Scoring], dict[str, float]], summary: str, **more: Any) -> Metric:
    """A metric of what the judge reads."""
    return Metric(measure, summary, needs="judge", **more)


def _frechet_by(extractor: str, source: ExtractorSource) -> Metric:
    """The Fréchet distance by a pretrained network: prior samples, all but the target given, floor."""

    def measure(scoring: Scoring) -> dict[str, float]:
        on, model = scoring.on, scoring.model
        if extractor not in on.extractors:
            raise NotDefined(f"the extractor {extractor!r} is not at hand")
        reader = on.extractors[extractor]
        options: Options = {**scoring.options, "rows": chosen_rows(len(on.test), SAMPLES_FOR_LARGE, on.seed)}
        pairs = one_out_pairs(model.names, readable(model, reader))
        readings = read_model(model, on.test, reader, moment_pairs=pairs, cache=on.cache, **options)
        return frechet_of(readings, real_train(readings, on.train, on.cache))

    return Metric(
        measure,
        source.summary,
        is_default=False,
        needs=extractor,
        needs_images=True,
        keys=(f"frechet/{extractor}/*",),
        by_prior=("frechet/*/unconditional/*",),
    )


METRICS = Registry(
    "metric",
    {
        "bound": Metric(
            lambda s: bound(s.model, s.on.test, beta=s.on.beta, **s.options),
            "L_S of the method's S at the run's beta: loss, distortion, rate",
            least=1,
            by_prior=("bound/*",),
        ),
        "objective": Metric(
            _objective,
            "the run's own objective",
            least=1,
            keys=("objective/*", "regulariser/*"),
            by_prior=("objective/*",),
        ),
        "coherence": _read(
            _coherence,
            "share of samples of the right class, or with the right attributes",
            needs_labels=True,
            pairs="labels",
            by_prior=("coherence/joint*",),
            warnings=coherence_warnings,
        ),
        "frechet": _read(
            lambda s: frechet_of(s.readings, real_train(s.readings, s.on.train, s.on.cache)),
            "distance of generated to real data, features of the judge",
            pairs="moments",
            keys=tuple(f"frechet/{judge}/*" for judge in JUDGES),
            by_prior=("frechet/*/unconditional/*",),
        ),
        "kid": _read(lambda s: kernel_of(s.readings), "kernel distance, unbiased", by_prior=("kid/*",)),
        "prdc": _read(
            lambda s: manifold_of(s.readings),
            "precision, recall, density, coverage",
            least=NEIGHBOUR + 1,
            keys=MANIFOLD,
            by_prior=MANIFOLD,
        ),
        "diversity": _read(
            lambda s: diversity(s.readings),
            "spread of samples for one input, against real data of its class",
            needs_labels=True,
        ),
        "linear_probe": Metric(
            lambda s: linear_probe(s.model, s.on.train, s.on.test, **s.options),
            "class read from posterior means",
            needs_labels=True,
            of_posteriors=True,
        ),
        "log_likelihood": Metric(
            lambda s: log_likelihood(s.model, s.on.test, s.on.train, samples=s.on.samples, **s.options),
            "importance-sampled, of everything, of parts, and of the rest given parts",
            keys=tuple(f"log_likelihood/{part}" for part in OF_LIKELIHOOD),
            warnings=likelihood_warnings,
            by_prior=("log_likelihood/joint*", "log_likelihood/modality/*", "log_likelihood/unconditional"),
            is_sampled=True,
            of_posteriors=True,
        ),
        "latent": Metric(
            lambda s: latent(s.model, s.on.test, **s.options),
            "rate and distortion by subset, active units, collapse",
            by_prior=("latent/rate/*", "latent/elbo/*"),
            of_posteriors=True,
        ),
        "imputation": Metric(
            lambda s: imputation(
                s.model,
                s.on.test,
                s.on.train,
                calibration=s.on.calibration,
                validation=s.on.validation,
                **s.options,
            ),
            "tables filled in from the other modalities, beside simpler methods",
            warnings=imputation_warnings,
        ),
        "captions": Metric(
            lambda s: captions(s.model, s.on.test, s.on.train, samples=s.on.samples, **s.options),
            "quality of text: likelihood per word, variety, real word order, length",
            needs_text=True,
            by_prior=("captions/*/unconditional/*",),
        ),
        "label_free": Metric(
            _label_free,
            "coherence without labels, by a critic",
            is_default=False,
            needs="critic",
            warnings=label_free_warnings,
        ),
        "coherence_from_means": _read(
            _coherence_from_means, "coherence from posterior means, not draws", is_default=False, needs_labels=True
        ),
        "swap": _read(
            lambda s: swap(s.model, s.on.test, s.trusted_judge, **s.options),
            "whose class is drawn from the shared code of one row and the private code of another",
            is_default=False,
            needs_labels=True,
        ),
        keys.CODE_PROBE: Metric(
            lambda s: code_probe(s.model, s.on.train, s.on.test, **s.options),
            "class and place read from the shared code and from private ones",
            is_default=False,
            needs_labels=True,
        ),
        "ood": _read(_ood, "coherence with inputs unlike the training data", is_default=False),
        "frechet_limit": _read(
            lambda s: frechet_limit_of(s.readings),
            "Fréchet distance extrapolated to endless samples",
            is_default=False,
            least=LEAST_FOR_LIMIT,
            by_prior=("frechet_limit/*",),
        ),
        **{f"frechet_{name}": _frechet_by(name, source) for name, source in EXTRACTORS.items()},
        "legacy_likelihood": Metric(
            lambda s: legacy_log_likelihood(s.model, s.on.test, samples=s.on.samples, seed=s.on.seed),
            "joint log-likelihood as published code computes it, for comparison only",
            is_default=False,
            keys=("log_likelihood/legacy",),
            by_prior=("log_likelihood/legacy",),
            is_sampled=True,
        ),
    },
)


def register(name: str, metric: Metric) -> Metric:
    """Adds a metric of your own to the table: `--metrics NAME` measures it. Raises InputError for a taken name."""
    return METRICS.register(name, metric)


def register_extractor(name: str, source: ExtractorSource) -> ExtractorSource:
    """Adds an extractor of images, and with it the metric frechet_<name>. Raises InputError for a taken name."""
    METRICS.register(f"frechet_{name}", _frechet_by(name, source))
    return EXTRACTORS.register(name, source)


def by_prior(values: Mapping[str, float]) -> dict[str, float]:
    """Those of the values that depend on the model's prior, by the table."""
    patterns = [pattern for metric in METRICS.values() for pattern in metric.by_prior]
    return {key: value for key, value in values.items() if any(fnmatchcase(key, pattern) for pattern in patterns)}


def not_of(names: Iterable[str], facts: Mapping[str, Fact]) -> dict[str, Fact]:
    """The facts, metrics or notes by key, without those of the metrics called `names`."""
    metrics = {name: METRICS[name] for name in names}
    return {k: fact for k, fact in facts.items() if not any(metric.owns(name, k) for name, metric in metrics.items())}


def unmet(name: str, data: MultimodalDataset) -> str | None:
    """What metric `name` lacks in these test data, or None."""
    metric = METRICS[name]
    if metric.needs_images and not any(m.is_image for m in data.modalities):
        return f"none of {', '.join(data.names)} is an image"
    if metric.needs_text and not any(m.vocabulary for m in data.modalities):
        return "no modality is text"
    if metric.needs_labels and data.labels is None:
        return f"data set {data.name!r} has no labels"
    if metric.needs_labels and data.labels is not None and len(data.labels.unique()) < 2:
        return f"all test rows of {data.name!r} are of one class"
    if len(data) < metric.least:
        return f"{len(data)} test rows, and it needs at least {metric.least}"
    return None


def metric_names(text: str, installed: Iterable[str] = ()) -> tuple[str, ...]:
    """The metrics of a comma-separated list of names, 'default', 'all' (whose extractors are `installed`) and 'none'.

    Raises InputError for an unknown name.
    """
    at_hand = {None, "judge", "critic", *installed}
    groups = {
        "none": (),
        "default": tuple(name for name, metric in METRICS.items() if metric.is_default),
        "all": tuple(name for name, metric in METRICS.items() if metric.needs in at_hand),
    }
    parts = [part.strip() for part in text.split(",")]
    if "none" in parts and set(parts) != {"none"}:
        raise InputError(f"--metrics {text!r} names none, and others too; give one or the other")
    names = tuple(dict.fromkeys(name for part in parts for name in groups.get(part, (part,))))
    if unknown := [name for name in names if name not in METRICS]:
        raise InputError(f"--metrics names {unknown[0]!r}; {choices(unknown[0], [*METRICS, *groups])}")
    return names


@contextmanager
def _exact_convolutions() -> Generator[None]:
    """CUDA rounds what convolutions read to 10 bits by default: enough to train with, but other scores than a CPU's."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def evaluate(
    model: Model, evaluation: Evaluation, names: Iterable[str], say: Callable[[str], None] = lambda text: None
) -> tuple[dict[str, float], dict[str, str]]:
    """(metrics, notes) of the metrics called `names`; a note says why a metric is not defined, or not to be trusted.

    say: is told which metric comes next, of those that have what they need. Raises InputError for an unknown name,
    before any is measured.
    """
    wanted = metric_names(",".join(names) or "none")
    scoring = Scoring(model, evaluation, wanted)
    values: dict[str, float] = {}
    notes: dict[str, str] = {}
    lack = {name: unmet(name, evaluation.test) for name in wanted}
    unread = evaluation.judge is None  # then what needs a judge ends at once
    told = [name for name in wanted if lack[name] is None and not (unread and METRICS[name].needs == "judge")]
    for name in wanted:
        if name in told:
            say(f"scoring {name} ({told.index(name) + 1} of {len(told)})")
        if (reason := lack[name]) is not None:
            notes[name] = reason
            continue
        try:
            with torch.no_grad(), _exact_convolutions():
                scores = dict(METRICS[name].measure(scoring))
            if others := [key for key in scores if not METRICS[name].owns(name, key)]:
                raise InputError(f"metric {name} returned key {others[0]!r}; keys are {name!r} or start with '{name}/'")
        except InputError as reason:  # what is scored and trained already is kept
            notes[name] = str(reason)
            continue
        except Exception as error:  # a metric of a plug-in may raise anything
            if name not in METRICS.origins:
                raise
            notes[name] = f"the plug-in's metric failed ({type(error).__name__}: {error})"
            continue
        if METRICS[name].of_posteriors and is_sampled(model):
            notes[name] = SAMPLED
        finite = {key: value for key, value in scores.items() if math.isfinite(value)}
        notes |= {key: f"it came out as {value}" for key, value in scores.items() if key not in finite}
        notes |= METRICS[name].warnings(finite)
        notes |= {} if scores else {name: "nothing could be scored: too few test rows have what it needs"}
        values |= finite
    return values, notes
