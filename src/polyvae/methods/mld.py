"""MLD, multimodal latent diffusion (Bounoua et al. 2024): autoencoders, then a diffusion of their codes.

Stage 1, maximised over a deterministic autoencoder per modality (its code z_m the mean of its encoder, no divergence):

    sum_m log p(x_m | z_m)

Stage 2, autoencoders frozen, codes standardised over all training rows, minimised over a denoising network e:

    E || e(z(t), t) - noise ||^2 / D_noised        z_m(t) = alpha(t_m) z_m + sigma(t_m) noise_m

t_m is one uniform time for all modalities; in a fifth of rows it is 0 for a random proper subset A, and only others
are asked about, of D_noised = D - D_A dimensions. What a row lacks has time 1 (`models.diffusion`). At test time codes
of what is given have time 0, and all others are drawn together. There is no posterior and no density of codes.
"""

from typing import Any

import torch
from torch import Tensor

from polyvae import subsets
from polyvae.methods.method import Method, Stage, parameters_of
from polyvae.modality import Batch
from polyvae.models import LatentDiffusion, diffusion
from polyvae.models.mld import Options
from polyvae.noise import Noise
from polyvae.objectives import Bound
from polyvae.objectives.parts import bound_of, loss_alone, scores_of, systematic_quantiles
from polyvae.subsets import SubsetMixture


def reconstruction(
    model: LatentDiffusion, batch: Batch, mixture: SubsetMixture, *, weights: Tensor, **settings: Any
) -> Bound:
    """Stage 1: the log-likelihood of what a row has from its own codes. Nothing is drawn, and beta has no effect."""
    codes = model.autoencoders.encode(batch).mean
    scores = scores_of(model, batch, dict(zip(model.names, codes, strict=True)))
    log_likelihood = torch.stack([scores[name] for name in model.names], -1)
    nothing = log_likelihood.new_zeros(len(log_likelihood))
    return bound_of(log_likelihood, nothing, 0.0, weights)


def denoising(
    model: LatentDiffusion, batch: Batch, mixture: SubsetMixture, *, generator: Noise = None, **settings: Any
) -> Bound:
    """Stage 2: no quantity in nats, so all but `loss` is 0. In training the averaged weights follow, as they stood."""
    if model.training:
        model.follow()
    codes, time = model.codes(batch), systematic_quantiles(len(batch.present), generator, batch.present.device)
    each = diffusion.loss(model.denoiser, codes, batch.present, time, model.options.clean, generator)
    return loss_alone(each.mean(), batch)


ROWS = (
    Method(
        "mld",
        subsets.whole,
        "autoencoders, and a diffusion of all their codes that conditions on any",
        "Bounoua et al. 2024",
        stages=(
            Stage("autoencoders", reconstruction, 0.1, parameters_of("autoencoders")),
            Stage("diffusion", denoising, 0.9, parameters_of("network"), LatentDiffusion.freeze),
        ),
        model="mld",
        options=Options,
        is_bound=False,
    ),
)
