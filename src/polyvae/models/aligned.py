"""The kind of model of `aligned_flows`: a code u that modalities agree on, and a VAE per modality, its code given u."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import normalize

from polyvae import gaussian, noise, priors
from polyvae.dataset import MultimodalDataset
from polyvae.modality import Batch
from polyvae.models.blueprint import OWN, Blueprint
from polyvae.models.conditional_flow import ConditionalFlow
from polyvae.models.contract import CodeMeans, Codes
from polyvae.models.generation import TrainableModel
from polyvae.models.moments import moments
from polyvae.models.vae import MultimodalVAE
from polyvae.networks import grouped
from polyvae.networks.by_name import ByName
from polyvae.noise import Noise, derive_seed
from polyvae.options import require

WIDTH = 256  # of the features behind u, the means of an encoder
LEAST_SD, LEAST_VARIANCE = 1e-3, 1e-5
PROPOSALS = 4096  # draws of p(u), among which the product chooses
RUNNING = 0.1  # share of a batch in running averages


@dataclass(frozen=True)
class Options:
    """aligned_dim: dimensions of u. temperature: of the contrast. spread: sd of u about g_m(x_m).

    combine: how several given modalities are combined: by the direction of their mean, as a mixture, one at random, or
    as a product over p(u) of the density ratios that the contrast has learned.
    draw_temperature: what the Normal numbers behind every w_m that is not given are multiplied by (Kingma & Dhariwal
    2018); 1 draws from p(w_m | u), less draws what is likelier and less diverse.
    best_of: how many w_m are drawn for each that is not given; the one whose value fits u best is kept (Ramesh et al.
    2021 choose pictures for a caption so). 1 keeps what is drawn.
    transforms, hidden: of each flow. contrast, vaes, flows: shares of the epochs.
    """

    aligned_dim: int = 32
    temperature: float = 0.2
    spread: float = 0.05
    combine: Literal["mean", "mixture", "product"] = "mean"
    draw_temperature: float = 1.0
    best_of: int = 1
    transforms: int = 2
    hidden: int = 256
    contrast: float = 0.25
    vaes: float = 0.4
    flows: float = 0.35

    def __post_init__(self) -> None:
        for name, least in (("aligned_dim", 2), ("best_of", 1), ("transforms", 1), ("hidden", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        for name in ("temperature", "spread", "contrast", "vaes", "flows"):
            require(0 < getattr(self, name) < math.inf, name, getattr(self, name), "above 0")
        require(0 <= self.draw_temperature <= 1, "draw_temperature", self.draw_temperature, "within [0, 1]")


class Direction(nn.Module):
    """Features to a unit vector, standardised before: over the rows of a batch in training, else by running averages.

    Features that are not begin so much alike that training can turn all rows into one vector, and the contrast stays
    at log(2 B - 1).
    """

    def __init__(self, width: int, dimension: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, dimension)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))
        self.mean: Tensor
        self.variance: Tensor

    def forward(self, features: Tensor, seen: Tensor) -> Tensor:
        """features: (batch, width). seen: Bool (batch,), the rows that count. Returns (batch, dimension)."""
        mean, variance = self.mean, self.variance
        if self.training:
            share = seen[:, None] / seen.sum().clamp(min=1)
            mean = (features * share).sum(0)
            variance = ((features - mean).square() * share).sum(0)
            with torch.no_grad():
                self.mean.lerp_(mean, RUNNING * seen.any())
                self.variance.lerp_(variance, RUNNING * seen.any())
        return normalize(self.linear((features - mean) * (variance + LEAST_VARIANCE).rsqrt()), dim=-1)


class AlignedFlows(TrainableModel):
    """p(u) prod_m p(w_m | u) p(x_m | w_m): u of `aligned_dim`, every w_m of `latent_dim` dimensions.

    q(u | x_m) is N(g_m(x_m), spread^2 I), g_m a unit vector; of several modalities it is the mixture (S = singles), or
    narrow about the direction of their mean. vaes: encoders and decoders of w_m, N(0, I) the prior of their training
    alone. flows: name -> p(w_m | u). prior: p(u).
    """

    def __init__(self, blueprint: Blueprint) -> None:
        super().__init__()
        self.options = options = Options(**blueprint.options)
        self.vaes = MultimodalVAE.of(blueprint)
        self.modalities, self.names = self.vaes.modalities, self.vaes.names
        self.singles = blueprint.mixture
        if options.combine == "mixture":
            self.mixture = self.singles
        encoders, heads, flows = {}, {}, {}
        apart = replace(blueprint, seed=derive_seed(blueprint.seed, "aligned"))
        for name in self.names:
            width = blueprint.latent_dim if blueprint.networks[name] == OWN else WIDTH
            encoders[name] = apart.pair(name, width)[0]
            with blueprint.first_weights("aligned", name):
                heads[name] = Direction(width, options.aligned_dim)
                sizes = options.transforms, options.hidden
                flows[name] = ConditionalFlow(blueprint.latent_dim, options.aligned_dim, *sizes)
        self.aligners, self.heads, self.flows = ByName(encoders), ByName(heads), ByName(flows)
        with blueprint.first_weights("aligned prior"):
            self.prior = priors.FlowPrior(options.aligned_dim)
        self.forms = grouped.forms(encoders)

    def directions(self, batch: Batch) -> Tensor:
        """g_m(x_m), unit vectors (modality, batch, dimension); meaningless where a row lacks the modality."""
        outputs = grouped.outputs(self.aligners, self.forms, batch.values)
        seen = dict(zip(self.names, batch.present.unbind(-1), strict=True))
        return torch.stack([self.heads[name](outputs[name][0].float(), seen[name]) for name in self.names])

    @torch.no_grad()
    def code_means(self, batch: Batch) -> dict[str, CodeMeans]:
        """g_m(x_m), the mean of q(u | x_m), and that of q(w_m | x_m), for every modality."""
        parts = zip(self.directions(batch), self.vaes.encode(batch).mean, strict=True)
        return {name: CodeMeans(*means) for name, means in zip(self.names, parts, strict=True)}

    @torch.no_grad()
    def freeze(self, data: MultimodalDataset) -> None:
        """Codes are trained: puts flows on the mean and sd that draws of w_m, or u, have over all training rows."""

        def drawn(batch: Batch) -> tuple[Tensor, Tensor]:
            own, u = self.vaes.encode(batch), self.directions(batch)
            about = torch.full_like(u, self.options.spread**2)
            return torch.cat([own.mean, u], -1), torch.cat([own.logvar.exp(), about], -1)

        (w, u), (w_sd, u_sd) = (
            found.tensor_split([self.vaes.latent_dim], -1) for found in moments(self, drawn, data, LEAST_SD)
        )
        for name, mean, sd in zip(self.names, w, w_sd, strict=True):
            self.flow(name).shift.copy_(mean)
            self.flow(name).scale.copy_(sd)
        share = data.present.sum(0)[:, None] / data.present.sum()  # of each modality in the draws of u
        mean, square = (share * u).sum(0), (share * (u_sd.square() + u.square())).sum(0)
        self.prior.shift.copy_(mean)
        self.prior.scale.copy_((square - mean.square()).sqrt())

    def flow(self, name: str) -> ConditionalFlow:
        """p(w_m | u) of modality `name`."""
        return cast(ConditionalFlow, self.flows[name])

    def prior_codes(self, count: int, generator: Noise = None) -> Codes:
        u = self.prior.sample(count, generator)
        others = noise.of_draw(generator, 1)
        standard = noise.normal(others, count, self.vaes.latent_dim * len(self.names), u)
        return self._drawn(u, standard, self.names, others)

    @torch.no_grad()
    def posterior_codes(
        self, batch: Batch, given: Sequence[str], targets: Sequence[str], generator: Noise = None
    ) -> Codes:
        """One draw per row: of q(w_m | x_m) where x_m is given, else of p(w_m | u), u given all that the row has.

        Raises InputError for unknown names, and where a row has nothing of `given`.
        """
        observed = self.vaes.observed(batch, given)
        width = self.vaes.latent_dim
        u = self.directions(batch)
        standard = noise.normal(generator, len(observed), u.shape[-1] + width * len(self.names), u)
        u = self._given(u, observed, standard[:, : u.shape[-1]], generator)
        standard = standard[:, -width * len(self.names) :]
        lacking = [name for name in targets if not observed[:, self.names.index(name)].all()]
        codes = self._drawn(u, standard, lacking, generator)
        own = self.vaes.encode(batch, [name for name in targets if name in given])
        for name in targets:
            index = self.names.index(name)
            if bool((known := observed[:, index, None]).any()):
                draw = gaussian.picked(own, index).rsample(standard[:, index * width : (index + 1) * width])
                codes[name] = torch.where(known, draw, codes.get(name, draw))
        return {name: codes[name] for name in targets}

    def _given(self, directions: Tensor, observed: Tensor, standard: Tensor, generator: Noise) -> Tensor:
        """u (batch, dimension) given the observed modalities (batch, modality), at Normal numbers of its shape."""
        said, combine = observed, self.options.combine
        if combine == "mixture":
            said = self.singles.pick(noise.uniform(generator, len(observed), directions), observed).given
        total = (directions * said.T[..., None]).sum(0)
        if combine != "product":
            return normalize(total, dim=-1) + self.options.spread * standard
        fixed = torch.Generator(total.device).manual_seed(0)  # so that a row's u does not depend on other rows
        proposals = self.prior.sample(PROPOSALS, fixed)
        weights = (total @ proposals.T / self.options.temperature).double().softmax(-1)
        return proposals[noise.index_at(noise.uniform(generator, len(total), total), weights)]

    @torch.no_grad()
    def _drawn(self, u: Tensor, standard: Tensor, targets: Sequence[str], generator: Noise) -> Codes:
        """w of each target given u: at Normal numbers (batch, all w), or the best of those and of what follows them."""
        more = (noise.of_draw(generator, draw) for draw in range(1, self.options.best_of))
        tries = torch.stack([standard, *(noise.normal(source, *standard.shape, u) for source in more)])
        numbers = self.options.draw_temperature * tries
        parts = dict(zip(self.names, numbers.split(self.vaes.latent_dim, -1), strict=True))
        drawn = {name: torch.stack([self.flow(name).draw(each, u) for each in parts[name]]) for name in targets}
        return {name: self._best(name, w, u) for name, w in drawn.items()}

    def _best(self, name: str, drawn: Tensor, u: Tensor) -> Tensor:
        """Of several w_m (draw, batch, latent) the one whose value has the direction nearest to u, row by row."""
        if len(drawn) == 1:
            return drawn[0]
        values = self.decode({name: drawn.flatten(0, 1)})[name].mean
        seen = torch.ones(len(values), dtype=torch.bool, device=u.device)
        found = self.heads[name](self.aligners[name](values)[0].float(), seen)
        fit = (found.unflatten(0, drawn.shape[:2]) * u).sum(-1)
        return drawn[fit.argmax(0), torch.arange(len(u), device=u.device)]

    def decode(self, codes: Codes) -> dict[str, Distribution]:
        return self.vaes.decode(codes)
