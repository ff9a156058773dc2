"""Flat settings as `--help` shows them: the flags that most runs need first, the others under titles."""

import inspect
from collections.abc import Callable
from dataclasses import field, fields, make_dataclass
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro
from docstring_parser import parse_from_object

T = TypeVar("T")

MAIN = "main"  # also the group of fields that are in no other
# title -> (what the flags are about, fields of RunConfig)
GROUPS: dict[str, tuple[str, tuple[str, ...]]] = {
    MAIN: (
        "",
        ("data", "dataset", "method", "beta", "latent_dim", "epochs", "seed", "metrics"),
    ),
    "own data": (
        "How the files of --data are read.",
        ("test_data", "label", "covariate", "group", "leave_out", "scaling", "text_length"),
    ),
    "row": (
        "Which rows and modalities are used.",
        ("only", "train_size", "test_size", "validation_fraction", "data_seed"),
    ),
    "training": (
        "How the model is trained.",
        ("batch_size", "learning_rate", "schedule", "gradient_clip", "patience", "average_epochs", "best_by"),
    ),
    "model": (
        "What the model is built from.",
        (
            "network",
            "likelihood",
            "likelihood_scale",
            "library",
            "posterior",
            "posterior_scale",
            "prior",
            "prior_components",
        ),
    ),
    "objective": (
        "What is minimised.",
        ("objective", "objective_samples", "allocation", "subsets", "modality_weights", "method_options"),
    ),
    "machine": (
        "What it runs on, and how exactly.",
        ("device", "threads", "precision", "importance_samples"),
    ),
    "benchmark data": (
        "Variants of the benchmark's data sets.",
        (
            "modalities",
            "data_dir",
            "scale",
            "background",
            "held_out",
            "crop_range",
            "pairing",
            "split_by",
            "crop",
            "data_options",
        ),
    ),
}


def grouped(cls: type[T]) -> Callable[..., T]:
    """A constructor of a flat dataclass whose arguments are its fields in GROUPS. Flags keep their names."""
    said = {
        doc.arg_name: doc.description or "" for base in cls.__mro__[-2::-1] for doc in parse_from_object(base).params
    }
    hints = get_type_hints(cls, include_extras=True)
    own = {known.name: known.default for known in fields(cls)}  # ty: ignore[invalid-argument-type]
    in_group = {name for _, names in GROUPS.values() for name in names}
    groups: dict[str, Any] = {}
    for number, (title, (about, names)) in enumerate(GROUPS.items()):
        others = [name for name in own if name not in in_group] if title == MAIN else []
        flags = [
            (name, _flag(hints[name], said.get(name), own[name]), field(default=own[name]))
            for name in (*names, *others)
            if name in own
        ]
        kind: Any = make_dataclass(f"Group{number}", flags, kw_only=True, namespace={"__doc__": about})
        groups[f"group{number}"] = Annotated[kind, tyro.conf.arg(name=title)]

    def build(**groups: Any) -> T:
        return cls(**{name: value for group in groups.values() for name, value in vars(group).items()})

    build.__annotations__ = groups
    named = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind) for name, kind in groups.items()]
    build.__signature__ = inspect.Signature(named)  # ty: ignore[missing-attribute]
    return build


def _flag(hint: Any, said: str | None, default: Any) -> Any:
    """The type of a flag with its help, which ends in the default if the text does not say it."""
    if said is None:  # the type has its help
        return hint
    hinted = "" if "Default" in said or default is None else None
    return Annotated[hint, tyro.conf.arg(help=" ".join(said.split()), help_behavior_hint=hinted)]
