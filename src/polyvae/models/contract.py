"""What everything else may ask of a model. Objectives, metrics, imputation, generation, priors and audits ask no more.

A model is `Model`: codes from the prior, codes given a subset, decode. That is enough to be trained by an objective of
its own, to be saved, scored, and to generate and impute. One whose decoders all read one latent variable, with a
posterior for every subset, is also a `JointModel`: bounds, likelihoods, probes and fitted priors need that.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeGuard

import torch
from torch import Tensor
from torch.distributions import Distribution

from polyvae import gaussian
from polyvae.covariate import Covariate, beside
from polyvae.errors import InputError
from polyvae.gaussian import GaussianMixture
from polyvae.modality import Batch, Modality
from polyvae.noise import Noise
from polyvae.posteriors import Posterior
from polyvae.priors import Prior
from polyvae.subsets import SubsetMixture

Codes = dict[str, Tensor]  # what each decoder reads: name -> (batch, dimension)


class NotDefined(InputError):
    """A quantity has no meaning for this model or data. The message is the reason, which a record keeps."""


class Model(Protocol):
    """All that generation, imputation and most metrics ask. Codes may differ from target to target (private codes).

    names, modalities: in the order of the data set.
    """

    names: tuple[str, ...]
    modalities: tuple[Modality, ...]

    def prior_codes(self, count: int, generator: Noise = None) -> Codes:
        """Codes of `count` unconditional samples, for every modality."""
        ...

    def posterior_codes(
        self, batch: Batch, given: Sequence[str], targets: Sequence[str], generator: Noise = None
    ) -> Codes:
        """Codes of `targets`, one draw per row, given what the row has of `given`."""
        ...

    def decode(self, codes: Codes) -> dict[str, Distribution]:
        """The likelihood of each modality named in `codes`."""
        ...


class JointModel(Model, Protocol):
    """A model in which all decoders read the same z, with a posterior of z for every subset of modalities.

    mixture: S, the set of subsets that the posterior is formed from. prior: over z.
    """

    mixture: SubsetMixture
    prior: Prior
    latent_dim: int

    def encode(self, batch: Batch, wanted: Tensor | Collection[str] | None = None) -> Posterior:
        """The expert of every modality: fields (modality, batch, latent). wanted: Bool (batch, modality), or names."""
        ...

    def posterior(
        self, batch: Batch, given: Sequence[str] | None = None, experts: Posterior | None = None
    ) -> GaussianMixture:
        """The posterior of z given x_given. experts: `encode(batch)`, if it is known already."""
        ...

    def posterior_codes(
        self,
        batch: Batch,
        given: Sequence[str],
        targets: Sequence[str],
        generator: Noise = None,
        experts: Posterior | None = None,
    ) -> Codes: ...

    def log_weights(
        self,
        batch: Batch,
        given: Sequence[str],
        targets: Sequence[str],
        samples: int,
        generator: Noise = None,
        posterior: GaussianMixture | None = None,
    ) -> Tensor:
        """Log importance weights (sample, batch), in nats; their log-mean-exp estimates log p(x_targets)."""
        ...

    def scored_by(self, modalities: Sequence[Modality]) -> "JointModel":
        """The same model, networks shared, whose decoders' outputs are read by the likelihoods of `modalities`."""
        ...


class PrivateModel(JointModel, Protocol):
    """A joint model of u = (z, w_1, ..., w_M), whose decoder of m reads z and w_m.

    shared_dim: dimensions of z. references: name -> a learned law r(w_m), where there is one.
    """

    shared_dim: int
    references: Mapping[str, Prior] | None

    def fuse(self, experts: Posterior, member: Tensor, prior_expert: Tensor, own: Tensor | None = None) -> Posterior:
        """The posterior of the members. own: of member's shape, whose w_m has its own posterior; None: the members."""
        ...

    def unseen(self, name: str, codes: Tensor, is_own: Tensor, kind: Tensor) -> Tensor:
        """codes (draw, batch, latent) as decoder `name` reads them where its w_m is not its own: an index of UNSEEN."""
        ...


class CodeMeans(NamedTuple):
    """Means given one modality alone, of the code that all share and of its private one: (batch, dimension) each."""

    shared: Tensor
    private: Tensor


class TwoCodeModel(Model, Protocol):
    """A model with a code that modalities share and a private one of each, whether or not decoders read both."""

    def code_means(self, batch: Batch) -> dict[str, CodeMeans]:
        """Of every modality; meaningless where a row lacks it."""
        ...


class SwappingModel(Model, Protocol):
    """A model whose decoder of m reads a shared and a private code, so that each can come from another row."""

    def swapped_codes(self, batch: Batch, other: Batch, generator: Noise = None) -> Codes:
        """Codes of every modality: the shared one drawn given all of `batch`, the private ones given all of `other`."""
        ...


def is_joint(model: Model) -> TypeGuard[JointModel]:
    """Whether one z, with a posterior for every subset, is behind all modalities: a model says so itself."""
    return getattr(model, "is_joint", False)  # a class of three methods is a model, too


def joint(model: Model) -> JointModel:
    """The model, known to be joint. Raises NotDefined for one that is not."""
    if not is_joint(model):
        raise NotDefined("the model has no joint posterior of one latent variable")
    return model


def mixture_of(model: Model) -> SubsetMixture | None:
    """S of a model that declares a `mixture`: its posterior given a subset is the mixture of those of its members."""
    return getattr(model, "mixture", None)


def trained_mixture(model: JointModel) -> SubsetMixture:
    """S of the model, with the weights that it has learned, if it learns any (`learned_mixture`)."""
    return getattr(model, "learned_mixture", lambda: model.mixture)()


def has_density(model: JointModel, given: Sequence[str]) -> bool:
    """Whether `posterior` knows the law of z given these. `posterior_codes` always draws from it.

    A kind of model that `is_sampled` knows it given all modalities alone, for rows that have them.
    """
    return not is_sampled(model) or set(given) == set(model.names)


def is_sampled(model: Model) -> bool:
    """Whether the posterior given fewer than all modalities can only be drawn from: a model says so itself."""
    return getattr(model, "is_sampled", False)


def further_experts_of(model: Model | type[Model]) -> tuple[str, ...]:
    """What a model, or a kind of model, calls the experts that it has beside those of the modalities."""
    return getattr(model, "further_experts", ())


def expert_names_of(model: JointModel) -> tuple[str, ...]:
    """What the experts of `encode` are called: the modalities, then `further_experts`, which a kind of model adds."""
    return (*model.names, *further_experts_of(model))


def fused(model: JointModel, experts: Posterior, member: Tensor, prior_expert: Tensor) -> Posterior:
    """The posterior of the members by the model's `fuse`, if it has its own, else their product; none may be empty."""
    return getattr(model, "fuse", gaussian.product)(experts, member, prior_expert)


UNSEEN = ("prior", "reference", "zero")  # what can be read in place of a private code: draws of p(w) or r, or 0


def has_private_codes(model: Model) -> TypeGuard[PrivateModel]:
    """Whether decoders read codes of their own beside the shared one."""
    return hasattr(model, "shared_dim")


def has_two_codes(model: Model) -> TypeGuard[TwoCodeModel]:
    """Whether a shared and a private code can be looked at: a model offers `code_means`."""
    return hasattr(model, "code_means")


def can_swap(model: Model) -> TypeGuard[SwappingModel]:
    """Whether both codes can come from different rows: a model offers `swapped_codes`."""
    return hasattr(model, "swapped_codes")


def shared_dim_of(model: JointModel) -> int:
    """How many of the first dimensions of a code all decoders read."""
    return getattr(model, "shared_dim", model.latent_dim)


def code_mean(model: JointModel, batch: Batch, given: Sequence[str] | None = None) -> Tensor:
    """The code of a row: the posterior mean of what all decoders read, (batch, dimension), private codes left out."""
    return model.posterior(batch, given).mean[:, : shared_dim_of(model)]


def code_draws(
    model: Model, batch: Batch, given: Sequence[str], targets: Sequence[str], experts: Posterior | None = None
) -> Callable[[Noise], Codes]:
    """noise -> codes of `targets` given what rows have of `given`, for many draws: a joint model encodes once.

    experts: what a joint model's `encode` gives for the batch, if it is known already.
    """
    if not is_joint(model):
        return lambda generator: model.posterior_codes(batch, given, targets, generator)
    if is_sampled(model):
        known = model.encode(batch, given) if experts is None else experts
        return lambda generator: model.posterior_codes(batch, given, targets, generator, known)
    posterior = getattr(model, "code_posterior", model.posterior)(batch, given, experts)
    return lambda generator: dict.fromkeys(targets, beside(posterior.sample(generator), batch.level))


def covariate_of(model: Model) -> Covariate | None:
    """What the model's encoders and decoders are given beside a row, if anything (`covariate`)."""
    return getattr(model, "covariate", None)


def at_level(model: Model, codes: Codes, level: str | None) -> Codes:
    """The codes, to be decoded as if all rows had this level of the model's covariate; None: their own.

    Raises InputError for an unknown level, and for a model without a covariate.
    """
    if level is None:
        return codes
    covariate = covariate_of(model)
    if covariate is None:
        raise InputError(f"level {level!r} is given, but the model was trained without a covariate")
    place, count = covariate.index_of(level), len(covariate.levels)

    def moved(code: Tensor) -> Tensor:
        index = torch.full((len(code),), place, device=code.device)
        return beside(code[..., :-count], covariate.one_hot(index))

    return {name: moved(code) for name, code in codes.items()}
