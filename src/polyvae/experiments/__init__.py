"""Experiments: each file offers `configs() -> list[RunConfig]`, plain Python that a reader can diff."""

import runpy
from collections.abc import Callable
from pathlib import Path

from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.experiments import birds, label_free, quick

EXPERIMENTS: dict[str, Callable[[], list[RunConfig]]] = {
    "quick": quick.configs,
    "quick-long": quick.long_configs,
    "label-free": label_free.configs,
    "quick_captions": birds.quick_captions,
    # The figures on Caltech-UCSD Birds read the same runs.
    **dict.fromkeys(("fig02_cub", "fig04c_cub", "fig07_cub", "fig09_cub", "fig10_cub"), birds.configs),
    "cub_captions": birds.captions_alone,
}


def configs_of(name_or_file: str) -> list[RunConfig]:
    """The configs of a named experiment, or of a Python file that defines `configs()`."""
    if name_or_file in EXPERIMENTS:
        return EXPERIMENTS[name_or_file]()
    path = Path(name_or_file)
    if path.suffix != ".py" or not path.is_file():
        raise InputError(
            f"no experiment {name_or_file!r}; choose {', '.join(EXPERIMENTS)}, or a .py file with configs()"
        )
    try:
        made = runpy.run_path(str(path)).get("configs")
        configs = made() if callable(made) else None
    except InputError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise InputError(f"{path} fails: {type(error).__name__}: {error}; --debug shows where") from error
    if not isinstance(configs, list) or not configs or not all(isinstance(c, RunConfig) for c in configs):
        raise InputError(f"{path} does not define configs() -> list[RunConfig], with at least one config")
    return configs
