"""What the table of data sets holds: how a data set is loaded, and which options it has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from polyvae.attributes import Attribute
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.polymnist.generator import Sampler
from polyvae.errors import InputError
from polyvae.options import names_of


@dataclass(frozen=True)
class NoOptions:
    """A data set without options."""


@dataclass(frozen=True)
class Entry:
    """A data set.

    load: (options, split=, size=, seed=) -> MultimodalDataset; split: train or test; size >= 1, or None: all rows;
    seed >= 0.
    options: a frozen dataclass of what can be chosen, with defaults and checks; `datasets.load` builds it, and checks
    that what is typed as a `Literal` is one of its choices. No field may have a name that every data set uses: name,
    split, size, seed, test_size.
    sampler: (options, split=) -> Sampler, or None for data that have no generator.
    attributes: what captions name.

    One of your own, used by `--dataset rings --data-options radius=2`:

        @dataclass(frozen=True)
        class Rings:
            radius: float = 1.0

        def load(options: Rings, *, split: str, size: int | None, seed: int) -> MultimodalDataset: ...

        datasets.register("rings", Entry(load, "points on rings", Rings))
    """

    load: Callable[..., MultimodalDataset]
    description: str
    options: type[Any] = NoOptions
    sampler: Callable[..., Sampler] | None = None
    attributes: tuple[Attribute, ...] = ()

    @property
    def own_options(self) -> tuple[str, ...]:
        return names_of(self.options)

    @property
    def option_names(self) -> tuple[str, ...]:
        """Its own options and `size`, which every data set has, sorted."""
        return tuple(sorted({"size", *self.own_options}))

    def built(self, name: str, options: Mapping[str, Any]) -> Any:
        """`options` as the dataclass of the data set `name`. None stands for a default.

        A data directory may be named for all data sets; those that read no files have no use for it.
        Raises InputError for an option that the data set does not have, and for a choice that an option does not have.
        """
        given = {key: value for key, value in options.items() if value is not None}
        own = self.own_options
        if "data_dir" not in own:
            given.pop("data_dir", None)
        for option in given:
            if option not in own:
                raise InputError(f"data set {name!r} has no option {option!r}; it has {', '.join(self.option_names)}")
        built = self.options(**given)
        for option, hint in get_type_hints(self.options).items():
            if get_origin(hint) is Literal and (value := getattr(built, option)) not in get_args(hint):
                raise InputError(f"unknown {option} {value!r}; choose {' or '.join(map(str, get_args(hint)))}")
        return built
