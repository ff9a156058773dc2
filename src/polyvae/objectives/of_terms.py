"""The objective of a recipe of terms, evaluated: each row takes its column of the tables (`objectives.layout`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from polyvae import gaussian, posteriors, subsets
from polyvae.modality import Batch
from polyvae.models.contract import JointModel, expert_names_of, further_experts_of, has_private_codes, shared_dim_of
from polyvae.noise import Noise, index_at
from polyvae.objectives.layout import Layout, Reads, laid_out
from polyvae.objectives.parts import (
    Allocation,
    Bound,
    bound_of,
    check_allocation,
    check_beta,
    rsample,
    scores_of,
    systematic_quantiles,
)
from polyvae.objectives.regularisers import Regulariser
from polyvae.objectives.terms import Recipe, Terms, check_terms, terms_of
from polyvae.posteriors import Posterior
from polyvae.priors import Prior
from polyvae.subsets import SubsetMixture

MOST_PATTERNS = 1024  # of missing modalities, laid out at once; with more, a step asks which ones its rows have
ByRow = Callable[[Tensor], Tensor]  # a table (..., pattern) to what each row finds in it, (..., batch)


def check_recipe(recipe: Recipe, names: tuple[str, ...], present: Tensor, further: Sequence[str] = ()) -> None:
    """Raises InputError for a recipe by which no such rows can train a model: those that `OfTerms` would meet.

    present: Bool (row, modality). further: as for `check_terms`.
    """
    if bool(present.all()):
        patterns = [names]
    elif 2 ** len(names) > MOST_PATTERNS:
        patterns = _patterns(names, present.unique(dim=0))
    else:
        patterns = subsets.all_of(names)
    for pattern in patterns:
        check_terms(terms_of(recipe, pattern), pattern, further)


def _patterns(names: tuple[str, ...], rows: Tensor) -> list[tuple[str, ...]]:
    """Rows of Bool (row, modality) as the names that each has."""
    return [tuple(n for n, has in zip(names, row, strict=True) if has) for row in rows.tolist()]


@dataclass(eq=False)
class OfTerms:
    """The objective of a recipe, as stages of a method call it; S is not looked at.

    regularisers: added to the loss by their weights, of the same experts.
    Terms are asked for once for every pattern. Tables of them are copied to a device once, and stay as long as this,
    since captured steps read them there.
    """

    recipe: Recipe
    regularisers: Sequence[Regulariser] = ()
    kept: dict[Any, Layout] = field(default_factory=dict)
    terms: dict[Any, Terms] = field(default_factory=dict)

    def __call__(
        self,
        model: JointModel,
        batch: Batch,
        mixture: SubsetMixture | None = None,
        *,
        beta: float | Tensor = 1.0,
        allocation: Allocation = "systematic",
        weights: Tensor | None = None,
        generator: Noise = None,
    ) -> Bound:
        """As `elbo_of_terms`."""
        check_beta(beta)
        check_allocation(allocation)
        layout, which = self._layout(model, batch, allocation)

        def at(table: Tensor) -> Tensor:
            return (
                table.expand(*table.shape[:-1], len(batch.present)) if which is None else table.index_select(-1, which)
            )

        experts = model.encode(batch, None if self.regularisers else layout.encoded)
        sources = _sources(layout, generator, at)
        laws = _laws(model, experts, layout, sources, at)
        z = rsample(gaussian.picked(laws, slice(len(sources))), generator)
        log_likelihood = _log_likelihoods(model, batch, layout, z, sources, at)
        kl = _divergence(model, layout, laws, z, at)
        bound = bound_of(log_likelihood, kl, beta, weights)
        values = {r.name: r.function(model, batch, experts, generator) for r in self.regularisers}
        added = [regulariser.weight * values[regulariser.name] for regulariser in self.regularisers]
        return bound._replace(loss=sum(added, bound.loss), regularisers=values)

    def _layout(self, model: JointModel, batch: Batch, allocation: Allocation) -> tuple[Layout, Tensor | None]:
        """Tables of the patterns that rows can have, and which one each has, Int64 (batch,); None: all the same."""
        names, present = model.names, batch.present
        if not batch.is_complete and 2 ** len(names) > MOST_PATTERNS:
            rows, which = present.unique(dim=0, return_inverse=True)
            return self._laid_out(model, _patterns(names, rows), allocation, present.device), which
        kind = names, expert_names_of(model), has_private_codes(model), model.prior.has_closed_kl
        key = kind, batch.is_complete, allocation, present.device
        if key not in self.kept:
            patterns = [names] if batch.is_complete else subsets.all_of(names)
            self.kept[key] = self._laid_out(model, patterns, allocation, present.device)
        if batch.is_complete:
            return self.kept[key], None
        return self.kept[key], subsets.number_of(present) - 1

    def _laid_out(
        self, model: JointModel, patterns: Sequence[tuple[str, ...]], allocation: Allocation, device: torch.device
    ) -> Layout:
        """Raises InputError for terms of what a row, or the model, does not have."""
        further = further_experts_of(model)
        for pattern in patterns:
            if (further, pattern) not in self.terms:
                check_terms(terms := terms_of(self.recipe, pattern), pattern, further)
                self.terms[further, pattern] = terms
        return laid_out([self.terms[further, pattern] for pattern in patterns], model, patterns, allocation, device)


def elbo_of_terms(model: JointModel, batch: Batch, recipe: Recipe, **how: Any) -> Bound:
    """The objective of a recipe, negated in `loss`; one draw of each posterior, shared by all terms that need one.

    how: beta (default 1), generator, weights, allocation. For many steps `OfTerms(recipe)` does the same faster.
    weights: (modality,) factors on the log-likelihoods in the loss (default 1). allocation: "systematic" draws from one
    part of each `Mix` per row, evenly over the batch; "exact" decodes every part.
    With up to 10 modalities nothing is read from the device, whatever rows lack.
    Raises InputError for a negative beta, a posterior of what the model does not have, and products of posteriors that
    have none.
    """
    return OfTerms(recipe)(model, batch, **how)


def _laws(model: JointModel, experts: Posterior, layout: Layout, sources: Tensor, at: ByRow) -> Posterior:
    """The posteriors that rows need, (place, batch, latent): of codes, of what is paid, geometric means."""
    if layout.needs_normal and not experts.has_products:
        raise gaussian.no_product(experts)
    which = torch.cat([sources, at(layout.paid)])
    product = experts, _picked(at(layout.member).movedim(1, 2), which), at(layout.prior_expert).gather(0, which)
    if has_private_codes(model) and layout.own is not None:
        laws = model.fuse(*product, _picked(at(layout.own).movedim(1, 2), which))
    else:
        laws = gaussian.product(*product)
    if layout.geometric is None:
        return laws
    parts, share = (at(table) for table in layout.geometric)
    means = gaussian.geometric(_taken(laws, parts), share.to(laws.mean.dtype))
    return laws.like(*(torch.cat(fields) for fields in zip(laws, means, strict=True)))


def _sources(layout: Layout, generator: Noise, at: ByRow) -> Tensor:
    """The law that each code is drawn from, (code, batch): for a mixture one part per row, evenly over the batch."""
    source, share = (at(table) for table in layout.codes)
    if len(source) == 1:
        return source[0]
    u = systematic_quantiles(source.shape[-1], generator, share.device)
    return source.gather(0, index_at(u, share.movedim(0, -1))[None])[0]


def _log_likelihoods(model: JointModel, batch: Batch, layout: Layout, z: Tensor, sources: Tensor, at: ByRow) -> Tensor:
    """(batch, modality), each the weighted sum over the draws that predict it."""
    scores = scores_of(model, batch, {name: _read(model, layout, name, z, sources, at) for name in layout.reads})
    columns = [
        (_weight(model, layout, name, sources, at).to(z.dtype) * scores[name]).sum(0)
        if name in scores
        else z.new_zeros(z.shape[1])
        for name in model.names
    ]
    return torch.stack(columns, -1)


def _weight(model: JointModel, layout: Layout, name: str, sources: Tensor, at: ByRow) -> Tensor:
    """Of what decoder `name` reads, (draw, batch)."""
    read = layout.reads[name]
    if read.others is None:
        return at(read.weight)
    is_given = _said(layout.member, read, model.names.index(name), sources, at)
    return torch.where(is_given, at(read.weight), at(read.others))


def _said(table: Tensor, read: Reads, index: int, sources: Tensor, at: ByRow) -> Tensor:
    """What a table (law, modality, pattern) says of a modality and the laws that are read, (draw, batch)."""
    laws = sources if read.code is None else sources.gather(0, at(read.code))
    return at(table[:, index]).gather(0, laws)


def _read(model: JointModel, layout: Layout, name: str, z: Tensor, sources: Tensor, at: ByRow) -> Tensor:
    """What decoder `name` reads, (draw, batch, latent)."""
    read, index = layout.reads[name], model.names.index(name)
    codes = z if read.code is None else _picked(z, at(read.code))
    if read.unseen is not None and has_private_codes(model) and layout.own is not None:
        codes = model.unseen(name, codes, _said(layout.own, read, index, sources, at), at(read.unseen))
    if read.is_own_constant is not None:
        is_constant = at(read.is_own_constant) & _said(layout.member, read, index, sources, at)
        is_shared = torch.arange(codes.shape[-1], device=codes.device) < shared_dim_of(model)
        codes = torch.where(is_constant[..., None] & is_shared, codes.detach(), codes)
    return codes


def _divergence(model: JointModel, layout: Layout, laws: Posterior, z: Tensor, at: ByRow) -> Tensor:
    """The weighted sum of all divergences, (batch,)."""
    total = z.new_zeros(z.shape[1])
    if layout.to_prior is not None:
        of, code, weight = (at(table) for table in layout.to_prior)
        total = total + (weight.to(z.dtype) * model.prior.kl(_taken(laws, of), _picked(z, code))).sum(0)
    if layout.closed is not None:
        of, against, weight = (at(table) for table in layout.closed)
        total = total + (weight.to(z.dtype) * posteriors.kl(_taken(laws, of), _taken(laws, against))).sum(0)
    if layout.sampled is not None:
        of, code, weight = (at(table) for table in layout.sampled)
        parts, share = (at(table) for table in layout.mixes)
        drawn = _picked(z, code)
        density = (_taken(laws, parts).log_prob(drawn) + share.to(z.dtype).log()).logsumexp(0)
        total = total + (weight.to(z.dtype) * (_taken(laws, of).log_prob(drawn) - density)).sum(0)
    if layout.sampled_prior is not None:
        of, code, weight = (at(table) for table in layout.sampled_prior)
        total = total + (weight.to(z.dtype) * Prior.kl(model.prior, _taken(laws, of), _picked(z, code))).sum(0)
    return total


def _picked(field: Tensor, index: Tensor) -> Tensor:
    """field (law, batch, latent) at index (..., batch): (..., batch, latent)."""
    flat = index.flatten(0, -2)[..., None].expand(-1, -1, field.shape[-1])
    return field.gather(0, flat).view(*index.shape, field.shape[-1])


def _taken(laws: Posterior, index: Tensor) -> Posterior:
    return laws.like(_picked(laws.mean, index), _picked(laws.logvar, index))
