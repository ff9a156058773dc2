"""The kind of model of MLD (Bounoua et al. 2024): an autoencoder per modality, and a diffusion of all their codes."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from polyvae import noise
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.modality import Batch
from polyvae.models import diffusion
from polyvae.models.blueprint import Blueprint
from polyvae.models.contract import Codes
from polyvae.models.generation import TrainableModel
from polyvae.models.moments import moments
from polyvae.models.vae import MultimodalVAE
from polyvae.noise import Noise
from polyvae.options import require

DECAY = 0.999  # of the averaged weights, per step
LEAST_SD = 1e-6


@dataclass(frozen=True)
class Options:
    """clean: share of rows trained with some modalities clean, in [0, 1); .2 as published.

    width, depth: units and blocks of the denoising network; the published one is a U-Net of 1536. time_width: of the
    embedding of a modality's time. steps: evaluations per draw.
    """

    clean: float = 0.2
    width: int = 256
    depth: int = 3
    time_width: int = 32
    steps: int = 50

    def __post_init__(self) -> None:
        require(0 <= self.clean < 1, "clean", self.clean, "at least 0 and below 1")
        for name in ("width", "depth", "time_width", "steps"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")


class LatentDiffusion(TrainableModel):
    """Codes of modalities are encoder means, one of `latent_dim` each, drawn together by a diffusion.

    autoencoders: networks alone; no posterior of theirs is used. network: what is trained. average: its averaged
    weights, which draw. centre, spread: mean and sd of the codes of the training rows (modality, latent).
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.options = Options(**blueprint.options)
        self.autoencoders = MultimodalVAE.of(blueprint)
        self.modalities, self.names = self.autoencoders.modalities, self.autoencoders.names
        form = len(self.names), blueprint.latent_dim
        with blueprint.first_weights("diffusion"):
            sizes = self.options.width, self.options.depth, self.options.time_width
            self.network = diffusion.DenoisingNetwork(*form, *sizes)
        self.average = copy.deepcopy(self.network).requires_grad_(False)
        for name, value in (("centre", torch.zeros(form)), ("spread", torch.ones(form)), ("updates", torch.zeros(()))):
            self.register_buffer(name, value)
        self.centre: Tensor
        self.spread: Tensor
        self.updates: Tensor

    def freeze(self, data: MultimodalDataset) -> None:
        """Autoencoders are trained: takes mean and sd of the codes of all training rows."""
        centre, spread = moments(self, lambda batch: (self.autoencoders.encode(batch).mean, 0.0), data, LEAST_SD)
        self.centre.copy_(centre)
        self.spread.copy_(spread)

    @torch.no_grad()
    def codes(self, batch: Batch, wanted: Sequence[str] | None = None) -> Tensor:
        """Standardised codes (batch, modality, latent); 0 where a row lacks the modality."""
        codes = self.autoencoders.encode(batch, wanted).mean.transpose(0, 1)
        return torch.where(batch.present[..., None], (codes - self.centre) / self.spread, 0.0)

    @property
    def denoiser(self) -> diffusion.DenoisingNetwork:
        """The trained network in training, else the averaged one, which draws."""
        return self.network if self.training else self.average

    @torch.no_grad()
    def follow(self) -> None:
        """Moves the averaged weights a step towards those of the network: quickly at first, by .001 in the end."""
        share = (9 / (10 + self.updates)).clamp(min=1 - DECAY)
        for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, share)
        self.updates.add_(1)

    def prior_codes(self, count: int, generator: Noise = None) -> Codes:
        known = torch.zeros(count, len(self.names), dtype=torch.bool, device=self.centre.device)
        return self._drawn(self.centre.new_zeros(count, *self.centre.shape), known, self.names, generator)

    def posterior_codes(
        self, batch: Batch, given: Sequence[str], targets: Sequence[str], generator: Noise = None
    ) -> Codes:
        """A row's own code of what it has of `given`; all others are drawn together given those.

        Raises InputError for unknown names.
        """
        if unknown := sorted(set(given) - set(self.names)):
            raise InputError(f"cannot condition on {unknown}; name some of {', '.join(self.names)}")
        asked = torch.tensor([name in given for name in self.names], device=batch.present.device)
        return self._drawn(self.codes(batch, given), batch.present & asked, targets, generator)

    @torch.no_grad()
    def _drawn(self, codes: Tensor, known: Tensor, targets: Sequence[str], generator: Noise) -> Codes:
        """`targets` of codes in which what is not known is drawn, in the units of the decoders."""
        standard = noise.normal(generator, len(codes), self.centre.numel(), codes).view_as(codes)
        drawn = diffusion.sample(self.average, codes, known, standard, self.options.steps)
        drawn = drawn * self.spread + self.centre
        return {name: drawn[:, self.names.index(name)] for name in targets}

    def decode(self, codes: Codes) -> dict[str, Distribution]:
        return self.autoencoders.decode(codes)
