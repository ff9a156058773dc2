"""JNF (Senellart et al. 2023): an encoder of all modalities, then for each one a normalising flow that follows it.

For a row with modalities X, q_X the encoder that reads them all, one after the other, each with all else as it is:

    0.  maximised, jnf_dcca alone: sum_{m < n} the canonical correlations of g_m(x_m) and g_n(x_n) in a batch
        minimised, jnf_contrast alone: mean_{m < n} NT-Xent(g_m(x_m), g_n(x_n))
    1.  maximised: E_{q_X} sum_m log p(x_m | z) - beta KL(q_X || p)
    2.  minimised: sum_m KL(q_X || q_m) at one draw of q_X, q_m(z | x_m) a flow over a Gaussian that an encoder gives

The Gaussian is that of the modality's own encoder; with a stage 0 it is read off the features g_m. Nothing biases q_X,
and the best q_m is q_X averaged over x given x_m. At test time: all modalities, q_X; one, q_m; others, A, p^(1 - |A|)
prod q_m, by HMC from a draw of a member. Published code divides by p once for any A, exact for |A| = 2 alone.
"""

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, combinations
from typing import Any

import torch
from torch import nn

from polyvae import gaussian, subsets
from polyvae.methods.method import Method, Stage, parameters_of
from polyvae.methods.telbo import JOINTLY, joint
from polyvae.modality import Batch
from polyvae.models import ContrastOptions, FeatureOptions, FlowOptions, JointFlowVAE
from polyvae.noise import Noise
from polyvae.objectives import Bound
from polyvae.objectives.canonical import canonical_correlation
from polyvae.objectives.parts import bound_of, loss_alone, rsample
from polyvae.objectives.regularisers import contrast
from polyvae.subsets import SubsetMixture


def follow(model: Any, batch: Batch, mixture: SubsetMixture, *, generator: Noise = None, **settings: Any) -> Bound:
    """sum_m KL(q_X || q_m) over what a row has, at one draw of q_X, which is not trained; beta has no part in it."""
    experts = model.encode(batch)
    whole = gaussian.picked(experts, -1)
    whole = whole.like(*(field.detach() for field in whole))
    z = rsample(whole, generator)
    ratios = torch.stack([whole.log_prob(z) - model.log_density(experts, name, z) for name in model.names], -1)
    divergences = torch.where(batch.present, ratios, 0.0)
    return bound_of(torch.zeros_like(divergences), divergences.sum(-1), 1.0, None)


def correlate(model: Any, batch: Batch, mixture: SubsetMixture, **settings: Any) -> Bound:
    """Minus the canonical correlations of the features of every two modalities, over the rows that have both."""
    features = [model.encoders[name].features(value) for name, value in batch.values.items()]
    pairs = combinations(zip(features, batch.present.unbind(-1), strict=True), 2)
    found = [canonical_correlation(a, b, seen=first & second) for (a, first), (b, second) in pairs]
    return loss_alone(-torch.stack(found).sum().to(features[0].dtype), batch)


def align(model: Any, batch: Batch, mixture: SubsetMixture, **settings: Any) -> Bound:
    """NT-Xent of the features of every two modalities, over the rows that have both."""
    features = torch.stack([model.encoders[name].features(value) for name, value in batch.values.items()])
    return loss_alone(contrast(features, batch.present, model.options.temperature), batch)


def _features(model: Any) -> Iterable[nn.Parameter]:
    return (value for encoder in model.encoders.values() for value in encoder.of_features())


def _heads(model: Any) -> Iterable[nn.Parameter]:
    return chain(model.flows.parameters(), *(encoder.head.parameters() for encoder in model.encoders.values()))


JNF = Method(
    "jnf",
    subsets.whole,
    "a joint encoder, and a flow for each modality that follows it",
    "Senellart et al. 2023",
    model="joint_flows",
    recipe=joint,
    options=FlowOptions,
    stages=(
        JOINTLY,
        Stage("flows", follow, 0.25, parameters_of("encoders", "flows")),
    ),
)
DCCA = replace(
    JNF,
    name="jnf_dcca",
    summary="jnf whose flows read features that modalities share",
    options=FeatureOptions,
    stages=(
        Stage("features", correlate, 0.25, _features, compares_rows=True),
        replace(JOINTLY, share=0.5),
        Stage("flows", follow, 0.25, _heads, JointFlowVAE.standardise),
    ),
)
ROWS = (
    JNF,
    DCCA,
    replace(
        DCCA,
        name="jnf_contrast",
        summary="jnf_dcca with features that find each other by contrast",
        source="Senellart & Allassonnière 2025",
        options=ContrastOptions,
        stages=(replace(DCCA.stages[0], objective=align), *DCCA.stages[1:]),
    ),
)
