"""The configuration of one run: a flat frozen dataclass, its canonical JSON and its content hash."""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from polyvae.errors import InputError
from polyvae.schema import Rule

# Left out of the run id: what does not change the trained model, and what enters by its content instead.
NOT_HASHED = {"device", "metrics", "importance_samples", "data_dir", "data", "test_data", "subsets"}

LONGEST = 160  # bytes of names in a run id: file systems take 255
OWN = "arrays"  # the data set of --data
MODALITIES = 5  # of a generated data set, where a config does not say

Count = Annotated[int, Rule(lambda v: v >= 1, "at least 1"), Rule(lambda v: v < 2**31, "below 2^31")]
Seed = Annotated[int, Rule(lambda v: 0 <= v < 2**32, "from 0 to 2^32 - 1")]
ThreadCount = Annotated[int, Rule(lambda v: 1 <= v <= 1024, "at least 1, at most 1,024")]
# What these are, if left open, for data that are not the user's own; so they were before they could be left open.
RELEASED: dict[str, Any] = {
    "method": "mopoe",
    "latent_dim": 64,
    "epochs": 100,
    "batch_size": 256,
    "learning_rate": 5e-4,
}

Positive = Annotated[float, Rule(lambda v: 0 < v < float("inf"), "a finite number above 0")]


class Sizes(NamedTuple):
    """How large a model is, and how long it is trained in which steps."""

    latent_dim: int
    epochs: int
    batch_size: int
    learning_rate: float


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of data sets. Each data set takes some of these; None stands for its own default."""

    modalities: Annotated[int, Rule(lambda v: 1 <= v <= 1024, "at least 1, at most 1,024")] | None = None
    """Number of modalities of a generated data set. Default 5."""
    data: str | None = None
    """Your own data: a .npz, .csv, .tsv, .parquet, .h5ad, .h5mu or .toml file, several (a.csv,b.csv), a folder of them,
    or one saved by Hugging Face's datasets."""
    test_data: str | None = None
    """Your own test rows, in files of the same columns. Default: a fifth of the rows of --data."""
    data_dir: str | None = None
    """Folder that holds mnist/, polymnist/, cub/ and backgrounds/. Default: $POLYVAE_DATA, else the embedded digits."""
    scale: Annotated[float, Rule(lambda v: 0 < v < 1, "between 0 and 1, exclusive")] | None = None
    """Size of the digits in translated_polymnist, in (0, 1). Default .5."""
    background: Annotated[int, Rule(lambda v: 0 <= v < 2**31, "at least 0, below 2^31")] | None = None
    """Index of the single background picture of repeated_polymnist. Default 0."""
    held_out: Annotated[int, Rule(lambda v: 0 <= v <= 10, "from 0 to 10")] | None = None
    """How many digits d translated_polymnist never shows in quadrant d mod 4; the metric `ood` does. Default 0."""
    crop_range: Count | None = None
    """Crops of PolyMNIST's pictures start in [0, crop_range)^2, which controls Delta. Default: anywhere."""
    pairing: Literal["fixed", "fresh"] | None = None
    """Pairs of PolyMNIST: one fixed set, or new pairs and crops in every epoch. Default fixed."""
    split_by: Literal["classes", "images"] | None = None
    """Split of cub. classes: train and test share no class, as in the MMVAE code; images: the official split. Default
    classes."""
    crop: Literal["none", "box"] | None = None
    """Pictures of cub. none: squeezed into a square, as published; box: the square around the bird. Default none."""
    scaling: Literal["standard", "robust"] | None = None
    """Scaling of your own tables. standard: mean and standard deviation; robust: median and quartiles, clipped. Default
    standard."""
    text_length: Annotated[int, Rule(lambda v: 2 <= v <= 4096, "from 2 to 4,096")] | None = None
    """Largest number of tokens (words and punctuation marks) of your own texts, with the end token. Default 32."""
    label: str | None = None
    """Column (or key) of your own data with the class of a row. Default: label or labels, if there is one."""
    covariate: str | None = None
    """Column (or key) of a covariate in your own data, such as batch: one word or integer per row. Encoders and
    decoders read it, so codes need not hold it."""
    group: str | None = None
    """Column (or key) of your own data, such as patient: rows of one group are never on both sides of a split."""
    leave_out: str | None = None
    """Columns, keys or modalities of your own data that are not read, comma-separated."""
    data_options: str | None = None
    """Options of a data set from a plug-in: name=value,name=value."""

    @property
    def given(self) -> dict[str, Any]:
        """The options that are set, name -> value. Raises InputError that names the flag of a value out of range."""
        hints = _hints()
        options = {f.name: checked(f.name, getattr(self, f.name), hints[f.name]) for f in fields(DataOptions)}
        return {name: value for name, value in options.items() if value is not None}


# What defines a generated data set beside its seed and its sizes. Files enter by their content.
PLACES = ("data", "test_data", "data_dir")
DATA_OPTIONS = tuple(field.name for field in fields(DataOptions) if field.name not in PLACES)


@dataclass(frozen=True, kw_only=True)
class RunConfig(DataOptions):
    """Everything that defines one run. A released default never changes, since run ids leave defaults out.

    Raises InputError that names the field of a value out of range.
    """

    dataset: str = "polymnist"
    """Data set; `polyvae data list` lists all. With --data: arrays."""
    only: str | None = None
    """Keep only these modalities, comma-separated (m0,m2). Method `unimodal` needs exactly one."""
    data_seed: Seed = 0
    """Seed of the generated data set, of its pairs, and of the split of your own data. Keep it the same in all runs."""
    train_size: Count | None = None
    """Number of training rows. Default: all."""
    test_size: Count | None = None
    """Number of test rows. Default: all, or 20 % of your own data. With --group: approximately."""
    validation_fraction: Annotated[float, Rule(lambda v: 0 <= v < 1, "at least 0 and below 1")] | None = None
    """Share of the training rows that is held out to choose the best weights. Default: .1 of your own data (if
    they have few rows, up to a quarter), else 0."""
    method: str = "auto"
    """Method; `polyvae methods` lists all. Default: mopoe; for your own tables mopoe_dense."""
    subsets: str | None = None
    """The terms of your own S as JSON text (`subsets.terms_text`), for --method custom."""
    beta: Annotated[float, Rule(lambda v: 0 <= v < float("inf"), "a finite number, at least 0")] = 1.0
    """Weight of the KL term. It trades off with the likelihood scale b: mainly the product beta * b matters."""
    allocation: Literal["auto", "systematic", "exact"] = "auto"
    """How subsets of S are assigned to rows. systematic: one subset per row, unbiased; exact: every subset."""
    objective: str = "auto"
    """elbo, elbo_tight, iwae, dreg, iwae_looser, dreg_looser, or a variant *_official or *_multivae
    (docs/objectives.md). Default: the method's own."""
    objective_samples: Count | None = None
    """Number of samples K of an importance-weighted objective. Default: the method's own, usually 8."""
    prior: str = "auto"
    """normal, laplace, learned_normal, learned_laplace, gmm, gmm_full, vamp or flow. Default: usually normal."""
    prior_components: Count | None = None
    """Number of components of the priors gmm, gmm_full and vamp. Default 50."""
    posterior: Literal["auto", "normal", "laplace"] = "auto"
    """Family of the posteriors. laplace has no products of experts, so it suits mmvae and unimodal. Default: usually
    normal."""
    posterior_scale: Literal["auto", "exp", "softplus", "softmax"] = "auto"
    """How an encoder's output becomes a scale. softmax: scales sum to the latent dimension. Default: usually exp."""
    method_options: str | None = None
    """Options of the method, which `polyvae methods NAME` lists: name=value,name=value."""
    network: str = "auto"
    """mlp, linear_mlp (a linear map beside it), conv, conv_half, conv_wide, resnet, or transformer (text); one for all,
    or by modality (m0=conv,m1=mlp)."""
    likelihood: str = "auto"
    """laplace, normal, student_t, laplace_8bit, bernoulli, categorical, ordinal or text (which, unlike categorical,
    does not score padding); for counts poisson, negative_binomial or zinb. One for all, or by modality."""
    library: str | None = None
    """Modalities of counts, comma-separated, whose total per row is taken as known, such as the sequencing depth."""
    likelihood_scale: str = "auto"
    """Scale of laplace, normal and student_t: a number or `learned`, for all or by modality. Default .75 for images."""
    modality_weights: str = "auto"
    """Factors of the log-likelihoods in the loss, for all or by modality. mmvae (image 0.0026) and mmvm (caption 128)
    are published sets for image and caption. Default 1."""
    latent_dim: Count | None = None
    """Dimension of the latent space; `unimodal` uses latent_dim / M, as in the paper. Default: 64, or what suits your
    own data."""
    epochs: Count | None = None
    """Passes over the training rows. Default: 100, or what suits your own data."""
    batch_size: Count | None = None
    """Rows per step. Default: 256, or what suits your own data."""
    learning_rate: Positive | None = None
    """Learning rate of Adam. Default: .0005; .001 for your own tables."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate within a stage. cosine: warm-up over 2 % of its steps, then a cosine down to zero."""
    gradient_clip: Positive | None = None
    """Largest gradient norm. Default: no clipping."""
    patience: Count | None = None
    """Stop after this many epochs without gain on validation rows. Default: train for all epochs, or what suits your
    own data."""
    average_epochs: Count | None = None
    """Keep a running average of the weights over about this many epochs; validation rows score the average. Default: no
    average, or what suits your own data."""
    best_by: Literal["loss", "imputation"] | None = None
    """How the best weights are chosen on validation rows: by the loss, or by imputation, the error of modalities other
    than text that are filled in from all others. Default: loss; for your own tables without texts imputation."""
    seed: Seed = 0
    """Seed of the weights, the order of rows, the training noise and the metrics."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: networks run in mixed precision; likelihoods, KL and optimiser stay in float32."""
    threads: ThreadCount | None = None
    """CPU threads. Their number affects rounding, so a different number gives a different run. Default 1."""
    device: str = "auto"
    """cpu, cuda or cuda:1; auto uses a CUDA device if there is one."""
    metrics: str = "default"
    """Metrics to compute after training, comma-separated, or `default`, `all`, `none`; `polyvae metrics` lists them."""
    importance_samples: Count = 12
    """Number of importance samples per test row, for log-likelihoods."""

    def __post_init__(self) -> None:
        for name, hint in _hints().items():
            object.__setattr__(self, name, checked(name, getattr(self, name), hint))
        if self.data is not None and self.dataset == RunConfig.dataset:  # which takes none
            object.__setattr__(self, "dataset", OWN)
        if self.dataset != OWN:
            for name, value in RELEASED.items():
                if getattr(self, name) in (None, "auto"):
                    object.__setattr__(self, name, value)
        if self.threads == 1:  # written out or not, it is the same run
            object.__setattr__(self, "threads", None)
        for name in ("data_options", "method_options"):  # a=1,b=2 and b=2, a=1 are the same run
            if text := getattr(self, name):
                object.__setattr__(self, name, ",".join(sorted(part.strip() for part in text.split(","))))

    @property
    def is_open(self) -> bool:
        """Whether settings are left to be chosen by the data. A record's config never is."""
        return any(getattr(self, name) is None for name in Sizes._fields)

    @property
    def sizes(self) -> "Sizes":
        """The settings that may be left open, once they are chosen (`runs.suited`)."""
        given = {name: getattr(self, name) for name in Sizes._fields}
        return Sizes(**{name: RELEASED[name] if value is None else value for name, value in given.items()})

    @staticmethod
    def from_dict(content: Mapping[str, Any]) -> "RunConfig":
        """The config with these fields. Raises InputError for an unknown key."""
        known = [field.name for field in fields(RunConfig)]
        if unknown := sorted(set(content) - set(known)):
            raise InputError(f"unknown configuration key {unknown[0]!r}; known: {', '.join(known)}")
        return RunConfig(**content)

    def to_dict(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def with_(self, **changes: Any) -> "RunConfig":
        return replace(self, **changes)

    @property
    def changed(self) -> dict[str, Any]:
        """The fields that differ from their released default."""
        defaults = {f.name: f.default for f in fields(self)} | RELEASED
        return {name: value for name, value in self.to_dict().items() if value != defaults[name]}

    @property
    def command(self) -> str:
        """The shell command of such a run: its data set, its method and every field that is not at its default; for
        the user's own data all sizes that are given, as the data choose those that are left out."""
        sizes = {name: value for name in Sizes._fields if (value := getattr(self, name)) is not None}
        values = (
            {"dataset": self.dataset, "method": self.method} | (sizes if self.dataset == OWN else {}) | self.changed
        )
        words = [word for name, value in values.items() for word in (flag(name), str(value))]
        return shlex.join(["polyvae", "run", *words])

    def run_id(self, content: Mapping[str, Any] | None = None) -> str:
        """A readable prefix and a hash of the canonical config.

        content: identities of what the config only names, or of what is passed as objects: data, S, networks.
        """
        identity = {name: value for name, value in self.changed.items() if name not in NOT_HASHED}
        identity |= content or {}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        return f"{self.id_prefix}{digest[:10]}"

    @property
    def id_prefix(self) -> str:
        """What a run id says in words."""
        dataset = re.sub(r"[^\w-]", "_", self.dataset)  # the user's own data may be called anything
        method = re.sub(r"[/\\\x00-\x1f\x7f]", "_", self.method)
        name = f"{dataset}-{method}".encode()[:LONGEST].decode(errors="ignore")
        return f"{name}-b{self.beta:g}-s{self.seed}-"


@cache
def _hints() -> dict[str, Any]:
    return get_type_hints(RunConfig, include_extras=True)


def by_modality(text: str, names: tuple[str, ...], field: str) -> dict[str, str]:
    """'conv' or 'm0=conv,m1=mlp' as name -> value. Names left out get no value; 'auto' gives an empty dict."""
    if text == "auto":
        return {}
    if "=" not in text:
        return dict.fromkeys(names, text)
    pairs = [part.partition("=") for part in text.split(",")]
    if unknown := [name for name, _, _ in pairs if name.strip() not in names]:
        raise InputError(f"{flag(field)} names modality {unknown[0]!r}; known: {', '.join(names)}")
    values = {name.strip(): value.strip() for name, _, value in pairs}
    if len(values) < len(pairs):
        raise InputError(f"{flag(field)} {text!r} names a modality twice; keep one value for each")
    return values


def listed(text: str) -> list[str]:
    """The names in 'a,b'."""
    return [name.strip() for name in text.split(",")]


def flag(field: str) -> str:
    """The command-line flag of a field, for error messages."""
    return f"--{field.replace('_', '-')}"


def checked(name: str, value: Any, hint: Any) -> Any:
    """`value` as the type of its field. Integers become floats where floats are wanted: 1 and 1.0 are the same run.

    Raises InputError for a value of another type, or a value that breaks the field's rule.
    """
    given = get_args(hint)
    if value is None and NoneType in given:
        return None
    wanted = given[0] if NoneType in given else hint
    kind, *rules = get_args(wanted) if get_origin(wanted) is Annotated else (wanted,)
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise InputError(f"{flag(name)} is {value!r}; it must be {', '.join(map(repr, get_args(kind)))}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise InputError(f"{flag(name)} is {value!r}; it must be {kind.__name__}")
    for rule in rules:
        if not rule.holds(value):
            raise InputError(f"{flag(name)} is {value}; it must be {rule.wording}")
    return kind(value)
