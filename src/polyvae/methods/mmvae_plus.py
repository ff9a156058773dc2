"""MMVAE+ (Palumbo et al. 2023): a mixture of single experts over a shared z, and a private w_m for each modality.

For a row with M modalities X, q(z | X) = 1/M sum_k q(z | x_k), r_n a learned law of w_n with mean 0, maximised:

    1/M sum_m E { log p(x_m | z, w_m) + sum_{n != m} log p(x_n | z, r_n)
        + beta [ log p(z) + log p(w_m) - log q(z | X) - log q(w_m | x_m) ] },    z, w_m ~ q(z | x_m) q(w_m | x_m)

all at one draw, K = 1. No expert sees the w_n that others are decoded with, so nothing private crosses. It is a bound
where r_n = p(w_n). At test time: z from the mixture of what is given, own w_m for that, and w_n ~ p(w_n), not r_n, for
others (`at_test`). `mmvae_plus_elbo` is its form without q(z | X), one source a row: KL(q(z, w_m | x_m) || p), closed.
`cmvae` (Palumbo et al. 2024) is MMVAE+ with a mixture as p(z): its categorical terms sum to log sum_c p(c) p(z | c).
"""

from dataclasses import replace

from polyvae import subsets
from polyvae.methods.method import Method
from polyvae.models.private import PrivateOptions
from polyvae.objectives import PRIOR, Divergence, Draw, Mix, Terms, singles
from polyvae.posteriors import Family


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
ROWS = (
    MMVAE_PLUS,
    replace(
        MMVAE_PLUS,
        name="mmvae_plus_elbo",
        summary="mmvae_plus with one source a row, which decodes M modalities, not M^2",
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
