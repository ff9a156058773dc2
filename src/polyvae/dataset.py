"""A multimodal data set, in memory or in files: compact storage, float batches by index."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from polyvae import keys
from polyvae.covariate import Covariate, Levels
from polyvae.errors import InputError
from polyvae.file_rows import FileRows, parts
from polyvae.modality import Batch, Modality
from polyvae.noise import derive_seed

MOST_HELD, MOST_HELD_ROWS = 2**24, 10_000  # values of rows in files, and rows, where they must be held


@dataclass(frozen=True, eq=False)
class MultimodalDataset:
    """Rows of several modalities.

    name: what `polyvae data` calls it.
    modalities: their order is the order of every `modality` axis.
    values: name -> (row, *shape); uint8 stands for value / 255, int16 (row, position) are token ids of a text, anything
    else is float32 in original units.
    present: Bool (row, modality).
    labels: Int64 (row,) or None.
    info: JSON-able facts (parameters, sources, checksums).
    variants: name -> (row, variant, *shape), other values as good as those in `values` (ten captions of one image).
    places: name -> Int64 (row,), which part of the picture shows what the label says, where that is known.
    levels: of a covariate, which encoders and decoders are given beside the values, or None.
    ids: (row,) integers or strings, the user's names of the rows; None where they have none.
    in_files: name -> the same of modalities whose rows are left in a file until a batch is asked for; not in `values`.
    groups: (row,) integers or strings, None where there are none. Rows of one group stay together in every split.
    """

    name: str
    modalities: tuple[Modality, ...]
    values: Mapping[str, Tensor]
    present: Tensor
    labels: Tensor | None = None
    info: Mapping[str, Any] = field(default_factory=dict)
    variants: Mapping[str, Tensor] = field(default_factory=dict)
    places: Mapping[str, Tensor] = field(default_factory=dict)
    levels: Levels | None = None
    ids: np.ndarray | None = None
    groups: np.ndarray | None = None
    in_files: Mapping[str, FileRows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [m.name for m in self.modalities]
        if (reason := keys.collision(names)) is not None:
            raise InputError(f"data set {self.name!r}: {reason}")
        given = [*self.values, *self.in_files]
        if list(self.values) != [name for name in names if name not in self.in_files] or len(given) != len(names):
            raise InputError(f"data set {self.name!r}: values for {given} but modalities {names}")
        rows = len(self.present)
        for modality in self.modalities:
            name, expected = modality.name, (rows, *modality.stored_shape)
            dtype, shape = self.dtype(name), tuple(self._stored(name).shape)
            if dtype not in ((torch.int16,) if modality.vocabulary else (torch.uint8, torch.float32)):
                accepted = "uint8 (for value / 255), float32, or int16 for text"
                raise InputError(f"modality {name!r} is {dtype}; give {accepted}")
            if shape != expected:
                raise InputError(f"modality {name!r} has shape {shape}, expected {expected}")
        if self.labels is not None and len(self.labels) != rows:
            raise InputError(f"data set {self.name!r}: {len(self.labels)} labels for {rows} rows")
        if self.levels is not None and len(self.levels.index) != rows:
            raise InputError(f"data set {self.name!r}: levels of {len(self.levels.index)} rows, and there are {rows}")
        if not bool(self.present.any(-1).all()):
            empty = int((~self.present.any(-1)).nonzero()[0])
            raise InputError(f"row {empty} of data set {self.name!r} has no observed modality; remove such rows")

    @staticmethod
    def complete(
        name: str, modalities: Sequence[Modality], values: Mapping[str, Tensor], **others: Any
    ) -> "MultimodalDataset":
        """Rows that lack no modality; others: labels, info, variants, places, levels."""
        present = torch.ones(len(next(iter(values.values()))), len(modalities), dtype=torch.bool)
        return MultimodalDataset(name, tuple(modalities), values, present, **others)

    def __len__(self) -> int:
        return len(self.present)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.modalities)

    @property
    def covariate(self) -> Covariate | None:
        return None if self.levels is None else self.levels.covariate

    @property
    def values_per_row(self) -> int:
        """As they are stored, over all modalities."""
        return sum(math.prod(modality.stored_shape) for modality in self.modalities)

    def dtype(self, name: str) -> torch.dtype:
        """The type of a modality's stored values."""
        return self._taken(name, slice(0)).dtype

    def _stored(self, name: str) -> Tensor | FileRows:
        return self.in_files[name] if name in self.in_files else self.values[name]

    def _taken(self, name: str, rows: Tensor | slice) -> Tensor:
        if name not in self.in_files:
            return _take(self.values[name], rows)
        places = rows if isinstance(rows, slice) else rows.cpu().numpy()
        return torch.from_numpy(self.in_files[name][places]).to(self.present.device)

    @cached_property
    def is_complete(self) -> bool:
        """Whether every row has every modality."""
        return bool(self.present.all())

    def batch(self, indices: Tensor | Sequence[int] | slice) -> Batch:
        """The rows `indices` as float32 in model units."""
        rows = indices if isinstance(indices, slice) else _places(indices).to(self.present.device)
        values = {m.name: _to_model(m, self._taken(m.name, rows)) for m in self.modalities}
        label = None if self.labels is None else _take(self.labels, rows)
        levels = self.levels
        level = None if levels is None else levels.covariate.one_hot(_take(levels.index, rows))
        return Batch.known(values, _take(self.present, rows), label, is_complete=self.is_complete, level=level)

    def expect(self, indices: Tensor) -> None:
        """Has these rows fetched, where they are in files, while something else is computed."""
        for values in self.in_files.values():
            values.expect(indices.cpu().numpy())

    def seen(self, name: str) -> Iterator[Tensor]:
        """Stored values of the rows that have this modality; if in a file, in parts."""
        here = self.present[:, self.names.index(name)]
        if name in self.in_files:
            yield from map(torch.from_numpy, parts(self.in_files[name], here.nonzero()[:, 0].cpu().numpy()))
        else:
            yield self.values[name][here]

    def select(self, names: Sequence[str]) -> "MultimodalDataset":
        """Only the named modalities, in data set order, without the rows that then have nothing observed."""
        if unknown := sorted(set(names) - set(self.names)):
            raise InputError(f"unknown modality {unknown[0]!r}; {self.name!r} has {', '.join(self.names)}")
        columns = [i for i, name in enumerate(self.names) if name in names]
        if not columns:
            raise InputError("select needs at least one modality")
        modalities = tuple(self.modalities[i] for i in columns)
        seen = self.present[:, columns].any(-1)
        source = self if bool(seen.all()) else self.rows(seen.nonzero().squeeze(1))
        by_name = {
            of: {name: value for name, value in getattr(source, of).items() if name in names}
            for of in ("values", "in_files", "variants", "places")
        }
        return replace(source, modalities=modalities, present=source.present[:, columns], **by_name)

    def rows(self, indices: Tensor | Sequence[int]) -> "MultimodalDataset":
        """Only the rows `indices`, in that order."""
        places = _places(indices)
        at = places.cpu().numpy()
        ids, groups = (None if names is None else names[at] for names in (self.ids, self.groups))
        in_files = {name: values.chosen(at) for name, values in self.in_files.items()}
        return self.mapped(lambda tensor: tensor[places], ids=ids, groups=groups, in_files=in_files)

    def held(self, seed: int = 0) -> "MultimodalDataset":
        """Rows in memory: for rows in files at most 10,000 and 2^24 values, drawn by `seed`; else these rows."""
        if not self.in_files:
            return self
        most = max(1, min(MOST_HELD // self.values_per_row, MOST_HELD_ROWS))
        return self.rows(chosen_rows(len(self), most, seed)).in_memory()

    def in_memory(self) -> "MultimodalDataset":
        """The same rows, all of them read."""
        return replace(self, values={name: self._taken(name, slice(None)) for name in self.names}, in_files={})

    def at_epoch(self, epoch: int) -> "MultimodalDataset":
        """The same rows showing the variant of this epoch: all of them in turn; epoch 0 shows `values`."""
        if not self.variants:
            return self
        turned = {name: value[:, epoch % value.shape[1]] for name, value in self.variants.items()}
        return replace(self, values={**self.values, **turned})

    def with_modalities(self, modalities: Sequence[Modality]) -> "MultimodalDataset":
        """The same rows scored by other likelihoods, weights or transforms."""
        return replace(self, modalities=tuple(modalities))

    def to(self, device: torch.device | str) -> "MultimodalDataset":
        return self.mapped(lambda tensor: tensor.to(device))

    def mapped(self, change: Callable[[Tensor], Tensor], **others: Any) -> "MultimodalDataset":
        """The data set with a function applied to every tensor. others: fields that are replaced beside them."""
        return replace(
            self,
            values={name: change(value) for name, value in self.values.items()},
            present=change(self.present),
            labels=None if self.labels is None else change(self.labels),
            variants={name: change(value) for name, value in self.variants.items()},
            places={name: change(value) for name, value in self.places.items()},
            levels=None if self.levels is None else self.levels._replace(index=change(self.levels.index)),
            **others,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over modalities, values, masks and labels: the identity of the user's data in a run id."""
        specs = [m.to_json() for m in self.modalities]
        for spec in specs:  # follows from the values, and was added later
            (spec["transform"] or {}).pop("from_zero", None)
        digest = hashlib.sha256(repr(specs).encode())
        by_row = () if self.labels is None else (self.labels,)
        if self.levels is not None:
            digest.update(repr(self.levels.covariate.to_json()).encode())
            by_row = (*by_row, self.levels.index)
        if self.groups is not None:  # they decide which rows are held out for validation
            digest.update(repr(self.groups.tolist()).encode())
        stored = [(self.dtype(name), self._stored(name)) for name in self.names]
        stored += [(tensor.dtype, tensor) for tensor in (self.present, *by_row, *self.variants.values())]
        for dtype, values in stored:
            digest.update(str((dtype, tuple(values.shape))).encode())
            for part in parts(values.cpu().numpy() if isinstance(values, Tensor) else values):
                digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()


def cut(order: np.ndarray, count: int, groups: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(the rest, the rows held out): the first `count` of a shuffled `order` of all rows.

    groups: (row,); then whole groups are held out, in a shuffled order, as many as come nearest to `count` rows.
    Raises InputError for a single group.
    """
    if groups is None:
        return order[count:], order[:count]
    names, first, of_row, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise InputError(f"all {len(groups)} rows are in group {str(names[0])!r}; a split needs two groups")
    shuffled = order.argsort()[first].argsort()  # each group stands where its first row does: large ones no earlier
    taken = np.abs(sizes[shuffled].cumsum()[:-1] - count).argmin() + 1
    is_held = np.isin(of_row, shuffled[:taken])[order]
    return order[~is_held], order[is_held]


def cut_at_random(data: MultimodalDataset, count: int, seed: int, purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """`cut` of the numbers of all rows, shuffled by the seed for this purpose."""
    order = np.random.default_rng(derive_seed(seed, purpose)).permutation(len(data))
    return cut(order, count, data.groups)


def chosen_rows(count: int, limit: int | None, seed: int) -> list[int]:
    """`limit` of `count` rows without replacement, ascending: no bias from data that are sorted by class."""
    order = np.random.default_rng(derive_seed(seed, "rows")).permutation(count)
    return sorted(order[:limit].tolist())


def chunks(rows: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """`rows` in parts of `size`, the last one shorter."""
    return (tuple(rows[start : start + size]) for start in range(0, len(rows), size))


def _places(indices: Tensor | Sequence[int]) -> Tensor:
    places = torch.as_tensor(indices)
    return places if len(places) else places.long()  # an empty list is one of floats; a mask must stay an error


def _take(tensor: Tensor, rows: Tensor | slice) -> Tensor:
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)  # far faster than tensor[rows]


def _to_model(modality: Modality, stored: Tensor) -> Tensor:
    if stored.dtype == torch.uint8:
        return stored.float().div_(255)
    return stored if modality.transform is None else modality.transform(stored)
