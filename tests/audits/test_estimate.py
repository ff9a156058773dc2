"""Delta from data: intervals cover the truth on certified laws, and say in words what they mean."""

import numpy as np
import pytest
from scipy.stats import entropy

import polyvae as pv
from polyvae import theory
from polyvae.audits.conditionals import network_model, table_model
from polyvae.audits.entropy_bounds import LABELLED, PLUGIN
from polyvae.errors import InputError
from polyvae.theory.generators import noisy_copies
from polyvae.theory.plugin import edges_of, quantised, surprisal

KINDS = ("random", "independent", "shared", "common_cause", "noisy_cause", "xor")


def arrays_of(law, rows, seed):
    return {name: values.astype(float) for name, values in law.draw(rows, np.random.default_rng([seed, 1])).items()}


@pytest.mark.slow
def test_intervals_cover_the_truth_on_100_certified_cases():
    covered = {"delta": 0, "lower": 0, "upper": 0}
    for case in range(100):
        law = theory.generator(KINDS[case % len(KINDS)], 3, 2, seed=case)
        found = pv.estimate(arrays_of(law, 1500, case), seed=case)
        for method in ("mmvae", "mopoe"):
            truth = theory.discrepancy(law, getattr(pv.subsets, method)(law.names))
            lower, upper = found.delta[method]
            covered["lower"] += lower.value <= truth + 1e-9
            covered["upper"] += truth <= upper.value + 1e-9
            covered["delta"] += lower.value - 1e-9 <= truth <= upper.value + 1e-9
    assert covered["delta"] >= 180, covered


def misses(law, rows, cases):
    """How often Delta of MMVAE and MoPoE-VAE lies below and above its interval, and the mean upper end of MMVAE's."""
    below = above = 0
    ends = []
    for case in range(cases):
        found = pv.estimate(arrays_of(law, rows, case), seed=case)
        for method in ("mmvae", "mopoe"):
            truth = theory.discrepancy(law, getattr(pv.subsets, method)(law.names))
            lower, upper = found.delta[method]
            below, above = below + (truth < lower.value - 1e-9), above + (truth > upper.value + 1e-9)
        ends.append(found.delta["mmvae"].upper.value)
    return below, above, np.mean(ends)


def test_nearly_redundant_data_are_covered():
    """1 % of rows differ: 80 held-out rows show one of the rare rows that Delta is made of, or none."""
    below, above, _ = misses(noisy_copies(2, 2, 0.005), 400, 48)
    assert below <= 7  # of 96, at 2.5 % a side; 8 or more have a chance of .4 %
    assert above <= 7


def test_nearly_independent_data_are_covered_closely():
    law = noisy_copies(3, 2, 0.45)
    below, above, upper = misses(law, 1000, 16)
    assert below + above <= 6
    assert upper < theory.discrepancy(law, pv.subsets.mmvae(law.names)) + 0.05, "honest at little cost"


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.001, 0.01, 0.1, 0.5])
@pytest.mark.parametrize("rows", [200, 1000, 5000])
def test_noisy_copies_are_covered(noise, rows):
    below, above, _ = misses(noisy_copies(3, 2, noise), rows, 60)
    assert max(below, above) <= 10  # of 120; the two methods of a case miss together


def test_the_most_that_a_row_costs_is_the_cost_of_its_rarest_value():
    rng = np.random.default_rng(0)
    rows = {name: rng.integers(0, 3, (400, 2)) for name in ("a", "b")}
    widths = {name: np.array([3, 3]) for name in rows}
    every = {name: np.array([(i, j) for i in range(3) for j in range(3)]) for name in rows}
    for model in (table_model(rows, "a", widths), network_model(rows, "a", widths, 0)):
        for by_feature in (False, True):
            nats, most = model({"a": every["a"], "b": np.repeat(every["b"][:1], 9, 0)}, ("b",), by_feature)
            assert most == pytest.approx(nats.max())
            assert np.exp(-nats).sum() == pytest.approx(1), "normalised"


def test_an_s_of_the_users_own_is_checked_and_cut_to_its_modalities():
    law = theory.generator("independent", 3, 2)
    data = arrays_of(law, 600, 0)
    two = law.names[:2]
    found = pv.estimate(data, S={"mvae": pv.subsets.mvae(two), "mmvae": pv.subsets.mmvae(two)})
    assert found.delta["mvae"].upper.value == 0
    assert list(found.described) == list(two)
    for S, message in (
        ({"a": pv.subsets.mmvae(("m0", "z"))}, "S is over 'z', which the data lack"),
        ({"a": pv.subsets.mvae_plus(law.names)}, "terms all predict every modality"),
        ({"a": pv.subsets.mmvae(two), "b": pv.subsets.mmvae(law.names)}, "different modalities"),
    ):
        with pytest.raises(InputError, match=message):
            pv.estimate(data, S=S)


def test_what_s_hides_of_a_modality_is_found_where_all_others_would_tell_it():
    """xor: every bit is told by the other two, and by neither alone, so MMVAE hides it and MVAE does not."""
    law = theory.generator("xor", 3, 2)
    found = pv.estimate(arrays_of(law, 1500, 0))
    for name in law.names:
        lower, upper = found.hidden["mmvae"][name]
        truth = sum(law.entropies.of((name,), (other,)) for other in law.names if other != name) / 3
        assert lower.value <= truth <= upper.value
        assert lower.value > 0.8 * truth
        assert found.hidden["mvae"][name].upper.value == 0


def test_plug_in_conditional_entropy_is_too_small_in_expectation():
    """Jensen's inequality for a concave function: the mean over many small samples is at most the truth."""
    law = theory.generator("random", 2, 6, seed=3)
    truth = law.entropies.of(("m1",), ("m0",))
    draws = [law.draw(60, np.random.default_rng(i)) for i in range(400)]
    values = np.array([surprisal(d["m1"], d["m0"]).mean() for d in draws])
    assert values.mean() + 3 * values.std() / 20 < truth
    once = surprisal(draws[0]["m1"], np.zeros(60, int)).mean()
    assert once == pytest.approx(entropy(np.bincount(draws[0]["m1"])))


def test_quantisation_keeps_few_values_and_balances_many():
    rng = np.random.default_rng(0)
    values = np.stack([rng.integers(0, 3, 1000) * 2.0, rng.standard_normal(1000)], 1)
    bins = quantised(values, edges_of(values, 4))
    assert (bins[:, 0] == values[:, 0] / 2).all()
    assert np.bincount(bins[:, 1]).tolist() == [250] * 4


@pytest.mark.slow
def test_networks_find_what_a_network_can():
    """Gaussian views of one factor: the interval is finite, ordered, and below that of independent views."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((900, 1))
    near = {n: z @ np.ones((1, 4)) + 0.2 * rng.standard_normal((900, 4)) for n in ("a", "b")}
    far = {n: rng.standard_normal((900, 4)) for n in ("a", "b")}
    tied, apart = pv.estimate(near), pv.estimate(far)
    assert tied.models == "one masked network per modality"
    assert 0 <= tied.delta["mmvae"].lower.value < tied.delta["mmvae"].upper.value
    assert tied.factorised["mmvae"].upper.value < 0.75 * apart.factorised["mmvae"].upper.value
    assert apart.factorised["mmvae"].upper.value == pytest.approx(4 * np.log(16), rel=0.05)
    assert tied.delta["mvae"].upper.value == 0
    assert tied.delta["mvae"].lower.value == 0


@pytest.mark.slow
def test_labels_give_a_lower_end_and_its_assumption():
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 1200)
    views = {n: label[:, None] * 5.0 + rng.standard_normal((1200, 6)) for n in ("a", "b")}
    blind, told = pv.estimate(views), pv.estimate(views | {"label": label})
    assert told.refuted is None
    assert told.factorised["mmvae"].lower.reason == LABELLED
    assert blind.delta["mmvae"].lower.reason == PLUGIN
    assert told.factorised["mmvae"].lower.value > blind.factorised["mmvae"].lower.value
    assert told.factorised["mmvae"].lower.value <= told.factorised["mmvae"].upper.value
    assert "cannot be decided" in blind.advice
    assert "mvae: Delta is 0" in told.advice


def test_labels_that_do_not_explain_the_data_are_refuted():
    """Two copies of one Gaussian and labels at random: the views share far more than their label."""
    rng = np.random.default_rng(0)
    view = rng.standard_normal((600, 2))
    found = pv.estimate({"a": view, "b": view, "label": rng.integers(0, 2, 600)})
    assert "share more than the label" in found.refuted
    assert found.factorised["mmvae"].lower.value <= found.factorised["mmvae"].upper.value
    assert found.factorised["mmvae"].lower.reason == PLUGIN


def test_advice_for_cheap_and_costly_data():
    """Copies cost nothing, but 800 held-out rows cannot tell that from one rare row in 250, and 4,000 can."""
    copies, costly = theory.generator("shared", 2, 2, seed=1), theory.generator("independent", 2, 2, seed=1)
    assert "cannot be decided" in pv.estimate(arrays_of(copies, 4000, 0)).advice
    assert "cheap" in pv.estimate(arrays_of(copies, 20_000, 0)).advice
    assert "costs at least" in pv.estimate(arrays_of(costly, 4000, 0)).advice


def test_bad_input_is_named():
    rng = np.random.default_rng(0)
    with pytest.raises(pv.InputError, match="at least 200"):
        pv.estimate({"a": rng.random((100, 2)), "b": rng.random((100, 2))})
    with pytest.raises(pv.InputError, match="2 to 8"):
        pv.estimate({"a": rng.random((400, 2))})
    with pytest.raises(pv.InputError, match="bins 1"):
        pv.estimate({"a": rng.random((400, 2)), "b": rng.random((400, 2))}, bins=1)
