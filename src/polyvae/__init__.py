"""polyvae: multimodal variational autoencoders, one objective for the whole family."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Threads that wait for each other sleep instead of spinning, which on busy cores makes two several times slower than
# one (docs/performance.md). torch reads this when it is loaded; no number changes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

if TYPE_CHECKING:  # for type checkers and editors; at run time a name is imported when it is first asked for
    from polyvae import (
        datasets,
        gaussian,
        likelihoods,
        methods,
        metrics,
        models,
        networks,
        objectives,
        plugins,
        subsets,
        theory,
    )
    from polyvae.audits.audit import audit
    from polyvae.audits.estimate import estimate
    from polyvae.config import RunConfig
    from polyvae.dataset import MultimodalDataset
    from polyvae.errors import InputError, RunError
    from polyvae.estimator import MultimodalVAEImputer
    from polyvae.gaussian import Gaussian
    from polyvae.imputation import Imputed, ImputedText, impute
    from polyvae.modality import Batch, Modality
    from polyvae.models import Model, MultimodalVAE, generate
    from polyvae.runs.record import Record
    from polyvae.runs.run import RunResult, run
    from polyvae.runs.saving import load, load_calibration
    from polyvae.runs.store import RunStore

    __version__: str

__all__ = [
    "Batch",
    "Gaussian",
    "Imputed",
    "ImputedText",
    "InputError",
    "Modality",
    "Model",
    "MultimodalDataset",
    "MultimodalVAE",
    "MultimodalVAEImputer",
    "Record",
    "RunConfig",
    "RunError",
    "RunResult",
    "RunStore",
    "__version__",
    "audit",
    "datasets",
    "estimate",
    "gaussian",
    "generate",
    "impute",
    "likelihoods",
    "load",
    "load_calibration",
    "methods",
    "metrics",
    "models",
    "networks",
    "objectives",
    "plugins",
    "run",
    "subsets",
    "theory",
]

_PLACES = {  # of the names that are not modules
    "Batch": "modality",
    "Gaussian": "gaussian",
    "Imputed": "imputation",
    "ImputedText": "imputation",
    "InputError": "errors",
    "Modality": "modality",
    "Model": "models",
    "MultimodalDataset": "dataset",
    "MultimodalVAE": "models",
    "MultimodalVAEImputer": "estimator",
    "Record": "runs.record",
    "RunConfig": "config",
    "RunError": "errors",
    "RunResult": "runs.run",
    "RunStore": "runs.store",
    "audit": "audits.audit",
    "estimate": "audits.estimate",
    "generate": "models",
    "impute": "imputation",
    "load": "runs.saving",
    "load_calibration": "runs.saving",
    "run": "runs.run",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":  # pyproject.toml states it
        value = import_module("importlib.metadata").version("polyvae")
    else:
        module = import_module(f"polyvae.{_PLACES.get(name, name)}")
        value = getattr(module, name) if name in _PLACES else module
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
