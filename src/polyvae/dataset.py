"""A multimodal data set in memory: compact storage, float batches by index."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from polyvae.errors import InputError
from polyvae.modality import Batch, Modality


@dataclass(frozen=True, eq=False)
class MultimodalDataset:
    """Rows of several modalities.

    name: what `polyvae data` calls it.
    modalities: their order is the order of every `modality` axis.
    values: name -> (row, *shape); uint8 stands for value / 255, anything else is float32 in original units.
    present: Bool (row, modality).
    labels: Int64 (row,) or None.
    info: JSON-able facts (parameters, sources, checksums).
    """

    name: str
    modalities: tuple[Modality, ...]
    values: Mapping[str, Tensor]
    present: Tensor
    labels: Tensor | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [m.name for m in self.modalities]
        if list(self.values) != names:
            raise InputError(f"data set {self.name!r}: values for {list(self.values)} but modalities {names}")
        rows = len(self.present)
        for modality in self.modalities:
            if (dtype := self.values[modality.name].dtype) not in (torch.uint8, torch.float32):
                raise InputError(f"modality {modality.name!r} is {dtype}; give uint8 (for value / 255) or float32")
            shape = tuple(self.values[modality.name].shape)
            if shape != (rows, *modality.shape):
                raise InputError(f"modality {modality.name!r} has shape {shape}, expected {(rows, *modality.shape)}")
        if self.labels is not None and len(self.labels) != rows:
            raise InputError(f"data set {self.name!r}: {len(self.labels)} labels for {rows} rows")
        if not bool(self.present.any(-1).all()):
            empty = int((~self.present.any(-1)).nonzero()[0])
            raise InputError(f"row {empty} of data set {self.name!r} has no observed modality; drop such rows")

    def __len__(self) -> int:
        return len(self.present)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.modalities)

    def batch(self, indices: Tensor | Sequence[int] | slice) -> Batch:
        """The rows `indices` as float32 in model units."""
        rows = indices if isinstance(indices, slice) else torch.as_tensor(indices, device=self.present.device)
        values = {m.name: _to_model(m, _take(self.values[m.name], rows)) for m in self.modalities}
        return Batch(values, _take(self.present, rows), None if self.labels is None else _take(self.labels, rows))

    def select(self, names: Sequence[str]) -> "MultimodalDataset":
        """Only the named modalities, in data set order, without the rows that then have nothing observed."""
        if unknown := sorted(set(names) - set(self.names)):
            raise InputError(f"unknown modality {unknown[0]!r}; {self.name!r} has {', '.join(self.names)}")
        kept = [i for i, name in enumerate(self.names) if name in set(names)]
        if not kept:
            raise InputError("select needs at least one modality")
        chosen = tuple(self.modalities[i] for i in kept)
        narrowed = {m.name: self.values[m.name] for m in chosen}
        present = self.present[:, kept]
        seen = present.any(-1)
        if not bool(seen.all()):
            narrowed, present = {n: v[seen] for n, v in narrowed.items()}, present[seen]
        labels = None if self.labels is None else self.labels[seen]
        return replace(self, modalities=chosen, values=narrowed, present=present, labels=labels)

    def rows(self, indices: Tensor | Sequence[int]) -> "MultimodalDataset":
        """Only the rows `indices`, in that order."""
        kept = torch.as_tensor(indices)
        labels = None if self.labels is None else self.labels[kept]
        return replace(
            self, values={n: v[kept] for n, v in self.values.items()}, present=self.present[kept], labels=labels
        )

    def with_modalities(self, modalities: Sequence[Modality]) -> "MultimodalDataset":
        """The same rows scored by other likelihoods, weights or transforms."""
        return replace(self, modalities=tuple(modalities))

    def to(self, device: torch.device | str) -> "MultimodalDataset":
        labels = None if self.labels is None else self.labels.to(device)
        return replace(
            self,
            values={n: v.to(device) for n, v in self.values.items()},
            present=self.present.to(device),
            labels=labels,
        )

    def fingerprint(self) -> str:
        """SHA-256 over modalities, values, masks and labels: the identity of the user's data in a run id."""
        digest = hashlib.sha256(repr([m.to_json() for m in self.modalities]).encode())
        for tensor in (*self.values.values(), self.present, *(() if self.labels is None else (self.labels,))):
            digest.update(str((tensor.dtype, tuple(tensor.shape))).encode())
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
        return digest.hexdigest()


def _take(tensor: Tensor, rows: Tensor | slice) -> Tensor:
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)  # far faster than tensor[rows]


def _to_model(modality: Modality, stored: Tensor) -> Tensor:
    if stored.dtype == torch.uint8:
        return stored.float().div_(255)
    return stored if modality.transform is None else modality.transform(stored)
