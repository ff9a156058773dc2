"""What the user says of columns that are not modalities: the label, the covariate, the group, and what is left out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any, Protocol, Self

from polyvae.config import listed
from polyvae.errors import InputError
from polyvae.modality import Modality

LABELS = ("label", "labels")
PARTS = ("", ".mask", ".features")  # of the keys of a modality


class Options(Protocol):
    """Anything with these fields, as they are written on the command line."""

    @property
    def label(self) -> str | None: ...
    @property
    def covariate(self) -> str | None: ...
    @property
    def group(self) -> str | None: ...
    @property
    def leave_out(self) -> str | None: ...


@dataclass(frozen=True)
class Roles:
    """Names of columns or keys.

    label: default `label` or `labels`, where there is one. must_be_there: False for new rows of a trained model, which
    may lack the label, the group, and what is left out. views: those of that model, with the names of their columns.
    """

    label: str | None = None
    covariate: str | None = None
    group: str | None = None
    left_out: tuple[str, ...] = ()
    must_be_there: bool = True
    views: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Raises InputError for a column that is left out and used."""
        for flag, name in (("--label", self.label), ("--covariate", self.covariate), ("--group", self.group)):
            if name in self.left_out:
                raise InputError(f"{flag} {name} is also named by --leave-out; keep one of them")

    @classmethod
    def of(cls, options: Options) -> Self:
        left_out = () if options.leave_out is None else tuple(listed(options.leave_out))
        return cls(options.label, options.covariate, options.group, left_out)

    def for_new_rows(self, modalities: Sequence[Modality] = ()) -> Self:
        views = {m.name: () if m.is_classes else m.feature_names for m in modalities}
        return replace(self, must_be_there=False, views=views)

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns that may be the label."""
        return LABELS if self.label is None else (self.label,)

    @property
    def named(self) -> frozenset[str]:
        """The columns that are not modalities, whatever they hold."""
        return frozenset({*self.labels, *self.left_out, *self.about})

    @property
    def about(self) -> dict[str, str]:
        """Column -> what its words or integers are, of which every row needs one."""
        named = {self.group: "group", self.covariate: "covariate"}
        return {name: what for name, what in named.items() if name is not None}

    def check(self, known: Iterable[str]) -> None:
        """Raises InputError for a column that must be there, and is not among those that the data hold."""
        known = dict.fromkeys(known)
        wanted = dict.fromkeys(self.left_out, "left out") | self.about | {self.label: "label"}
        for name, what in wanted.items():
            if name is not None and name not in known and (self.must_be_there or what == "covariate"):
                nearest = dict.fromkeys([*get_close_matches(name, known, 1), *known])
                shown = ", ".join(list(nearest)[:20]) + (", ..." if len(known) > 20 else "")
                raise InputError(f"{what} {name!r} is not in the data; they hold {shown}")

    def applied(self, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays by key: without what is left out, and the label under `label`."""
        self.check(arrays)
        gone = {name + part for name in self.left_out for part in PARTS}
        kept = {key: array for key, array in arrays.items() if key not in gone}
        if self.label in kept and self.label not in LABELS:
            check_single_label(self.label, kept)
            kept[LABELS[0]] = kept.pop(self.label)
        return kept


def check_single_label(label: str, columns: Iterable[str]) -> None:
    """Raises InputError where a column called label is there beside the one that the user named."""
    if other := next((name for name in LABELS if name in columns and name != label), None):
        raise InputError(f"--label {label}: there is also a column {other!r}; drop one, say with --leave-out {other}")
