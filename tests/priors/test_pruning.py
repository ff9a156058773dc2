"""Pruning of the clusters of a prior: the published procedure written out, what it keeps, and what is refused."""

import math

import numpy as np
import pytest
import torch

from polyvae import InputError, likelihoods, priors, subsets
from polyvae.dataset import MultimodalDataset
from polyvae.fitting import fit_prior
from polyvae.modality import Modality
from polyvae.models.vae import MultimodalVAE
from polyvae.priors.pruning import Assigned, fewer
from polyvae.runs.saving import load_prior, save_prior
from support.linear import Encoder
from support.mixtures import random_mixture

CENTRES = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
IDLE = torch.tensor([[0.0, -30.0], [20.0, 20.0], [-20.0, 20.0], [30.0, 0.0]])


def written_out(log_joint, log_weights, beta, dimensions):
    """Sets of clusters and their criteria as the published script finds them, row by row, with log C for the entropy
    of C clusters (the script adds 1e-6 to probabilities, so that it divides by the log of the first number always)."""
    modalities, rows, count = log_joint.shape
    clusters, found = list(range(count)), []
    while len(clusters) >= 2:
        mass, values = dict.fromkeys(clusters, 0.0), []
        total = sum(math.exp(log_weights[c]) for c in clusters)
        for row in range(rows):
            shares, criteria = [], []
            for m in range(modalities):
                joint = [math.exp(log_joint[m, row, c]) / total for c in clusters]
                share = [value / sum(joint) for value in joint]
                entropy = -sum(p * math.log(p) for p in share if p > 0)
                criteria.append(beta * entropy / math.log(len(clusters)) - math.log(sum(joint)) / dimensions)
                shares.append(share)
            choices = [int(np.argmax(share)) for share in shares]
            mode = max(sorted(set(choices)), key=choices.count)
            mass[clusters[mode]] += max(np.mean(shares, 0))
            values.append(np.mean(criteria))
        found.append((list(clusters), np.mean(values)))
        clusters.remove(min(clusters, key=mass.get))
    return found


def test_it_is_the_published_procedure():
    generator = torch.Generator().manual_seed(0)
    prior = priors.GaussianMixturePrior(2, 6)
    prior.means.data = 2 * torch.randn(6, 2, generator=generator)
    prior.logits.data = torch.randn(6, generator=generator)
    z = 2 * torch.randn(3, 40, 2, generator=generator)
    with torch.no_grad():
        assigned = Assigned(prior.log_joint(z).double(), torch.ones(3, 40, dtype=torch.bool))
        log_weights = prior.logits.double().log_softmax(0)
    expected = written_out(assigned.log_joint, log_weights, 2.5, 2)
    assert list(fewer(assigned, 2)) == [clusters for clusters, _ in expected]
    for clusters, value in expected:
        weight = float(log_weights[clusters].logsumexp(0))
        assert assigned.of(clusters).penalised_entropy(weight, 2.5, 2) == pytest.approx(value)


def test_a_modality_that_a_row_lacks_says_nothing():
    """Rows count what they have alone, whatever stands in its place."""
    log_joint = torch.randn(2, 30, 4, generator=torch.Generator().manual_seed(0)).double()
    present = torch.tensor([[True] * 30, [True, False] * 15])
    found = []
    for filler in (0.0, 5.0):
        each = log_joint.clone()
        each[1, 1::2] = torch.arange(4).double() * filler
        assigned = Assigned(each, present)
        found.append((assigned.mass, torch.tensor(assigned.penalised_entropy(0.0, 1.0, 2))))
    torch.testing.assert_close(*found)
    halves = Assigned(log_joint[:, ::2], present[:, ::2]), Assigned(log_joint[:1, 1::2], present[:1, 1::2])
    torch.testing.assert_close(found[0][0], halves[0].mass + halves[1].mass)


def model_with(prior):
    """Encoders that give x itself, narrowly, in two modalities."""
    pairs = {}
    for name in "ab":
        encoder = Encoder(2, 2)
        encoder.layer.weight.data = torch.cat([torch.eye(2), torch.zeros(2, 2)])
        encoder.layer.bias.data = torch.tensor([0.0, 0.0, -6.0, -6.0])
        pairs[name] = encoder, torch.nn.Linear(2, 2)
    specs = [Modality(name, (2,), likelihoods.Normal(1.0)) for name in "ab"]
    return MultimodalVAE(specs, pairs, subsets.mmvae(("a", "b")), 2, prior=prior).eval()


def rows_in_clusters(model, rows=300):
    generator = torch.Generator().manual_seed(0)
    around = CENTRES[torch.arange(rows) % 3]
    values = {name: around + torch.randn(rows, 2, generator=generator) for name in "ab"}
    present = torch.ones(rows, 2, dtype=torch.bool)
    present[::5, 1] = False
    return MultimodalDataset("clusters", model.modalities, values, present)


def test_clusters_that_no_code_is_from_are_dropped_and_the_others_stay(tmp_path):
    """Three groups of rows, seven clusters: three are kept, as they were, and the density of codes rises."""
    prior = priors.GaussianMixturePrior(2, 7)
    prior.means.data = torch.cat([IDLE[:2], CENTRES, IDLE[2:]])
    model = model_with(prior)
    data = rows_in_clusters(model)
    fitted = fit_prior(model, data, "pruned", beta=2.5)
    assert fitted.clusters == (3, 7)
    torch.testing.assert_close(fitted.prior.means, CENTRES)
    torch.testing.assert_close(fitted.prior.logits.softmax(0), torch.full((3,), 1 / 3))
    assert fitted.after == pytest.approx(fitted.before + math.log(7 / 3), abs=1e-4)
    assert fit_prior(model, data, "pruned", components=4).clusters == (4, 7)
    assert model.prior is prior
    save_prior(tmp_path, "pruned", fitted.prior, {})
    z = torch.randn(5, 2)
    torch.testing.assert_close(load_prior(tmp_path, "pruned", 2).log_prob(z), fitted.prior.log_prob(z))


def test_held_out_rows_have_no_say():
    """A cluster that codes of held-out rows alone are from is dropped, and their density shows it."""
    prior = priors.GaussianMixturePrior(2, 4)
    prior.means.data = torch.cat([CENTRES, IDLE[:1]])
    model = model_with(prior)
    data = rows_in_clusters(model)
    for values in data.values.values():
        values[9::10] = IDLE[0]
    fitted = fit_prior(model, data, "pruned", beta=2.5)
    torch.testing.assert_close(fitted.prior.means, CENTRES)
    assert fitted.after < fitted.before - 100


@pytest.mark.parametrize("full", [False, True])
def test_what_is_kept_of_a_mixture_has_the_conditional_density(full):
    prior = random_mixture(2, 5, full)
    z, kept = torch.randn(6, 2), [3, 1]
    few = prior.kept(kept)
    expected = prior.log_joint(z)[:, kept].logsumexp(-1) - prior.logits.log_softmax(0)[kept].logsumexp(0)
    torch.testing.assert_close(few.log_prob(z), expected)


@pytest.mark.parametrize("kind", ["normal", "laplace"])
def test_a_prior_with_private_codes_is_written_and_read(kind, tmp_path):
    shared = priors.make("gmm", 2, 3)
    prior = priors.WithPrivate(shared, 2, 4, kind)
    save_prior(tmp_path, "pruned", prior, {})
    z = torch.randn(5, 6)
    torch.testing.assert_close(load_prior(tmp_path, "pruned", 6).log_prob(z), prior.log_prob(z))
    with pytest.raises(InputError, match="4 of 4 dimensions are private"):
        load_prior(tmp_path, "pruned", 4)


def test_what_cannot_be_pruned_is_refused():
    model = model_with(priors.GaussianMixturePrior(2, 3))
    data = rows_in_clusters(model)
    with pytest.raises(InputError, match="has 3 clusters and cannot keep 4"):
        fit_prior(model, data, "pruned", components=4)
    for prior in (priors.StandardNormal(2), priors.GaussianMixturePrior(2, 1)):
        with pytest.raises(InputError, match="no clusters to prune; train cmvae"):
            fit_prior(model_with(prior), data, "pruned")
