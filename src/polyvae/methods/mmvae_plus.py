"""MMVAE+ (Palumbo et al. 2023): a mixture of single experts over a shared z, and a private w_m for each modality.

For a row with M modalities X, q(z | X) = 1/M sum_k q(z | x_k), r_n a learned law of w_n with mean 0, maximised:

    1/M sum_m E { log p(x_m | z, w_m) + sum_{n != m} log p(x_n | z, r_n)
        + beta [ log p(z) + log p(w_m) - log q(z | X) - log q(w_m | x_m) ] },    z, w_m ~ q(z | x_m) q(w_m | x_m)

all at one draw, K = 1. No expert sees the w_n that others are decoded with, so nothing private crosses. It is a bound
where r_n = p(w_n). At test time: z from the mixture of what is given, own w_m for that, and w_n ~ p(w_n), not r_n, for
others (`at_test`). `mmvae_plus_elbo` is its form without q(z | X), one source per row, with KL(q(z, w_m | x_m) || p)
closed. `cmvae` (Palumbo et al. 2024) is MMVAE+ with a mixture as p(z): its categorical terms sum to
log sum_c p(c) p(z | c).

With K draws, l_mk what stands in E{} at draw k of source m, `mmvae_plus_iwae` maximises the looser bound

    1/M sum_m E log 1/K sum_k exp l_mk

and `mmvae_plus_dreg` the same with the doubly reparameterised gradient, whose expectation is that of the plain one.
"""

from dataclasses import replace
from typing import Unpack

from polyvae import subsets
from polyvae.methods.method import Method, Stage
from polyvae.modality import Batch
from polyvae.models.contract import PrivateModel
from polyvae.models.private import PrivateOptions
from polyvae.objectives import PRIOR, Bound, Divergence, Draw, Mix, Options, Terms, singles
from polyvae.objectives.weighting import importance_bound
from polyvae.posteriors import Family
from polyvae.subsets import SubsetMixture


def recipe(names: tuple[str, ...], options: PrivateOptions) -> Terms:
    parts, mixture = singles(names), Mix(singles(names, "none"))  # of which z alone differs from the prior
    draws = tuple(Draw(law, share, unseen="reference") for share, law in parts)
    from_prior = (Divergence(law, PRIOR, share, how="sampled") for share, law in parts)
    from_mixture = (
        Divergence(of_z, mixture, -share, how="sampled", at=law)
        for (share, law), (_, of_z) in zip(parts, mixture.parts, strict=True)
    )
    return Terms(draws, (*from_prior, *from_mixture))


def elbo(names: tuple[str, ...], options: PrivateOptions) -> Terms:
    parts = singles(names)
    draw = Draw(Mix(parts), unseen="reference")
    return Terms((draw,), tuple(Divergence(law, PRIOR, share) for share, law in parts))


def iwae(model: PrivateModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """The looser bound of K draws, negated in `loss`."""
    return importance_bound(model, batch, mixture, "term", "plain", mixed="shared", **how)


def dreg(model: PrivateModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """The value of `iwae`, with the gradient of Tucker et al. 2018 (`objectives.dreg_looser`)."""
    return importance_bound(model, batch, mixture, "term", "doubly", mixed="shared", **how)


MMVAE_PLUS = Method(
    "mmvae_plus",
    subsets.mmvae,
    "mmvae with private codes, drawn anew for other modalities",
    "Palumbo et al. 2023",
    prior="laplace",
    family=Family("laplace", "softmax"),
    model="private_reference",
    options=PrivateOptions,
    recipe=recipe,
    is_bound=False,
)
IWAE = replace(
    MMVAE_PLUS,
    name="mmvae_plus_iwae",
    summary="mmvae_plus with K draws of every source, --objective-samples, in the looser bound",
    stages=(Stage(objective=iwae),),
    recipe=None,
    objective="iwae_looser",
    samples=10,
    allocation="exact",
)
ROWS = (
    MMVAE_PLUS,
    IWAE,
    replace(
        IWAE,
        name="mmvae_plus_dreg",
        summary="mmvae_plus_iwae with the doubly reparameterised gradient, which varies less",
        source="Palumbo et al. 2023; Tucker et al. 2018",
        stages=(Stage(objective=dreg),),
        objective="dreg_looser",
    ),
    replace(
        MMVAE_PLUS,
        name="mmvae_plus_elbo",
        summary="mmvae_plus with one source per row, which decodes M modalities, not M^2",
        source="docs/methods.md",
        recipe=elbo,
    ),
    replace(
        MMVAE_PLUS,
        name="cmvae",
        summary="mmvae_plus with clusters: a learned mixture as prior of z",
        source="Palumbo et al. 2024",
        prior="gmm",
    ),
)
