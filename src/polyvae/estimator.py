"""A model as an estimator of scikit-learn: fitted, asked and scored without a store."""

import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from torch.nn.functional import one_hot

from polyvae.config import RunConfig, flag, listed
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.own.columns import interpret
from polyvae.datasets.own.new_rows import load_like, with_given
from polyvae.datasets.own.reading import read_parts
from polyvae.errors import InputError
from polyvae.imputation import ImputedText, impute, rows_at_once
from polyvae.metrics.log_likelihood import log_mean
from polyvae.modality import Batch, Modality, Standardise
from polyvae.models.contract import code_mean, joint, shared_dim_of
from polyvae.noise import RowNoise, derive_seed
from polyvae.runs.plan import device_named
from polyvae.runs.run import run
from polyvae.runs.saving import load, load_calibration

CHUNK = 100  # rows at a time, at most
# Parameters that are fields of `RunConfig`, by the same names.
OF_RUN = ("method", "latent_dim", "beta", "epochs", "batch_size", "learning_rate", "patience", "device")
SEEDS = ("seed", "data_seed")  # of `RunConfig`; random_state sets both
FLAG = re.compile("--[a-z]+(-[a-z]+)*")
WHOLE = "x"  # the one view of a table that is not cut into views


class MultimodalVAEImputer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A multimodal VAE with the interface of scikit-learn.

    X is one of
    - a 2-D array or a DataFrame (pandas, polars), whose columns `views` deals out to modalities; without `views` all
      columns are one modality, and the model is a plain VAE that fills in single cells. Only this form goes with
      `cross_validate` and in a `Pipeline`;
    - a mapping name -> array, DataFrame, Series or sparse matrix, one entry per modality, as for the data set `arrays`:
      also images, classes and text, and masks under `<name>.mask`;
    - a MuData: the X of each of its modalities.
    NaN marks what is missing: single cells, or a row's whole modality. A row must have something. Later rows may lack
    any modality, whatever the training rows lacked; where columns have names, these are the same in the same order.

    method, latent_dim, epochs, batch_size, learning_rate, patience: by default what suits the rows (`runs.suited`).
    method: as `polyvae methods` lists them. views: name -> slice, or number or name of a column, or list of these;
    together they name every column once. settings: further fields of `RunConfig` by name, such as network.
    patience: epochs without gain on held-out rows (a tenth, up to a quarter of few rows) after which training stops;
    the best weights are kept. draws: per row, for imputation and for importance-sampled likelihoods.
    random_state: of weights, the order of rows and all draws. verbose: prints the loss ten times.

    Fitted: model_, in eval mode and double precision, so that a row's code does not depend on the rows beside it;
    record_, of its training; calibration_, of its intervals; views_, name -> column numbers, or None; n_features_in_ of
    a table.
    """

    def __init__(
        self,
        method: str = "auto",
        *,
        views: Mapping[str, Any] | None = None,
        latent_dim: int | None = None,
        beta: float = 1.0,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        patience: int | None = None,
        settings: Mapping[str, Any] | None = None,
        draws: int = 50,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.method = method
        self.views = views
        self.latent_dim = latent_dim
        self.beta = beta
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.settings = settings
        self.draws = draws
        self.device = device
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: object = None) -> Self:
        """Trains the model on all rows but those held out to choose the weights. y is ignored.

        Raises InputError for rows or settings that cannot work, RunError where training fails.
        """
        settings = self.settings or {}
        for name, value in settings.items():
            if parameter := name if name in OF_RUN else "random_state" if name in SEEDS else None:
                raise InputError(f"settings: {name} is set by a parameter; say {parameter}={value!r}")
        self.seed_ = self._drawn_seed()
        seeds = dict.fromkeys(SEEDS, self.seed_)
        given = {name: getattr(self, name) for name in OF_RUN} | {"dataset": "arrays", "metrics": "none"} | seeds
        with _without_flags(), TemporaryDirectory(prefix="polyvae-") as place:
            config = RunConfig.from_dict({**given, **settings})
            rows = _training_rows(self._by_name(X, reset=True), config)
            result = run(config, place, data=rows, test=rows, on_step=_said if self.verbose else _unsaid)
            model = load(result.folder, weights="auto")
            self.calibration_ = load_calibration(result.folder)
        self.record_ = result.record
        self.model_ = model.to(device_named(self.device)).double()
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The mean of the posterior of z given what each row has: (rows, latent), float64. Private codes are left out.

        Raises NotDefined for a model without a joint posterior.
        """
        model, (_, rows) = self._fitted(X)
        return _numpy(torch.cat([code_mean(joint(model), batch) for batch in self._batches(rows)]))

    def impute(self, X: Any, *, return_interval: bool = False) -> Any:
        """X, filled in: means of draws given all that a row has, observed values as they were given.

        For classes the likeliest one, for text the likeliest words. An array or a DataFrame for a table, else a dict
        name -> values in the form given (of a modality that X lacks: in the form fitted on).
        return_interval: (filled, low, high), the ends of 80 % intervals, calibrated on the held-out rows; observed
        values, classes and text are their own ends.
        """
        model, (given, rows) = self._fitted(X)
        generator = torch.Generator(device_named(self.device)).manual_seed(derive_seed(self.seed_, "impute"))
        fill = partial(impute, model, draws=self.draws, generator=generator, calibration=self.calibration_)
        parts = [fill(batch) for batch in self._batches(rows, rows_at_once(model, self.draws, CHUNK))]
        filled: tuple[dict[str, Any], ...] = ({}, {}, {})
        for column, modality in enumerate(model.modalities):
            name, seen = modality.name, _numpy(rows.present[:, column])
            for values, ends in zip(filled, _ends([part[name] for part in parts], modality), strict=True):
                values[name] = self._as_given(modality, ends, given.get(name), seen)
        mean, low, high = (self._together(values, X) for values in filled)
        return (mean, low, high) if return_interval else mean

    def sample(self, n_samples: int = 1) -> Any:
        """Draws from the model, likelihood noise included: an array (n_samples, columns) for a table, else a dict."""
        check_is_fitted(self, "model_")
        generator = torch.Generator(device_named(self.device)).manual_seed(derive_seed(self._drawn_seed(), "sample"))
        values = self.model_.generate(n_samples, decode="sample", generator=generator)
        return self._together({m.name: self._in_form(m, values[m.name]) for m in self.model_.modalities})

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(what the row has), in nats and in the units of the data: (rows,), float64.

        An importance-sampled estimate from `draws` draws of the posterior (`metrics.log_likelihood`): in expectation
        below the truth, by less the more draws. Densities of tables are of the values as given, not standardised, so
        that models of other rows can be compared. A row's noise follows from its content: its score is the same alone
        and among others.
        Raises NotDefined for a model without a joint posterior.
        """
        _, (_, rows) = self._fitted(X)
        return np.concatenate([self._scores(batch) for batch in self._batches(rows)])

    def score(self, X: Any, y: object = None) -> float:
        """The mean of `score_samples`: nats per row. y is ignored."""
        return float(self.score_samples(X).mean())

    def _scores(self, batch: Batch) -> np.ndarray:
        model, noise = self.model_, RowNoise(self.seed_, "score_samples", _ids(batch))
        weights = joint(model).log_weights(batch, model.names, model.names, self.draws, noise)
        return _numpy(log_mean(weights) - _log_units(model.modalities, batch))

    @property
    def _n_features_out(self) -> int:
        return shared_dim_of(joint(self.model_))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _drawn_seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _fitted(self, X: Any) -> tuple[Any, tuple[Mapping[str, Any], MultimodalDataset]]:
        """The model, the arrays of X by name as they were given, and the rows in the model's form."""
        check_is_fitted(self, "model_")
        parts = read_parts(self._by_name(X, reset=False))
        return self.model_, (parts.values, load_like(parts, self.model_.modalities))

    def _by_name(self, X: Any, *, reset: bool) -> dict[str, Any]:
        """X as name -> array. reset: for training rows, whose form is remembered."""
        is_table = not _is_by_name(X)
        if not reset and is_table != (self.views_ is not None):
            form = "modalities by name" if is_table else "one table"
            raise InputError(f"the model was fitted on {form}; give X in that form")
        return self._cut(X, reset=reset) if is_table else self._named(X, reset=reset)

    def _cut(self, X: Any, *, reset: bool) -> dict[str, Any]:
        """A table as name -> the columns of that view."""
        least = {"ensure_min_samples": 2} if reset else {}
        table = validate_data(self, X, reset=reset, dtype="numeric", ensure_all_finite="allow-nan", **least)
        if reset:
            names = list(getattr(self, "feature_names_in_", range(table.shape[1])))
            self.views_ = _columns(self.views or {WHOLE: slice(None)}, names)
            self._forms = {name: (len(columns),) for name, columns in self.views_.items()}
        return {name: table[:, columns] for name, columns in (self.views_ or {}).items()}

    def _named(self, X: Any, *, reset: bool) -> dict[str, Any]:
        if reset and self.views is not None:
            raise InputError("views are columns of one table, and X has its modalities by name; leave one out")
        arrays = _of_mudata(X) if hasattr(X, "obsmap") else {name: _dense(value) for name, value in X.items()}
        columns = _names_of_columns(X)
        if reset:
            self.views_ = None
            self._forms = {name: np.shape(value)[1:] for name, value in arrays.items()}
            self._names_of_columns = columns
        for name in columns.keys() & self._names_of_columns.keys():
            _check_order(name, columns[name], self._names_of_columns[name])
        return arrays

    def _batches(self, rows: MultimodalDataset, size: int = CHUNK) -> Iterator[Batch]:
        device = device_named(self.device)
        for start in range(0, len(rows), size):
            batch = rows.batch(slice(start, start + size)).to(device)
            yield batch._replace(values={name: value.double() for name, value in batch.values.items()})

    def _in_form(self, modality: Modality, values: Tensor) -> np.ndarray:
        """Values in original units in the form that the model was fitted on: classes as numbers, text as sentences."""
        if modality.vocabulary:
            return np.array(modality.vocabulary.decode(values))
        form = self._forms[modality.name]
        if modality.is_classes:
            likeliest = values.argmax(-1)
            if modality.feature_names:
                return np.array(modality.feature_names)[_numpy(likeliest)]
            values = one_hot(likeliest, values.shape[-1]).to(values) if form else likeliest
        return _numpy(values).reshape(len(values), *form)

    def _as_given(self, modality: Modality, values: Tensor, given: np.ndarray | None, seen: np.ndarray) -> np.ndarray:
        """Imputed values in the form of what was given, which is kept where it was seen."""
        filled = self._in_form(modality, values)
        if given is None or given.shape != filled.shape:  # text that was given as token ids
            return filled
        return with_given(filled, given, seen)

    def _together(self, values: dict[str, np.ndarray], like: Any = None) -> Any:
        """Arrays by name as the table that was fitted on, if it was one; in frames where `like` has them."""
        if self.views_ is None:
            sources = like if isinstance(like, Mapping) else {}
            return {name: _framed(array, sources.get(name)) for name, array in values.items()}
        rows, columns = len(next(iter(values.values()))), sum(map(len, self.views_.values()))
        table = np.empty((rows, columns), np.result_type(*values.values()))
        for name, places in self.views_.items():
            table[:, places] = values[name]
        return _framed(table, like)


@contextmanager
def _without_flags() -> Generator[None]:
    """Errors that are about a setting name it as Python does: latent_dim, not --latent-dim."""
    names = {flag(field.name): field.name for field in fields(RunConfig)}
    try:
        yield
    except InputError as error:
        raise InputError(FLAG.sub(lambda found: names.get(found[0], found[0]), str(error))) from error


def _training_rows(arrays: Mapping[str, Any], config: RunConfig) -> MultimodalDataset:
    """All rows, standardised on all. Tables may have gaps, since later rows may; not those whose total is a depth."""
    parts, whole = read_parts(arrays), listed(config.library or "")
    every, specs, values = np.arange(len(parts.present)), [], {}
    for name, present in zip(parts.values, parts.present.T, strict=True):
        spec, stored = interpret(name, parts.values[name], present, {}, every)
        specs.append(replace(spec, has_gaps=spec.has_gaps or (spec.is_table and name not in whole)))
        values[name] = torch.from_numpy(stored)
    return MultimodalDataset(config.dataset, tuple(specs), values, torch.from_numpy(parts.present))


def _columns(views: Mapping[str, Any], names: list[Any]) -> dict[str, list[int]]:
    """name -> column numbers. Raises InputError unless each column is in one view."""
    found: dict[str, list[int]] = {}
    places = {name: place for place, name in enumerate(names)} | {place: place for place in range(len(names))}
    for view, chosen in views.items():
        columns = [chosen] if np.isscalar(chosen) else chosen
        wanted = range(len(names))[columns] if isinstance(columns, slice) else list(columns)
        if unknown := [column for column in wanted if column not in places]:
            raise InputError(f"view {view!r} names column {unknown[0]!r}; X has {', '.join(map(str, names))}")
        found[view] = [places[column] for column in wanted]
    dealt = [column for columns in found.values() for column in columns]
    for place, name in enumerate(names):
        if (times := dealt.count(place)) != 1:
            raise InputError(f"column {name!r} is in {times} views; name it in one, or leave it out of X")
    return found


def _of_mudata(data: Any) -> dict[str, np.ndarray]:
    """name -> (row of the whole, variable), NaN in the rows that the modality lacks."""
    arrays = {}
    for name, part in data.mod.items():
        known = np.asarray(_dense(part.X), np.float64)
        arrays[name] = np.full((data.n_obs, part.n_vars), np.nan)
        place = np.asarray(data.obsmap[name]).ravel()  # the row in the modality, from 1; 0 where it has none
        arrays[name][place > 0] = known[place[place > 0] - 1]
    return arrays


def _names_of_columns(X: Any) -> dict[str, list[Any]]:
    """Of the variables of a MuData, and of the columns of the DataFrames of a mapping."""
    if hasattr(X, "obsmap"):
        return {name: list(part.var_names) for name, part in X.mod.items()}
    return {name: list(value.columns) for name, value in X.items() if hasattr(value, "columns")}


def _check_order(name: str, given: list[Any], fitted: list[Any]) -> None:
    """Raises InputError unless the columns are those of fit, in that order; their number is checked with the shape."""
    for place, (column, known) in enumerate(zip(given, fitted, strict=False)):
        if column != known:
            said = f"column {place} is {column!r}, but was {known!r} in fit"
            raise InputError(f"{name!r}: {said}; give the columns of fit in their order")


def _is_by_name(X: Any) -> bool:
    """Whether X is a MuData or a mapping, but not a SciPy sparse matrix, some of which are mappings."""
    return hasattr(X, "obsmap") or (isinstance(X, Mapping) and not hasattr(X, "shape"))


def _dense(value: Any) -> Any:
    return value.toarray() if hasattr(value, "toarray") else value


def _framed(array: np.ndarray, like: Any) -> Any:
    """The array as a DataFrame or a Series, where `like` is one."""
    if array.shape != np.shape(like):  # text that was given as token ids
        return array
    if hasattr(like, "iloc"):  # pandas
        named = {"columns": like.columns} if array.ndim == 2 else {"name": like.name}
        return type(like)(array, index=like.index, **named)
    if hasattr(like, "with_columns"):  # polars
        return type(like)(array, schema=like.columns)
    return type(like)(like.name, array) if hasattr(like, "to_physical") else array  # of polars


def _ends(parts: list[Any], modality: Modality) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, low and high of all rows; the mean thrice without an interval."""
    if isinstance(parts[0], ImputedText):
        ids = torch.cat([part.ids for part in parts])
        return ids, ids, ids
    mean, low, high = (torch.cat([getattr(part, field) for part in parts]) for field in ("mean", "low", "high"))
    return (mean, mean, mean) if modality.is_classes else (mean, low, high)


def _ids(batch: Batch) -> tuple[int, ...]:
    """A number for each row that follows from its content alone."""
    content = [_numpy(value).reshape(len(value), -1) for value in batch.values.values()]
    rows = np.concatenate([*content, _numpy(batch.present)], 1)
    return tuple(derive_seed(0, row.tobytes()) for row in rows)


def _log_units(modalities: Sequence[Modality], batch: Batch) -> Tensor:
    """The log of what standardising multiplies the density of a row's cells by: (batch,)."""
    total = torch.zeros(len(batch.present), dtype=torch.float64, device=batch.present.device)
    for modality, seen in zip(modalities, batch.present.unbind(-1), strict=True):
        if isinstance(modality.transform, Standardise):
            values = batch.values[modality.name]
            log_sd = torch.tensor(modality.transform.sd, dtype=values.dtype, device=values.device).log()
            total += torch.where(values.isnan() | ~seen[:, None], 0.0, log_sd).sum(-1)
    return total


def _numpy(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _unsaid(done: int, total: int, loss: float) -> None:
    pass


def _said(done: int, total: int, loss: float) -> None:
    if done % max(1, total // 10) == 0:
        print(f"step {done:,} of {total:,}: loss {loss:.4g}", flush=True)
