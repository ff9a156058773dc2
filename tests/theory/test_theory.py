"""Exact theory: against dit, definitions, and the certified lines of docs/theory.md on random models."""

import functools
import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from polyvae import InputError, subsets, theory

PRESETS = ("mvae", "mmvae", "mopoe")


def random_mixture(names, rng):
    """An S of up to four random subsets with random weights."""
    everything = [c for size in range(1, len(names) + 1) for c in itertools.combinations(names, size)]
    chosen = [everything[i] for i in rng.permutation(len(everything))[: rng.integers(1, 5)]]
    return subsets.custom(list(zip(chosen, rng.dirichlet(np.ones(len(chosen))), strict=True)), names)


def random_table(seed, most=4):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 4, rng.integers(1, most + 1))
    table = rng.random(shape) * (rng.random(shape) > 0.3) + 1e-12
    return table / table.sum()


def test_entropies_agree_with_dit():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of dit's own imports
        import dit
    for seed in range(3):
        table = np.random.default_rng(seed).dirichlet(np.ones(24)).reshape(2, 3, 4)
        outcomes = list(np.ndindex(*table.shape))
        law = dit.Distribution(outcomes, [float(table[cell]) for cell in outcomes])
        found = theory.entropies(table)
        for size in (1, 2, 3):
            for subset in itertools.combinations(range(3), size):
                truth = dit.shannon.entropy(law, subset) * np.log(2)
                assert found.of([f"m{i}" for i in subset]) == pytest.approx(truth, abs=1e-12)
        total = dit.multivariate.total_correlation(law) * np.log(2)
        assert found.total_correlation() == pytest.approx(total, abs=1e-12)
        mutual = dit.shannon.conditional_entropy(law, [1], [0]) * np.log(2)
        assert found.of(("m1",), ("m0",)) == pytest.approx(mutual, abs=1e-12)
        partial = dit.multivariate.coinformation(law, [[0], [1]], [2]) * np.log(2)
        assert found.information(("m0",), ("m1",), ("m2",)) == pytest.approx(partial, abs=1e-12)


def test_blocks_and_the_whole_agree(monkeypatch):
    table = np.random.default_rng(0).dirichlet(np.ones(72)).reshape(2, 3, 4, 3)
    whole = theory.entropies(table).values
    monkeypatch.setattr("polyvae.theory.information.AT_ONCE", 10)
    np.testing.assert_allclose(theory.entropies(table).values, whole, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_shannon_inequalities_hold(seed):
    """Monotone and submodular, with the chain rule; Delta is not negative and its two splits sum to it."""
    found = theory.entropies(random_table(seed))
    names = found.names
    for a, b in itertools.product(range(len(found.values)), repeat=2):
        h = found.values
        assert h[a | b] >= h[a] - 1e-12
        assert h[a] + h[b] >= h[a | b] + h[a & b] - 1e-12
    S = random_mixture(names, np.random.default_rng(seed))
    delta = theory.discrepancy(found, S)
    direct = sum(t.weight * found.of([n for n in names if n not in t.given], t.given) for t in S.terms)
    assert delta == pytest.approx(direct, abs=1e-10)
    assert sum(s.weight * s.missing for s in theory.by_subset(found, S)) == pytest.approx(delta, abs=1e-10)
    shares = theory.by_modality(found, S)
    assert sum(shares.values()) == pytest.approx(delta, abs=1e-10)
    assert min(shares.values()) >= -1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_delta_by_modality_is_the_mean_over_all_orders(seed):
    found = theory.entropies(random_table(seed))
    S = random_mixture(found.names, np.random.default_rng(seed))
    orders = list(itertools.permutations(found.names))
    shares = dict.fromkeys(found.names, 0.0)
    for order in orders:
        for term in S.terms:
            known = set(term.given)
            for name in order:
                shares[name] += term.weight * found.of((name,), known) / len(orders)
                known |= {name}
    assert theory.by_modality(found, S) == pytest.approx(shares, abs=1e-10)


def test_delta_by_modality_of_many():
    """Independent modalities, MoPoE-VAE: each is missing in 2^(M - 1) - 1 of 2^M - 1 subsets."""
    count = 14
    bits = np.arange(2**count)
    sizes = np.linspace(1, 2, count)
    law = theory.Entropies(tuple(f"m{i}" for i in range(count)), (bits[:, None] >> np.arange(count) & 1) @ sizes)
    shares = theory.by_modality(law, subsets.mopoe(law.names))
    share = (2 ** (count - 1) - 1) / (2**count - 1)
    assert list(shares.values()) == pytest.approx(list(share * sizes))


def test_order_and_selection_of_modalities():
    table = np.random.default_rng(0).dirichlet(np.ones(24)).reshape(2, 3, 4)
    found = theory.entropies(table, ("a", "b", "c"))
    swapped = found.select(("c", "a"))
    marginal = theory.entropies(table.sum(1).T, ("c", "a"))
    np.testing.assert_allclose(swapped.values, marginal.values, atol=1e-13)
    assert theory.discrepancy(found, subsets.mmvae(("c", "a"))) == pytest.approx(
        theory.discrepancy(marginal, subsets.mmvae(("c", "a")))
    )


@pytest.mark.parametrize("kind", theory.GENERATORS)
def test_corollary_1(kind):
    law = theory.generator(kind, 3, 3)
    assert theory.discrepancy(law, subsets.mvae(law.names)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("method", ["mmvae", "mopoe"])
@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_corollary_2_is_the_change_of_delta(method, modalities):
    for seed in range(5):
        law = theory.generator("random", modalities, 2, seed)
        made = getattr(subsets, method)
        terms = theory.corollary2(law, law.names[-1], method)
        change = theory.discrepancy(law, made(law.names)) - theory.discrepancy(law.entropies, made(law.names[:-1]))
        assert terms.change == pytest.approx(change, abs=1e-12)
        assert terms.shared <= 0 <= min(terms.specific_to_old, terms.specific_to_new)


def test_added_copies_lower_delta_and_added_noise_raises_it():
    """Corollary 2 in both signs, and what does not vanish: Delta > 0 stays > 0."""
    base = np.array([[0.2, 0.2, 0.0], [0.0, 0.0, 0.6]])  # a is a function of b, which is the richer one
    copy = np.einsum("ab,bc->abc", base, np.eye(3))
    noise = np.einsum("ab,c->abc", base, np.full(3, 1 / 3))
    before = theory.discrepancy(base, subsets.mmvae(("a", "b")))
    assert theory.discrepancy(copy, subsets.mmvae(("a", "b", "c"))) < before
    assert theory.discrepancy(copy, subsets.mmvae(("a", "b", "c"))) > 0
    assert theory.discrepancy(noise, subsets.mmvae(("a", "b", "c"))) > before


@pytest.mark.parametrize("kind", theory.GENERATORS)
def test_structured_generators_have_the_deltas_of_their_structure(kind):
    law, symbols = theory.generator(kind, 4, 3, seed=2), 3
    h, names = law.entropies, law.names
    mmvae = theory.discrepancy(law, subsets.mmvae(names))
    if kind == "independent":
        assert h.total_correlation() == pytest.approx(0, abs=1e-12)
        assert mmvae == pytest.approx(0.75 * h.joint)
    if kind == "shared":
        assert mmvae == pytest.approx(0, abs=1e-12)
    if kind == "common_cause":
        shared = [h.information((a,), (b,)) for a, b in itertools.combinations(names, 2)]
        assert max(shared) == pytest.approx(min(shared)) == pytest.approx(h.information(names[:2], names[2:]))
    if kind == "xor":
        assert h.of((names[-1],), names[:-1]) == pytest.approx(0, abs=1e-12)
        assert h.information((names[0],), names[1:3]) == pytest.approx(0, abs=1e-12)
    values = law.draw(200_000, np.random.default_rng(0))
    table = np.zeros(law.table.shape)
    np.add.at(table, tuple(values[name] for name in names), 1 / 200_000)
    assert np.abs(table - law.table).sum() < 0.03
    assert law.table.shape == ((6,) * 4 if kind == "common_cause" else (symbols,) * 4)


def test_certified_lines_hold_for_random_models():
    """Lines 2, 3, 4 and 6 for 1,000 models: random laws, S, priors, encoders, decoders, beta."""
    kinds = list(theory.GENERATORS)
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        law = theory.generator(kinds[seed % len(kinds)], int(rng.integers(2, 4)), 2, seed)
        S, beta = random_mixture(law.names, rng), float(rng.random())
        model = theory.random_model(law, S, int(rng.integers(1, 6)), rng)
        distortion, full = -model.objective(law, S, 0), -model.objective(law, S, 1)
        h, delta = law.entropies, theory.discrepancy(law, S)
        assert full >= -model.log_evidence(law) - 1e-10 >= h.joint - 2e-10  # line 2
        assert distortion >= delta - 1e-10  # line 3
        assert distortion + beta * (full - distortion) >= theory.beta_gap(law, S, beta) - 1e-10  # line 4
        loose = -model.mixture_objective(law, S)
        assert -1e-10 <= full - loose <= theory.weight_entropy(S) + 1e-10  # eq. 27
        if seed < 200:  # line 6, for a decoder that factorises over modalities
            product = np.stack([product_of_marginals(part) for part in model.decoder])
            factorised = theory.DiscreteModel(model.prior, model.encoders, product)
            bound, gap = theory.modality_floor(law, S, beta)
            assert -factorised.objective(law, S, beta) >= bound - 1e-10
            assert gap >= -1e-10
            assert theory.modality_floor(law, S)[0] == pytest.approx(h.joint + gap)


def test_the_best_encoder_is_a_geometric_mean_of_posteriors():
    """No other encoder scores better, and it falls short of E log p by the log of the means' sums, exactly."""
    rng = np.random.default_rng(4)
    for seed in range(20):
        law = theory.generator("random", 3, 2, seed=seed)
        given = (("m1",), ("m0", "m2"))[seed % 2]
        S = subsets.custom([(given, 1.0)], law.names)
        model = theory.random_model(law, S, 4, rng)
        best = replace(model, encoders={given: model.best_encoder(law, given)})
        for near in (0.0, 0.9, 0.999):
            away = rng.dirichlet(np.ones(4), best.encoders[given].shape[:-1])
            other = near * best.encoders[given] + (1 - near) * away
            assert replace(model, encoders={given: other}).objective(law, S) < best.objective(law, S)
        joint = np.moveaxis(model.decoder, 0, -1) * model.prior
        posterior = joint / joint.sum(-1, keepdims=True)
        axes = tuple(i for i, name in enumerate(law.names) if name not in given)
        seen = law.table.sum(axes)
        means = np.exp((law.table[..., None] * np.log(posterior)).sum(axes) / seen[..., None])
        short = -(seen * np.log(means.sum(-1))).sum()
        assert short > 0
        assert model.log_evidence(law) - best.objective(law, S) == pytest.approx(short)


def product_of_marginals(table):
    axes = range(table.ndim)
    return functools.reduce(np.multiply.outer, [table.sum(tuple(i for i in axes if i != axis)) for axis in axes])


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_the_naming_code_attains_line_4(preset, beta):
    law = theory.generator("random", 3, 2, seed=5)
    S = getattr(subsets, preset)(law.names)
    code = theory.naming_code(law, S)
    least = theory.beta_gap(law, S, beta)
    assert -code.mixture_objective(law, S, beta) == pytest.approx(least, abs=1e-10)
    assert least - 1e-10 <= -code.objective(law, S, beta) <= least + beta * theory.weight_entropy(S) + 1e-10


@pytest.mark.parametrize("given", [("m0",), ("m1", "m2"), ("m0", "m1", "m2")])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_line_6_is_an_equality_for_one_subset(given, beta):
    law = theory.generator("random", 3, 2, seed=6)
    S = subsets.custom([(given, 1.0)], law.names)
    code = theory.naming_code(law, S, factorised=True)
    assert -code.objective(law, S, beta) == pytest.approx(theory.modality_floor(law, S, beta)[0], abs=1e-10)


def test_line_6_is_tight_up_to_the_weights_entropy():
    law = theory.generator("common_cause", 3, 2, seed=6)
    S = subsets.mmvae(law.names)
    code, (least, gap) = theory.naming_code(law, S, factorised=True), theory.modality_floor(law, S)
    assert least <= -code.objective(law, S) <= least + theory.weight_entropy(S) + 1e-10
    assert gap == pytest.approx(0, abs=1e-12)  # modalities are independent given any one of them


def test_eq_4_has_a_counterexample():
    """Two fair independent bits: the bound is attained while Delta is log 2 (docs/theory.md)."""
    law = theory.generator("independent", 2, 2)
    fair = theory.DiscreteLaw(np.full((2, 2), 0.25), law.names)
    S = subsets.mmvae(law.names)
    ignores = {t.given: np.full((2, 1), 1.0) for t in S.terms}
    model = theory.DiscreteModel(np.ones(1), ignores, np.full((1, 2, 2), 0.25))
    assert model.objective(fair, S) == pytest.approx(-fair.entropies.joint, abs=1e-15)
    assert theory.discrepancy(fair, S) == pytest.approx(np.log(2))


def test_gaussian_lines_1_2_5_and_6():
    rng = np.random.default_rng(0)
    for _ in range(20):
        law = theory.LinearGaussian(tuple(rng.standard_normal((2, 2)) for _ in range(3)), 0.7)
        h, S = law.entropies, random_mixture(law.names, rng)
        delta = theory.discrepancy(law, S)
        missing = sum(t.weight * h.of([n for n in law.names if n not in t.given], t.given) for t in S.terms)
        assert delta == pytest.approx(missing)
        change = delta_of(law, "mopoe", law.names) - delta_of(law, "mopoe", law.names[:2])
        assert theory.corollary2(law, "m2", "mopoe").change == pytest.approx(change)
        loss, unseen = 0.0, {}
        for term in S.terms:
            place = [law.names.index(n) for n in term.given]
            best = law.optimal_encoder(place)
            value = law.distortion(place, best) + law.rate(place, best)
            assert value - h.joint == pytest.approx(law.encoder_gap(place))
            assert value <= law.distortion(place, law.posterior(place)) + law.rate(place, law.posterior(place)) + 1e-9
            loss += term.weight * value
            unseen[term.given] = law.feature_entropies(place)
        bound, gap = theory.factorised_floor(S, unseen, law)
        assert loss >= bound - 1e-9 >= h.joint - 2e-9
        assert gap >= -1e-9


def delta_of(law, method, names):
    return theory.discrepancy(law.entropies, getattr(subsets, method)(names))


def test_gaussian_distortion_by_monte_carlo():
    rng = np.random.default_rng(1)
    law = theory.LinearGaussian((rng.standard_normal((2, 2)), rng.standard_normal((3, 2))), 0.5)
    gain, covariance = law.optimal_encoder([1])
    n = 200_000
    x = rng.standard_normal((n, 2)) @ law.stacked().T + 0.5 * rng.standard_normal((n, 5))
    z = x[:, 2:] @ gain.T + rng.multivariate_normal(np.zeros(2), covariance, n)
    score = 0.5 * ((x - z @ law.stacked().T) ** 2).sum(1) / 0.25 + 5 * np.log(0.5 * np.sqrt(2 * np.pi))
    assert law.distortion([1], (gain, covariance)) == pytest.approx(score.mean(), abs=5 * score.std() / np.sqrt(n))


def test_densities_go_below_the_floor():
    """Lines 3 and 4 are about discrete data: this Gaussian model has D < Delta, so nobody may extend the claim."""
    law = theory.LinearGaussian((np.zeros((1, 1)), np.zeros((1, 1))), 1.0)  # X1, X2 iid N(0, 1)
    S = subsets.custom([(("m0",), 1.0)], law.names)
    delta = theory.discrepancy(law, S)
    x1, x2, noise = np.random.default_rng(0).standard_normal((3, 10_000))
    z = x1 + 0.01 * noise  # the encoder copies m0; the decoder shows it at noise .01, and m1 at its own law
    distortion = -(norm.logpdf(x1, z, 0.01) + norm.logpdf(x2)).mean()
    assert distortion == pytest.approx(-1.77, abs=0.05)
    assert delta == pytest.approx(1.42, abs=0.01)
    with pytest.raises(InputError, match="discrete data"):
        theory.beta_gap(law, S, 0.5)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0.5, 0.4]], "sums to 0.9"),
        ([[1.5, -0.5]], r"holds -0.5 at \(0, 1\)"),
        ([[np.nan, 1]], "holds nan"),
        (1.0, "one axis per modality"),
        (np.zeros((2,) * 21), "at most"),
        ([["a", "b"]], "give probabilities"),
    ],
)
def test_bad_tables_are_named(table, message):
    with pytest.raises(InputError, match=message):
        theory.entropies(table)


def test_bad_mixtures_are_named():
    law = theory.generator("xor", 3, 2)
    with pytest.raises(InputError, match="S is over 'a'"):
        theory.discrepancy(law, subsets.mmvae(("a", "b")))
    with pytest.raises(InputError, match="the table has 3 axes, S is over 2"):
        theory.discrepancy(law.table, subsets.mmvae(("m0", "m1")))
    with pytest.raises(InputError, match="MVAE\\+"):
        theory.discrepancy(law, subsets.mvae_plus(law.names))
    with pytest.raises(InputError, match="beta is -1"):
        theory.beta_gap(law, subsets.mvae(law.names), -1)
    with pytest.raises(InputError, match="not of 'mvae'"):
        theory.corollary2(law, "m2", "mvae")
    with pytest.raises(InputError, match="unknown generator"):
        theory.generator("no")


@pytest.mark.parametrize("kind", ["random", "common_cause", "xor"])
def test_tradeoff_is_optimal_and_trains(kind):
    law = theory.generator(kind, 3, 2, seed=1)
    frontier = theory.tradeoff(law, points=5)
    assert [mix.observed for mix in frontier] == pytest.approx(np.linspace(1, 3, 5))
    assert frontier[-1].delta == pytest.approx(0, abs=1e-9)
    deltas = [mix.delta for mix in frontier]
    assert deltas == sorted(deltas, reverse=True)
    rng = np.random.default_rng(0)
    mixtures = [random_mixture(law.names, rng) for _ in range(50)]
    for S in [*mixtures, *(mix.S for mix in theory.preset_mixes(law).values())]:  # none lies below the frontier
        best = theory.best_mix(law, theory.mean_observed(S))
        assert theory.discrepancy(law, S) >= best.delta - 1e-9
        assert theory.mean_observed(best.S) == pytest.approx(theory.mean_observed(S))
    for mix in theory.tradeoff(law, points=3, least_share=0.2):
        single = {t.given: t.weight for t in mix.S.terms if len(t.given) == 1}
        assert len(single) == 3
        assert min(single.values()) >= 0.2 - 1e-9
    with pytest.raises(InputError, match="no S has 3 observed"):
        theory.best_mix(law, 3, least_share=0.2)
