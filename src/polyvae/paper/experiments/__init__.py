"""Experiments: functions that return lists of configs, plain Python that a reader can diff."""

import inspect
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polyvae import files
from polyvae.config import RunConfig
from polyvae.errors import InputError, choices
from polyvae.paper.experiments import beyond, birds, methods, normal, polymnist, quick, solved
from polyvae.paper.experiments.common import PRESETS
from polyvae.registry import Origin, entries_from

EXPERIMENTS: dict[str, Callable[..., list[RunConfig]]] = {
    "quick": quick.configs,
    "quick-long": quick.long_configs,
    "label-free": beyond.label_free,
    "quick_captions": birds.quick_captions,
    # The figures on Caltech-UCSD Birds read the same runs.
    **dict.fromkeys(("fig02_cub", "fig04c_cub", "fig07_cub", "fig09_cub", "fig10_cub"), birds.configs),
    "cub_captions": birds.captions_alone,
    "fig02_quality_vs_beta": polymnist.quality_vs_beta,
    "fig02_more_seeds": polymnist.more_seeds,
    "fig03_quality_vs_modalities": polymnist.quality_vs_modalities,
    "fig04_coherence_vs_beta": polymnist.quality_vs_beta,  # the same runs
    "fig11_repeated_modalities": polymnist.repeated_modalities,
    "fig12_official_mmvae": polymnist.official_mmvae,
    "fig03_normal": normal.quality_vs_modalities,
    "fig11_normal": normal.repeated_modalities,
    "fig12_normal": normal.official_mmvae,
    "fig13_elbo_subsampling": polymnist.elbo_subsampling,
    "translated_official": polymnist.translated_official,
    "bounds": beyond.bounds,
    "dial": beyond.dial,
    "architecture": polymnist.architecture,
    "pairing": beyond.pairing,
    "methods": methods.side_by_side,
    "translated_solved": solved.translated_solved,
    "translated_more_seeds": solved.more_seeds,
    "aligned_elsewhere": solved.elsewhere,
    "aligned_half_size": solved.half_size,
}


def configs_of(name_or_file: str, preset: str | None = None) -> list[RunConfig]:
    """The configs of a named experiment, or of a Python file that defines `configs()`, or `configs(preset)`.

    Raises InputError for an unknown name or preset, and for a file that does not do this.
    """
    if name_or_file in EXPERIMENTS:
        if preset not in (None, *PRESETS):
            raise InputError(f"no preset {preset!r}; {choices(preset, PRESETS)}")
        return _call(EXPERIMENTS[name_or_file], name_or_file, preset)
    path = Path(name_or_file)
    if path.suffix != ".py" or not path.is_file():
        raise InputError(
            f"no experiment {name_or_file!r}; {choices(name_or_file, EXPERIMENTS)}, or a .py file with configs()"
        )
    try:
        with entries_from(Origin(str(path.absolute()), files.sha256(path))):  # it may be a plug-in, too
            function = runpy.run_path(str(path)).get("configs")
        configs = _call(function, name_or_file, preset) if callable(function) else None
    except InputError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise InputError(f"{path} fails: {type(error).__name__}: {error}; --debug shows where") from error
    if not isinstance(configs, list) or not configs or not all(isinstance(c, RunConfig) for c in configs):
        raise InputError(f"{path} does not define configs() -> list[RunConfig], with at least one config")
    return configs


def _call(configs: Callable[..., Any], name: str, preset: str | None) -> Any:
    if preset is None:
        return configs()
    if "preset" not in inspect.signature(configs).parameters:
        raise InputError(f"--preset {preset}: experiment {name} has no presets; leave it out")
    return configs(preset)
