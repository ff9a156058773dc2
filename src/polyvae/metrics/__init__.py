"""Metrics: pure functions of features, digits or weights, and functions that score a model. A new one is one file
and one entry of `scoring.METRICS`, or `register`ed by a plug-in."""

from polyvae.judges.extractors import AttributeJudge, Critic, Extractor, Judge
from polyvae.judges.pretrained import ExtractorSource
from polyvae.metrics.attribute_coherence import attribute_coherence
from polyvae.metrics.bound import bound
from polyvae.metrics.calibration import calibrate
from polyvae.metrics.captions import captions
from polyvae.metrics.code_probe import code_probe
from polyvae.metrics.coherence import coherence
from polyvae.metrics.diversity import diversity
from polyvae.metrics.frechet import frechet, frechet_distance, frechet_limit
from polyvae.metrics.imputation import imputation, imputation_error
from polyvae.metrics.kernel import kernel_distance
from polyvae.metrics.label_free import label_free
from polyvae.metrics.latent import latent
from polyvae.metrics.linear_probe import linear_probe
from polyvae.metrics.log_likelihood import legacy_log_likelihood, log_likelihood
from polyvae.metrics.manifold import Manifold, precision_recall
from polyvae.metrics.objective import objective
from polyvae.metrics.protocol import Evaluation
from polyvae.metrics.scoring import (
    METRICS,
    Metric,
    Scoring,
    by_prior,
    evaluate,
    metric_names,
    not_of,
    register,
    register_extractor,
    unmet,
)
from polyvae.metrics.swap import swap
from polyvae.models.contract import Model, NotDefined

__all__ = [
    "METRICS",
    "AttributeJudge",
    "Critic",
    "Evaluation",
    "Extractor",
    "ExtractorSource",
    "Judge",
    "Manifold",
    "Metric",
    "Model",
    "NotDefined",
    "Scoring",
    "attribute_coherence",
    "bound",
    "by_prior",
    "calibrate",
    "captions",
    "code_probe",
    "coherence",
    "diversity",
    "evaluate",
    "frechet",
    "frechet_distance",
    "frechet_limit",
    "imputation",
    "imputation_error",
    "kernel_distance",
    "label_free",
    "latent",
    "legacy_log_likelihood",
    "linear_probe",
    "log_likelihood",
    "metric_names",
    "not_of",
    "objective",
    "precision_recall",
    "register",
    "register_extractor",
    "swap",
    "unmet",
]
