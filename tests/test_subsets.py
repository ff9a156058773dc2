"""S: the presets of the paper, systematic draws, the rule for posteriors."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from polyvae import InputError, subsets
from polyvae.objectives import systematic_quantiles
from polyvae.subsets import Powerset, Term, conditional

NAMES = ("a", "b", "c")


def described(mixture) -> dict:
    return {(t.given, t.target): (pytest.approx(t.weight), t.prior_expert) for t in mixture.terms}


def test_presets_are_those_of_table_1_and_equation_84():
    third, seventh = 1 / 3, 1 / 7
    assert described(subsets.mvae(NAMES)) == {(NAMES, None): (1, True)}
    assert described(subsets.mmvae(NAMES)) == {((name,), None): (third, False) for name in NAMES}
    powerset = [s for size in (1, 2, 3) for s in itertools.combinations(NAMES, size)]
    assert described(subsets.mopoe(NAMES)) == {(s, None): (seventh, s == NAMES) for s in powerset}
    singles = {((name,), (name,)): (1, True) for name in NAMES}
    assert described(subsets.mvae_plus(NAMES)) == {(NAMES, None): (1, True), **singles}
    assert [subsets.mvae(NAMES).is_bound, subsets.mmvae(NAMES).is_bound, subsets.mopoe(NAMES).is_bound] == [True] * 3
    assert not subsets.mvae_plus(NAMES).is_bound


def test_tables_say_the_same_as_the_terms():
    mixture = subsets.mvae_plus(NAMES)
    assert mixture.matrix.tolist() == [[True] * 3, *torch.eye(3, dtype=torch.bool).tolist()]
    assert mixture.targets.tolist() == mixture.matrix.tolist()
    assert mixture.weights.tolist() == [1, 1, 1, 1]
    assert subsets.mmvae(NAMES).targets.all()


random_mixtures = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMES), min_size=1).map(lambda s: tuple(sorted(s))), st.floats(0.05, 1)),
    min_size=1,
    max_size=6,
    unique_by=lambda pair: pair[0],
).map(lambda pairs: subsets.custom([(s, w / sum(x for _, x in pairs)) for s, w in pairs], NAMES))


@settings(max_examples=40, deadline=None)
@given(random_mixtures, st.integers(1, 70), st.integers(0, 2**31))
def test_systematic_counts_are_floor_or_ceiling_of_the_share(mixture, batch, seed):
    u = systematic_quantiles(batch, torch.Generator().manual_seed(seed), torch.device("cpu"))
    drawn = mixture.draw(u, torch.ones(batch, 3, dtype=torch.bool))
    for row, weight in zip(mixture.matrix, mixture.weights, strict=True):
        count = int((drawn == row).all(-1).sum())
        assert batch * weight - 1 - 1e-9 < count < batch * weight + 1 + 1e-9


@pytest.mark.parametrize("mixture", [subsets.mopoe(NAMES), subsets.custom([(("a",), 0.7), (("b", "c"), 0.3)], NAMES)])
def test_counts_are_exact_in_the_mean(mixture):
    """Averaged over an even grid of u, the expected count is B w_A exactly, by integration."""
    batch, grid = 5, 2000
    order = torch.arange(batch)
    counts = torch.zeros(len(mixture.weights), dtype=torch.float64)
    for step in range(grid):
        u = ((step + 0.5) / grid + order) / batch
        drawn = mixture.draw(u, torch.ones(batch, 3, dtype=torch.bool))
        counts += (drawn[:, None] == mixture.matrix).all(-1).sum(0)
    torch.testing.assert_close(counts / grid, batch * mixture.weights, rtol=0, atol=2 / grid)


def test_every_quantile_is_uniform_and_rows_are_shuffled():
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([systematic_quantiles(8, generator, torch.device("cpu")) for _ in range(4000)])
    assert ((draws.sort(1).values * 8).floor() == torch.arange(8)).all()
    for row in draws.T:
        assert row.mean() == pytest.approx(0.5, abs=0.02)
        assert row.var() == pytest.approx(1 / 12, abs=0.006)


def own(names):
    return subsets.custom([Term(("a", "b"), 0.3, prior_expert=True), Term(("c",), 0.5), Term(names, 0.2)], names)


@pytest.mark.parametrize("make", [subsets.mvae, subsets.mmvae, own])
def test_missing_modalities_renormalise_the_terms(make):
    """Against the rule written as a loop: given AND present, empty terms dropped, the rest renormalised."""
    names = ("a", "b", "c", "d")
    mixture = make(names)
    grid = torch.arange(0.5, 20_000) / 20_000
    for present in ([True, True, False, True], [False, False, True, False], [True] * 4):
        expected: dict[tuple, float] = {}
        for row, weight, prior in zip(mixture.matrix, mixture.weights, mixture.prior_experts, strict=True):
            left = row & torch.tensor(present)
            if left.any():
                key = (*left.tolist(), bool(prior))
                expected[key] = expected.get(key, 0) + float(weight)
        total = sum(expected.values())
        draw = mixture.pick(grid, torch.tensor(present).expand(len(grid), 4))
        keys = torch.cat([draw.given, draw.prior_expert[:, None]], 1)
        kinds, counts = keys.unique(dim=0, return_counts=True)
        found = {tuple(kind.tolist()): int(n) / len(grid) for kind, n in zip(kinds, counts, strict=True)}
        assert found == {key: pytest.approx(weight / total, abs=2e-4) for key, weight in expected.items()}


def test_lazy_powerset_draws_from_the_table_of_what_is_present():
    """On an even grid of quantiles each subset, the full one with the prior expert, is as frequent."""
    names = tuple("abcd")
    u = torch.arange(0.5, 105) / 105  # 4, 3, 2, 1 modalities have 15, 7, 3, 1 subsets
    for size in range(1, 5):
        for seen in itertools.combinations(range(4), size):
            present = torch.zeros(len(u), 4, dtype=torch.bool)
            present[:, seen] = True
            draw = Powerset(names).pick(u, present)
            assert not (draw.given & ~present).any()
            found = Counter(map(tuple, torch.column_stack([draw.given[:, seen], draw.prior_expert]).tolist()))
            table = Powerset(tuple(names[i] for i in seen))
            rows = torch.column_stack([table.matrix, table.prior_experts]).tolist()
            assert found == {tuple(row): 105 // len(rows) for row in rows}


def test_large_powersets_are_drawn_but_not_listed():
    names = tuple(f"m{i}" for i in range(32))
    mixture = subsets.mopoe(names)
    u = systematic_quantiles(4096, torch.Generator().manual_seed(0), torch.device("cpu"))
    drawn = mixture.draw(u, torch.ones(4096, 32, dtype=torch.bool))
    assert drawn.any(1).all()
    assert drawn.double().mean(0) == pytest.approx(torch.full((32,), 0.5).numpy(), abs=0.05)
    with pytest.raises(InputError, match="systematic"):
        mixture.matrix  # noqa: B018
    with pytest.raises(InputError, match="exact up to 52"):
        subsets.mopoe(tuple(f"m{i}" for i in range(53)))


def test_a_list_of_every_subset_is_for_sixteen_modalities():
    assert len(subsets.every([f"m{i}" for i in range(10)]).terms) == 1023
    with pytest.raises(InputError, match="at most 16 of them, and there are 17; use --method mopoe"):
        subsets.every([f"m{i}" for i in range(17)])


def test_posteriors_follow_one_rule():
    def members(mixture, *given):
        return [(t.given, round(t.weight, 6), t.prior_expert) for t in conditional(mixture, given).terms]

    assert members(subsets.mvae(NAMES), "a", "c") == [(("a", "c"), 1, True)]
    assert members(subsets.mmvae(NAMES), "c", "a") == [(("a",), 0.5, False), (("c",), 0.5, False)]
    assert members(subsets.mopoe(NAMES), "a", "c") == [(("a", "c"), 1, False)]
    assert members(subsets.mopoe(NAMES), *NAMES) == [(NAMES, 1, True)]
    assert members(subsets.mvae_plus(NAMES), "a", "c") == [(("a", "c"), 1, True)]
    own = subsets.custom([(("a",), 0.6), (("b",), 0.2), (("a", "b", "c"), 0.2)], NAMES)
    assert members(own, "a", "b") == [(("a",), 0.75, False), (("b",), 0.25, False)]
    assert members(own, "c") == [(("c",), 1, False)]
    parts = [Term(("a", "b"), 1.0), Term(("a",), 1.0, target=("b",), prior_expert=True)]
    assert members(subsets.custom(parts, ("a", "b")), "a") == [(("a",), 1, False)], "not the term that predicts b alone"
    for wrong in ((), ("x",)):
        with pytest.raises(InputError, match="cannot condition"):
            conditional(own, wrong)


def test_json_round_trip():
    for mixture in (subsets.mopoe(NAMES), subsets.mvae_plus(NAMES), subsets.custom([(("b",), 1.0)], NAMES)):
        assert subsets.from_json(subsets.to_json(mixture)) == mixture


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([(("a",), 0.5)], "sum to 0.5"),
        ([(("a",), 1.5), (("b",), -0.5)], "-0.5"),
        ([(("a",), float("nan"))], "nan"),
        ([((), 1.0)], "at least one"),
        ([(("a", "a"), 1.0)], "once"),
        ([(("z",), 1.0)], "unknown modality 'z'"),
        ([], "no terms"),
        ([Term(("a",), 1.0, target=("q",))], "unknown modality 'q'"),
    ],
)
def test_a_set_that_is_none_is_refused(terms, message):
    with pytest.raises(InputError, match=message):
        subsets.custom(terms, NAMES)


@pytest.mark.parametrize(("modalities", "batch"), [(12, 256), (20, 64), (32, 4096)])
def test_with_more_subsets_than_rows_a_batch_still_mixes_modalities(modalities, batch):
    mixture = subsets.mopoe(tuple(f"m{i}" for i in range(modalities)))
    u = systematic_quantiles(batch, torch.Generator().manual_seed(0), torch.device("cpu"))
    drawn = mixture.draw(u, torch.ones(batch, modalities, dtype=torch.bool)).double()
    assert (drawn.mean(0) - 0.5).abs().max() < 4 * 0.5 / batch**0.5
    assert len(drawn.unique(dim=0)) == batch, "no subset twice while there are more subsets than rows"


def test_a_target_of_all_names_is_a_target_of_everything():
    full = subsets.custom([subsets.Term(("a",), 1.0, target=("b", "a"))], ("a", "b"))
    assert full.terms[0].target is None
    assert full.is_bound
    with pytest.raises(InputError, match="sum to 10"):
        subsets.custom([subsets.Term((given,), 5.0, target=("a", "b")) for given in "ab"], ("a", "b"))


def test_a_subset_stands_in_S_once():
    """Else `conditional` would take one of the two, and L_S both."""
    twice = [subsets.Term(("a", "b"), 0.5), subsets.Term(("b", "a"), 0.5, prior_expert=True)]
    with pytest.raises(InputError, match=r"\('a', 'b'\) twice"):
        subsets.custom(twice, ("a", "b"))
    apart = [subsets.Term(("a",), 1.0, target=(target,)) for target in "ab"]
    assert len(subsets.custom(apart, ("a", "b")).terms) == 2, "terms that predict a part may share what they encode"


def test_covers_says_which_rows_a_term_can_use():
    S = subsets.custom([subsets.Term(("a",), 1.0, target=("b",))], ("a", "b"))
    present = torch.tensor([[True, True], [True, False], [False, True]])
    assert S.covers(present).tolist() == [True, False, False]
    assert subsets.mopoe(("a", "b")).covers(present).all()


def test_a_table_stays_where_it_is_however_many_others_are_made():
    """A captured step goes on reading it there."""
    mixture, device = subsets.mmvae(NAMES), torch.device("meta")
    table = mixture.on(device)
    for count in range(300):
        subsets.mmvae((f"m{count}", "b")).on(device)
    assert mixture.on(device) is table


def test_the_mean_size_of_all_subsets_needs_no_table():
    for count in (1, 2, 5):
        S = subsets.mopoe([f"m{m}" for m in range(count)])
        assert S.observed == pytest.approx(float((S.weights * S.matrix.sum(-1)).sum()))
    assert subsets.mopoe([f"m{m}" for m in range(40)]).observed == pytest.approx(20)


def test_whether_the_prior_joins_terms_needs_no_table():
    for count in (1, 2, 5):
        S = subsets.mopoe([f"m{m}" for m in range(count)])
        assert S.joined_by_prior == set(S.prior_experts.tolist())
    assert subsets.mopoe([f"m{m}" for m in range(40)]).joined_by_prior == {False, True}


def test_subsets_are_numbered_by_their_bits():
    every = subsets.all_of(("a", "b", "c"))
    assert every == [("a",), ("b",), ("a", "b"), ("c",), ("a", "c"), ("b", "c"), ("a", "b", "c")]
    given = torch.tensor([[name in subset for name in "abc"] for subset in ((), *every)])
    assert subsets.number_of(given).tolist() == list(range(8))
