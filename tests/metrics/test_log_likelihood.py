"""Importance-sampled likelihoods against closed forms of a linear-Gaussian model."""

import math
from dataclasses import replace

import pytest
import torch

from polyvae import metrics, subsets
from polyvae.dataset import chosen_rows
from polyvae.errors import InputError
from polyvae.gaussian import picked
from polyvae.metrics.log_likelihood import blind_log_likelihood, effective_size, legacy_log_likelihood, log_mean
from polyvae.models.contract import NotDefined
from polyvae.noise import RowNoise
from support.linear import NAMES, drawn, linear_model, log_evidence


def test_the_exact_posterior_gives_the_evidence_with_any_number_of_samples():
    model = linear_model(subsets.mvae)
    data = drawn(model, 30)
    for samples in (1, 7):
        found = metrics.log_likelihood(model, data, samples=samples)
        truth = log_evidence(model, data.values).mean()
        assert found["log_likelihood/joint"] == pytest.approx(float(truth), abs=1e-5)
        assert found["log_likelihood/joint_ess"] == pytest.approx(samples, rel=1e-5)
        assert found["log_likelihood/samples"] == samples


@pytest.mark.parametrize("make", [subsets.mvae, subsets.mmvae, subsets.mopoe])
@pytest.mark.parametrize("given", [("a",), ("a", "c"), NAMES])
def test_weights_are_unbiased_on_the_probability_scale(make, given):
    """E[mean weight] = p(x), also for mixtures sampled in strata and scored by their whole density."""
    model = linear_model(make)
    row = drawn(model, 1)
    many = 60_000
    batch = row.batch([0] * many)
    noise = torch.Generator().manual_seed(3)
    estimates = log_mean(model.log_weights(batch, given, NAMES, 4, noise)).exp()
    truth = log_evidence(model, row.values).exp().item()
    error = 5 * float(estimates.std()) / math.sqrt(many)
    assert error < 0.1 * truth, "the test must be able to fail"
    assert float(estimates.mean()) == pytest.approx(truth, abs=max(error, 1e-6 * truth))


def test_strata_give_every_component_its_share():
    model = linear_model(subsets.mmvae)
    batch = drawn(model, 5).batch(range(5))
    assert model.log_weights(batch, NAMES, NAMES, 4).shape == (4, 5), "3 components: 2 draws, 1 and 1"
    assert model.log_weights(batch, ("a", "b"), NAMES, 4).shape == (4, 5)
    assert model.log_weights(batch, NAMES, NAMES, 2).shape == (3, 5), "at least one each"


def test_draws_are_those_of_components_that_a_row_has():
    """A posterior whose other components have weight 0 gives the weights of one without them, at the same K."""
    model = linear_model(subsets.mmvae)
    batch = drawn(model, 5).batch(range(5))
    posterior = model.posterior(batch)
    components, rows = len(posterior.components.mean), len(batch.present)
    kept = torch.zeros(rows, components)
    kept[:, 1:] = 0.5
    alone = posterior._replace(weights=kept[:, 1:], components=picked(posterior.components, slice(1, None)))

    def weights(of, samples):
        return model.log_weights(batch, NAMES, NAMES, samples, RowNoise(0, "test", tuple(range(rows))), of)

    assert torch.allclose(weights(posterior._replace(weights=kept), 6), weights(alone, 6))
    found, expected = (log_mean(weights(of, 1)) for of in (posterior._replace(weights=kept), alone))
    assert torch.allclose(found, expected), "2 draws, one each; a third weight is -inf"


def test_more_samples_tighten_the_bound_towards_the_evidence():
    model = linear_model(subsets.mmvae)
    data = drawn(model, 300)
    truth = float(log_evidence(model, data.values).mean())
    bounds = [metrics.log_likelihood(model, data, samples=k)["log_likelihood/joint"] for k in (3, 12, 96)]
    assert bounds == sorted(bounds)
    assert bounds[-1] < truth
    assert truth - bounds[-1] < 0.2 * (truth - bounds[0])


def test_marginal_and_conditional_likelihoods_reach_their_closed_forms():
    """With exact posteriors of every subset, both converge to the model's own conditionals."""
    every = subsets.custom([subsets.Term(g, 1 / 7, prior_expert=True) for g in subset_names()], NAMES)
    model = linear_model(lambda names: every)
    data = drawn(model, 60)
    found = metrics.log_likelihood(model, data, samples=150)
    for name in NAMES:
        truth = float(log_evidence(model, data.values, (name,)).mean())
        assert found[f"log_likelihood/modality/{name}"] == pytest.approx(truth, abs=1e-4)
    for given in (("a",), ("b", "c")):
        label, others = "+".join(given), tuple(n for n in NAMES if n not in given)
        truth = log_evidence(model, data.values, given + others) - log_evidence(model, data.values, given)
        found_here = found[f"log_likelihood/conditional/{label}"]
        assert found_here == pytest.approx(float(truth.mean()), abs=0.05)
        joint = float(log_evidence(model, data.values).mean())
        assert joint - 0.2 < found[f"log_likelihood/joint_from/{label}"] < joint + 0.02


def subset_names():
    return [tuple(n for i, n in enumerate(NAMES) if bits >> i & 1) for bits in range(1, 8)]


def test_the_flattened_estimate_of_public_code_overestimates():
    model = linear_model(subsets.mvae)
    data = drawn(model, 640)
    truth = float(log_evidence(model, data.values).mean())
    right = legacy_log_likelihood(model, data, flattened=False, single_expert=False)["log_likelihood/legacy"]
    wrong = legacy_log_likelihood(model, data)["log_likelihood/legacy"]
    assert right == pytest.approx(truth, abs=1e-5)
    assert wrong > truth + 0.5


def test_a_single_expert_is_a_valid_but_noisier_proposal():
    model = linear_model(subsets.mmvae)
    data = drawn(model, 6400)
    truth = float(log_evidence(model, data.values).mean())
    mixture, single = (
        legacy_log_likelihood(model, data, flattened=False, single_expert=one)["log_likelihood/legacy"]
        for one in (False, True)
    )
    assert single < mixture < truth


def test_the_blind_estimate_does_not_need_the_row():
    """In 2 dimensions a thousand shared draws are enough to come within a tenth of a nat of the evidence."""
    model = linear_model(subsets.mvae)
    data, train = drawn(model, 200), drawn(model, 600, seed=2)
    found = blind_log_likelihood(model, data, train, samples=4000)
    assert found == pytest.approx(float(log_evidence(model, data.values).mean()), abs=0.1)
    present = torch.tensor([True, True, False]).repeat(200, 1)
    without_c = blind_log_likelihood(model, replace(data, present=present), train, samples=4000)
    assert without_c == pytest.approx(float(log_evidence(model, data.values, ("a", "b")).mean()), abs=0.1)


def test_the_blind_estimate_stands_beside_the_joint_of_the_same_rows():
    model = linear_model(subsets.mvae)
    data, train = drawn(model, 260), drawn(model, 50, seed=2)
    found = metrics.log_likelihood(model, data, train, samples=1)
    chosen = data.rows(chosen_rows(260, 200, 0))
    assert found["log_likelihood/unconditional"] == blind_log_likelihood(model, chosen, train)
    truth = float(log_evidence(model, chosen.values).mean())
    assert found["log_likelihood/joint_of_blind_rows"] == pytest.approx(truth, abs=1e-5)


def test_missing_modalities_are_left_out_of_the_likelihood():
    model = linear_model(subsets.mvae)
    whole = drawn(model, 20)
    present = torch.ones(20, 3, dtype=torch.bool)
    present[:8, 2] = False
    partly = replace(whole, present=present)
    found = metrics.log_likelihood(model, partly, samples=5)
    assert found["log_likelihood/complete_rows"] == 12  # those that every subset is scored on
    truth = float(log_evidence(model, whole.values, ("a", "b", "c"))[8:].mean())
    assert found["log_likelihood/joint"] == pytest.approx(truth, abs=0.02)
    own = float(log_evidence(model, whole.values, ("a",)).mean())
    assert found["log_likelihood/modality/a"] == pytest.approx(own, abs=0.02)  # of every row that has it


def test_subsets_are_not_compared_without_complete_rows():
    model = linear_model(subsets.mvae)
    whole = drawn(model, 20)
    present = torch.ones(20, 3, dtype=torch.bool)
    present[:, 2] = False
    found = metrics.log_likelihood(model, replace(whole, present=present))
    assert {key.split("/", 1)[1] for key in found} == {"samples", "complete_rows", "modality/a", "modality/b"}
    with pytest.raises(NotDefined, match="0 test rows have every modality"):
        metrics.latent(model, replace(whole, present=present))


def test_effective_size_counts_equal_weights():
    assert effective_size(torch.zeros(5, 2)).tolist() == pytest.approx([5, 5])
    assert effective_size(torch.tensor([[0.0], [-1e9]])).item() == pytest.approx(1)


def test_likelihoods_do_not_depend_on_batch_size_or_order():
    model = linear_model(subsets.mmvae)
    data = drawn(model, 40)
    reference = metrics.log_likelihood(model, data, batch_size=40)
    other = metrics.log_likelihood(model, data, batch_size=7, rows=range(40)[::-1])
    assert other == pytest.approx(reference, rel=1e-5)


def test_bad_input_is_refused():
    model = linear_model()
    with pytest.raises(InputError, match="samples is 0"):
        metrics.log_likelihood(model, drawn(model, 5), samples=0)
    with pytest.raises(InputError, match="1 test rows"):
        metrics.log_likelihood(model, drawn(model, 5), rows=[0])
    with pytest.raises(InputError, match="the data a, b"):
        metrics.log_likelihood(model, drawn(model, 5).select(["a", "b"]))


def test_zero_spread_makes_a_draw_the_mean():
    model = linear_model(subsets.mvae)
    batch = drawn(model, 6).batch(range(6))
    z = model.posterior_codes(batch, NAMES, NAMES, RowNoise(0, "x", tuple(range(6)), spread=0.0))["a"]
    torch.testing.assert_close(z, model.posterior(batch).mean)
