"""Importance-weighted objectives beside `elbo`: tighter bounds, or the same bounds with other gradient estimators.

Below, log w(z) = log likelihood(x | z) + beta (log prior(z) - log posterior_S(z)) with the density of the whole mixture
posterior (paper, eq. 1), z_Ak is draw k of K from the posterior of subset A, and omega_A its weight. At beta 1:

    L_S <= elbo_tight = iwae_looser (K = 1) <= iwae_looser (K) <= iwae (K) <= log p(x),

and elbo_tight - L_S is at most the entropy of the weights omega. As K grows, only `iwae` and the objectives with its
bound, `dreg`, `dreg_official` and `dreg_multivae`, tend to log p(x).

All take `Options`, and rows with missing modalities as `elbo` does. With allocation "exact" every row draws K samples
from every subset; with "systematic" K samples in all: each from a subset of its own, or (`*_looser`) all from one. The
expectation of `elbo_tight` and of the looser bounds is the same in both; that of `iwae` is lower with K samples in all.
"""

from typing import Unpack

from polyvae.modality import Batch
from polyvae.models.contract import JointModel
from polyvae.objectives.parts import Bound
from polyvae.objectives.weighting import Options, importance_bound
from polyvae.subsets import SubsetMixture


def elbo_tight(model: JointModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """The ELBO of the mixture posterior (paper, eq. 29): sum_A omega_A mean_k log w(z_Ak).

    L_S (eq. 34) drops the divergence of each subset's posterior from the mixture; this keeps it.
    """
    return importance_bound(model, batch, mixture, "sample", "plain", **how)


def iwae(model: JointModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """log sum_A omega_A mean_k w(z_Ak): all samples together (Burda et al. 2016; `m_iwae` of Shi et al. 2019)."""
    return importance_bound(model, batch, mixture, "all", "plain", **how)


def iwae_looser(model: JointModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """sum_A omega_A log mean_k w(z_Ak): each subset for itself (`m_iwae_looser` of Shi et al. 2019)."""
    return importance_bound(model, batch, mixture, "term", "plain", **how)


def dreg(model: JointModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """The bound of `iwae` with the doubly reparameterised gradient (Tucker et al. 2018), for any mixture and beta.

    With normalised weights w, the path through a sample has coefficient (1 - beta) w + beta w^2 where posteriors do
    not overlap. Where they do, a sample of subset A reparameterises only A's share r of the mixture's score: the
    coefficient is w (1 - beta r (1 - w)), r is differentiated along the path, and the scores of the other subsets stay
    as in `iwae`.
    The expectation is that of `iwae`'s gradient, for encoders as for decoders and priors.
    """
    return importance_bound(model, batch, mixture, "all", "doubly", **how)


def dreg_looser(model: JointModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """The bound of `iwae_looser` with the gradient of `dreg`."""
    return importance_bound(model, batch, mixture, "term", "doubly", **how)


def dreg_official(model: JointModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """The bound of `iwae` with the gradient of the published MMVAE code (`m_dreg` of Shi et al. 2019).

    Every path through a sample has coefficient w, as in `iwae`, and the score of the mixture is left out. The second w
    of Tucker et al. is missing, because the code's hook sits on a copy of the samples that the loss does not pass
    through. For encoders it is biased as soon as there are two samples, whatever S; for decoders and priors it is
    `iwae`'s gradient. At beta 1, as K grows, it tends to the gradient of -KL(true posterior || mixture).
    The number that the published code prints is sum w l: this bound + log of the number of samples - entropy of w.
    """
    return importance_bound(model, batch, mixture, "all", "official", **how)


def dreg_looser_official(model: JointModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """The objective of the published MMVAE (`m_dreg_looser` of Shi et al. 2019): `dreg_official`, each subset for
    itself. Biased for encoders at K above 1, and unbiased at K = 1."""
    return importance_bound(model, batch, mixture, "term", "official", **how)


def dreg_multivae(model: JointModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """The bound of `iwae` with coefficient w^2 on each path and no score of the mixture, as Shi et al. describe it.

    That is the gradient of `dreg` for one subset at beta 1, and unbiased for samples whose subsets are drawn
    independently ("systematic") at beta 1; otherwise it is biased for encoders.
    """
    return importance_bound(model, batch, mixture, "all", "multivae", **how)


def dreg_looser_multivae(model: JointModel, batch: Batch, mixture: SubsetMixture, **how: Unpack[Options]) -> Bound:
    """The objective of MMVAE in MultiVae (Senellart & Allassonniere), whose hook does run: `dreg_multivae`, each subset
    for itself. Biased for encoders with more than one subset, except at K = 1."""
    return importance_bound(model, batch, mixture, "term", "multivae", **how)
