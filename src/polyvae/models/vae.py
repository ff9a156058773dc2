"""The multimodal VAE: encoders, decoders, a prior, and the set S that says how posteriors are formed. No loss here."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from polyvae import gaussian, noise, subsets, waiting
from polyvae.covariate import Covariate, beside
from polyvae.errors import InputError
from polyvae.gaussian import NO_PRODUCT, GaussianMixture
from polyvae.modality import Batch, Modality
from polyvae.models.blueprint import Blueprint, Networks
from polyvae.models.contract import Codes, code_mean, fused
from polyvae.models.generation import TrainableModel
from polyvae.networks import grouped
from polyvae.networks.by_level import ByLevel
from polyvae.networks.by_name import ByName
from polyvae.networks.heads import completed
from polyvae.noise import Noise
from polyvae.posteriors import Family, Posterior
from polyvae.priors import Prior, StandardNormal
from polyvae.subsets import SubsetMixture


class MultimodalVAE(TrainableModel):
    """One latent space for several modalities.

    networks: name -> (encoder, decoder) as in `polyvae.networks`.
    mixture: S, which fixes the posterior of every subset (`subsets.conditional`).
    prior: over the latent space, default N(0, I). family: of the posteriors, default Normal.
    by_level: of a covariate. Decoders then read its one-hot level beside z, which batches bring (`Batch.level`).
    Raises InputError for an S of other modalities, or one that needs products of experts where the family has none.
    """

    is_joint = True
    takes_covariate = True

    def __init__(
        self,
        modalities: Sequence[Modality],
        networks: Networks,
        mixture: SubsetMixture,
        latent_dim: int,
        *,
        prior: Prior | None = None,
        family: Family | None = None,
        by_level: ByLevel | None = None,
    ) -> None:
        super().__init__()
        self.by_level = by_level
        self.modalities = tuple(modalities)
        self.names = tuple(m.name for m in self.modalities)
        if mixture.names != self.names:
            raise InputError(f"S is over {', '.join(mixture.names)} but the modalities are {', '.join(self.names)}")
        self.mixture = mixture
        self.family = family or Family()
        check_products(self.family, mixture)
        self.latent_dim = latent_dim
        self.register_buffer("blank", torch.zeros(latent_dim), persistent=False)
        self.blank: Tensor
        self.prior = StandardNormal(latent_dim) if prior is None else prior
        self.prior.bind(self.posterior)
        self.encoders = ByName({m.name: networks[m.name][0] for m in self.modalities})
        self.decoders = ByName({m.name: completed(m, networks[m.name][1]) for m in self.modalities})
        self.forms = grouped.forms(self.encoders), grouped.forms(self.decoders)
        self.rules: dict[tuple[str, ...], SubsetMixture] = {}  # kept: captured steps read their tables

    @classmethod
    def of(cls, blueprint: Blueprint) -> "MultimodalVAE":
        """The untrained model of a blueprint."""
        return cls(**cls.arguments(blueprint))

    @staticmethod
    def arguments(blueprint: Blueprint) -> dict[str, Any]:
        """What the models of a blueprint are built from."""
        return {
            "modalities": blueprint.modalities,
            "networks": blueprint.pairs(),
            "mixture": blueprint.mixture,
            "latent_dim": blueprint.latent_dim,
            "prior": blueprint.first_prior(),
            "family": blueprint.family,
            "by_level": blueprint.by_level(),
        }

    def further(self) -> dict[str, Any]:
        """What a kind of model is built from beside that, to be shared with a model `scored_by` other likelihoods."""
        return {}

    def law_of(self, mean: Tensor, second: Tensor) -> Posterior:
        """What the two outputs of an encoder mean."""
        return self.family(mean, second)

    @property
    def covariate(self) -> Covariate | None:
        """What encoders and decoders are given beside a row."""
        return None if self.by_level is None else self.by_level.covariate

    @property
    def device(self) -> torch.device:
        return self.blank.device

    def scored_by(self, modalities: Sequence[Modality]) -> "MultimodalVAE":
        """The same model, its networks and prior shared, whose decoders' outputs are read by other likelihoods.

        modalities: of the same names and shapes, with as many parameters per element. Raises InputError for others.
        """
        for own, other in zip(self.modalities, modalities, strict=True):
            if (own.name, own.shape) != (other.name, other.shape):
                raise InputError(f"{other.name!r} of shape {other.shape} is not {own.name!r} of shape {own.shape}")
            if own.likelihood.parameters != other.likelihood.parameters:
                raise InputError(f"the likelihood of {own.name!r} needs another number of parameters per element")
        pairs = {name: (self.encoders[name], self.decoders[name]) for name in self.names}
        laws = {"prior": self.prior, "family": self.family, "by_level": self.by_level}
        scored = type(self)(modalities, pairs, self.mixture, self.latent_dim, **laws, **self.further())
        return scored.to(self.device).train(self.training)

    def encode(self, batch: Batch, wanted: Tensor | Collection[str] | None = None) -> Posterior:
        """The expert of every modality: fields (modality, batch, latent).

        wanted: what is to be encoded of what rows have, names or Bool (batch, modality); default all. Entries that
        are not encoded have mean 0 and log variance 0.
        Raises InputError unless the batch has the model's modalities, in the model's order.
        """
        if tuple(batch.values) != self.names:
            raise InputError(f"the batch holds {', '.join(batch.values)}, the model expects {', '.join(self.names)}")
        by_row = isinstance(wanted, Tensor)
        masks = dict(zip(self.names, (wanted if by_row else batch.present).unbind(-1), strict=True))
        values = {n: x for n, x in batch.values.items() if by_row or wanted is None or n in wanted}
        is_whole = batch.is_complete and not by_row
        if not waiting.is_free(batch.present.device):
            return self._masked(values, masks, batch.level, is_whole=is_whole)
        blank = self.family.blank(self.blank.expand(len(batch.present), -1))
        experts = [
            self._expert(name, values[name], batch.level, None if is_whole else seen) if name in values else blank
            for name, seen in masks.items()
        ]
        mean, logvar = (torch.stack(fields) for fields in zip(*experts, strict=True))
        return experts[0].like(mean, logvar)

    def _expert(self, name: str, values: Tensor, level: Tensor | None, seen: Tensor | None) -> Posterior:
        """seen: Bool (batch,), the rows to encode; None for all."""
        if seen is None or bool(seen.all()):
            return self.law_of(*self._at_level(name, self.encoders[name](values), level))
        blank = self.blank.expand(len(seen), -1)
        rows = seen.nonzero().squeeze(1)
        if not len(rows):
            return self.family.blank(blank)
        outputs = self.encoders[name](values.index_select(0, rows))
        expert = self.law_of(*self._at_level(name, outputs, None if level is None else level[rows]))
        mean, logvar = (blank.to(field.dtype).index_copy(0, rows, field) for field in expert)
        return expert.like(mean, logvar)

    def _at_level(self, name: str, outputs: tuple[Tensor, ...], level: Tensor | None) -> tuple[Tensor, ...]:
        """The outputs of an encoder at a level of the covariate; rows without one (pseudo-inputs) keep them."""
        return outputs if self.by_level is None or level is None else self.by_level(name, outputs, level)

    def _masked(
        self, values: dict[str, Tensor], masks: dict[str, Tensor], level: Tensor | None, *, is_whole: bool
    ) -> Posterior:
        """Encodes all rows of `values` and masks those not wanted afterwards, so that no mask has to be read."""
        of_values = grouped.outputs(self.encoders, self.forms[0], values)
        encoded = {name: self._at_level(name, outputs, level) for name, outputs in of_values.items()}
        outputs = [encoded.get(name, [self.blank.expand(len(seen), -1)] * 2) for name, seen in masks.items()]
        experts = self.law_of(*(torch.stack(fields) for fields in zip(*outputs, strict=True)))
        if is_whole and len(values) == len(masks):
            return experts
        seen = torch.stack([mask if name in values else torch.zeros_like(mask) for name, mask in masks.items()])
        return experts.like(*(torch.where(seen[..., None], field, 0.0) for field in experts))

    def decode(self, codes: Tensor | Codes) -> dict[str, Distribution]:
        """The likelihood of each modality named in `codes`; a tensor (batch, latent) is read by all of them.

        Where there is a covariate, codes hold its level (`covariate.beside`). Raises InputError for codes of another
        width.
        """
        read = dict.fromkeys(self.names, codes) if isinstance(codes, Tensor) else codes
        levels = () if self.covariate is None else self.covariate.levels
        for z in read.values():
            if z.shape[-1] != self.latent_dim + len(levels):
                told = "no covariate" if self.covariate is None else f"the {len(levels)} levels of a covariate"
                raise InputError(
                    f"codes have {z.shape[-1]} dimensions; decoders read {self.latent_dim} beside {told}, as batches "
                    "bring them"
                )
        params = grouped.outputs(
            self.decoders, self.forms[1], {name: self.part(name, read[name]) for name in self.names if name in read}
        )
        return {m.name: m.distribution(params[m.name]) for m in self.modalities if m.name in read}

    def part(self, name: str, codes: Tensor) -> Tensor:
        """What decoder `name` reads of codes."""
        return codes

    def posterior(
        self, batch: Batch, given: Sequence[str] | None = None, experts: Posterior | None = None
    ) -> GaussianMixture:
        """The posterior of x_given (default: everything), a mixture per row, by the rule of `subsets.conditional`.

        Rows use what they have of `given`, and the rule applies to that set. experts: `encode(batch)`, if
        it is known already.
        Raises InputError where a row has nothing of `given`.
        """
        asked = self.asked(given)
        if batch.is_complete:
            if asked not in self.rules:
                self.rules[asked] = subsets.conditional(self.mixture, asked)
            S = self.rules[asked]
            check_products(self.family, S)
            experts, terms = self.encode(batch, asked) if experts is None else experts, S.on(batch.present.device)
            weights = terms.weights.to(experts.mean.dtype).expand(len(batch.present), -1)
            return self.components(experts, terms.matrix[:, None], terms.prior_experts[:, None], weights)
        observed = self.observed(batch, asked)
        member, prior_expert, weights = self._terms(observed)
        experts = self.encode(batch, member.any(0)) if experts is None else experts
        gaussian.check_product(experts, member, prior_expert)
        return self.components(experts, member, prior_expert, weights.to(experts.mean.dtype))

    def code_posterior(
        self, batch: Batch, given: Sequence[str] | None = None, experts: Posterior | None = None
    ) -> GaussianMixture:
        """The law that codes are drawn from given x_given: the posterior, unless a kind of model decodes others."""
        return self.posterior(batch, given, experts)

    def components(self, experts: Posterior, member: Tensor, prior_expert: Tensor, weights: Tensor) -> GaussianMixture:
        """The mixture of the posteriors of the members, with weights (batch, component)."""
        return GaussianMixture(fused(self, experts, member, prior_expert), weights)

    def asked(self, given: Sequence[str] | None) -> tuple[str, ...]:
        """The names of `given` (default: all) in the model's order. Raises InputError for none, or others."""
        wanted = set(self.names if given is None else given)
        if not wanted or not wanted <= set(self.names):
            raise InputError(f"cannot condition on {sorted(wanted)}; name at least one of {', '.join(self.names)}")
        return tuple(name for name in self.names if name in wanted)

    def observed(self, batch: Batch, given: Sequence[str]) -> Tensor:
        """Bool (batch, modality): what rows have of `given`. Raises InputError where a row has nothing."""
        asked = self.asked(given)
        observed = batch.present & torch.tensor([name in asked for name in self.names], device=batch.present.device)
        if not bool(observed.any(-1).all()):
            row = int((~observed.any(-1)).nonzero()[0])
            raise InputError(f"row {row} has none of {', '.join(asked)}; leave it out or condition on more")
        return observed

    def _terms(self, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each row's terms: members (component, batch, modality), prior experts (component, batch), weights.

        The rule is applied to what a row has. Rows with fewer terms are filled up with the prior at weight zero.
        """
        patterns, which = observed.unique(dim=0, return_inverse=True)
        named = [[name for name, seen in zip(self.names, row, strict=True) if seen] for row in patterns.tolist()]
        mixtures = [subsets.conditional(self.mixture, given) for given in named]
        most = max(len(mixture.terms) for mixture in mixtures)
        member = torch.zeros(most, *patterns.shape, dtype=torch.bool)
        prior_expert = torch.ones(most, len(patterns), dtype=torch.bool)
        weights = torch.zeros(len(patterns), most, dtype=torch.float64)
        for index, mixture in enumerate(mixtures):
            count = len(mixture.terms)
            member[:count, index], prior_expert[:count, index] = mixture.matrix, mixture.prior_experts
            weights[index, :count] = mixture.weights
        place = which.cpu()
        device = observed.device
        return member[:, place].to(device), prior_expert[:, place].to(device), weights[place].to(device)

    def prior_codes(self, count: int, generator: Noise = None) -> Codes:
        """Codes of `count` unconditional samples: the same z, and level of a covariate, under every name."""
        return dict.fromkeys(self.names, self.with_levels(self.prior.sample(count, generator), generator))

    def with_levels(self, codes: Tensor, generator: Noise = None) -> Tensor:
        """Codes (batch, latent) beside levels drawn by their shares of the training rows, if there is a covariate."""
        if self.covariate is None:
            return codes
        shares = torch.tensor(self.covariate.shares, device=codes.device, dtype=torch.float64)
        own = noise.of_draw(generator, 1)  # a prior of several components has used the numbers of the first draw
        drawn = noise.index_at(noise.uniform(own, len(codes), codes), shares)
        return beside(codes, self.covariate.one_hot(drawn))

    def posterior_codes(
        self,
        batch: Batch,
        given: Sequence[str],
        targets: Sequence[str],
        generator: Noise = None,
        experts: Posterior | None = None,
    ) -> Codes:
        """Codes of one posterior draw per row given x_given: the same z under every target's name."""
        codes = self.code_posterior(batch, given, experts).sample(generator)
        return dict.fromkeys(targets, beside(codes, batch.level))

    @torch.no_grad()
    def log_weights(
        self,
        batch: Batch,
        given: Sequence[str],
        targets: Sequence[str],
        samples: int,
        generator: Noise = None,
        posterior: GaussianMixture | None = None,
    ) -> Tensor:
        """log { likelihood(x_targets | z) prior(z) / posterior(z | x_given) }, z drawn from that posterior, in nats.

        Returns (sample, batch). The log-mean-exp over samples estimates log p(x_targets), over the targets a row has.
        A mixture is sampled in strata: a row's K = max(samples, components of weight above 0) draws are dealt out to
        those components in turn and weighted to their shares; the density below the line is that of the whole mixture.
        Where K is below the number of components, the last weights are -inf, and the others make up for it.
        posterior: to draw from in place of that given x_given.
        """
        posterior = self.posterior(batch, given) if posterior is None else posterior
        weights, (components, rows, latent) = posterior.weights, posterior.components.mean.shape
        live, total = weights > 0, max(samples, components)
        count = live.sum(-1).clamp(min=1)
        each = count.clamp(min=samples)  # K of a row
        draw = torch.arange(total, device=count.device)[:, None]
        rank = draw % count
        which = (~live).int().argsort(dim=-1, stable=True).T.gather(0, rank)  # (sample, batch)
        drawn = (each + count - 1 - rank) // count  # draws of that component
        share = (total * weights.T.gather(0, which) / drawn).log().masked_fill(draw >= each, -torch.inf)
        standard = noise.normal(generator, rows, total * latent, posterior.components.mean)
        chosen = gaussian.picked(posterior.components, (which, torch.arange(rows, device=count.device)))
        z = chosen.rsample(standard.view(rows, total, latent).permute(1, 0, 2))
        log_weight = share + self.prior.log_prob(z) - posterior.log_prob(z)
        needed = int(each.max()) if waiting.is_free(z.device) else total  # what is behind has weight 0 in all rows
        for index, codes in enumerate(z[:needed]):
            for name, likelihood in self.decode(dict.fromkeys(targets, beside(codes, batch.level))).items():
                seen = batch.present[:, self.names.index(name)]
                log_weight[index] += torch.where(seen, likelihood.log_prob(batch.values[name]), 0.0)
        return log_weight

    @torch.no_grad()
    def embed(self, batch: Batch, given: Sequence[str] | None = None) -> Tensor:
        """The posterior mean of what all decoders read; for a mixture the weighted mean of its members' means."""
        return code_mean(self, batch, given)


def check_products(family: Family, mixture: SubsetMixture) -> None:
    """Raises InputError if S needs a product of experts that the family of posteriors does not have."""
    if family.has_products:
        return
    if mixture.has_products:
        raise InputError(f"S needs products of experts, and {family.kind} posteriors have none; {NO_PRODUCT}")
