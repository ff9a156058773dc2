"""The headline against records whose finding is known."""

import pytest

from polyvae.report import finding, words
from polyvae.report.reading import read_runs
from polyvae.runs.store import RunStore
from support.stores import PAPER, add_run, metrics_of

NAMES = ("m0", "m1", "m2")


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def add(store, method, coherence, distance=100.0, **fields):
    numbers = (distance, 0.2, 0.1, coherence, 0.9, 1300.0, 15.0)
    return add_run(store, method, metrics=metrics_of(numbers, NAMES) | {"coherence/chance": 0.1}, **fields)


def group_of(store):
    (group,), _ = read_runs(store)
    return group


def test_methods_carry_the_digit_wholly_partly_or_not(store):
    add_run(store, "unimodal")
    for method, coherence in {"mvae": 0.14, "mvae_plus": 0.4, "mmvae": 0.67, "mopoe": 0.76}.items():
        add(store, method, coherence, distance=400 * coherence)
    assert finding.finding(group_of(store)) == (
        "MoPoE-VAE (0.76) and MMVAE (0.67) carry the digit across modalities; MVAE+ (0.40) does so only in part; "
        "MVAE (0.14) does not"
    )
    assert finding.beside(group_of(store)) == (
        "MVAE has the best samples of m0 (Fréchet distance 56.0; MoPoE-VAE has 304). One seed cannot decide a ranking: "
        "run more seeds before you quote an order."
    )


@pytest.mark.parametrize(("coherence", "says"), [(0.54, "only in part"), (0.56, "carries the digit across modalities")])
def test_the_interval_has_to_be_on_that_side(store, coherence, says):
    """Halfway between chance (.1) and the judge's ceiling (.97) is .535; intervals are .02 to each side."""
    add(store, "mopoe", coherence)
    assert finding.finding(group_of(store)).endswith(says)


def test_every_method_is_at_the_beta_of_its_highest_coherence(store):
    for beta, coherence, distance in ((0.3, 0.8, 300.0), (1.0, 0.2, 100.0)):
        add(store, "mopoe", coherence, distance, beta=beta)
    group = group_of(store)
    assert finding.finding(group) == "MoPoE-VAE (0.80) carries the digit across modalities"
    assert finding.beside(group).startswith("Coherence and distance are each method's best over all betas.")


def test_a_beta_that_was_not_scored_does_not_stand_for_the_others(store):
    for beta, scores in ((0.3, {"label_free/against_real": -0.02}), (1.0, {})):
        add_run(store, "mopoe", metrics={"bound/distortion": 3.0} | scores, beta=beta)
    assert finding.finding(group_of(store)) == "MoPoE-VAE (-0.02) does not carry content across modalities"


def test_nothing_carried_is_said_of_all(store):
    for method in ("mvae", "mopoe"):
        add(store, method, 0.11, dataset="translated_polymnist")
    said = finding.finding(group_of(store))
    assert said == "MVAE (0.11) and MoPoE-VAE (0.11) do not carry the digit across modalities"


def test_of_many_methods_the_best_and_ones_own_are_named(store):
    for i, method in enumerate(("mvae", "mmvae", "mopoe", "mvtcae", "jmvae", "mine")):
        add(store, method, 0.9 - i / 20)
    assert finding.finding(group_of(store)) == (
        "MVAE (0.90), mine (0.65) and 4 others (0.70 to 0.85) carry the digit across modalities"
    )


def test_of_several_data_sets_the_headline_names_the_one_with_most_runs(store):
    add(store, "mopoe", 0.8)
    for method in ("mvae", "mmvae"):
        add(store, method, 0.11, dataset="translated_polymnist")
    groups, _ = read_runs(store)
    assert finding.title(groups).startswith("Translated PolyMNIST, 3 modalities: MVAE (0.11)")


def test_without_a_measure_the_headline_says_what_was_run(store):
    add_run(store, "mopoe", metrics={"bound/distortion": 3.0})
    assert finding.title([group_of(store)]) == "MoPoE-VAE on PolyMNIST"


@pytest.mark.parametrize("ceiling", [0.1, 0.08, 0.15])
def test_a_judge_that_reads_nothing_decides_nothing(store, ceiling):
    blind = {f"coherence/ceiling/{name}": ceiling for name in NAMES} | {"coherence/chance": 0.1}
    add_run(store, "mopoe", metrics=metrics_of(PAPER["mopoe"], NAMES) | blind)
    assert finding.finding(group_of(store)) == ""


@pytest.mark.parametrize(
    ("error", "coverage", "said"),
    [
        (0.31, 0.8, "MVAE fills in m1 given m0 69 % better than ridge; 80 % intervals hold what they should"),
        (1.0, 0.5, "No model fills in m1 given m0 better than ridge; some 80 % intervals are too narrow"),
        (1.2, 0.9, "No model fills in m1 given m0 better than ridge; some 80 % intervals are wider than necessary"),
    ],
)
def test_of_tables_it_is_whether_a_model_is_better_and_intervals_are_right(store, error, coverage, said):
    scores = {"m0/m1/rmse": error, "ridge/m1/rmse": 1.0, "m0/m1/coverage": coverage}
    metrics = {f"imputation/{key}": value for key, value in scores.items()}
    add_run(store, "mvae", dataset="arrays", modalities=2, metrics=metrics)
    assert finding.title([group_of(store)]) == said


def test_several_tables_are_counted(store):
    scores = {"m0/m1": 0.5, "m1/m0": 1.0}
    metrics = {f"imputation/{pair}/rmse": error for pair, error in scores.items()}
    metrics |= {"imputation/ridge/m0/rmse": 1.0, "imputation/ridge/m1/rmse": 1.0}
    add_run(store, "mvae", dataset="arrays", modalities=2, metrics=metrics)
    assert finding.finding(group_of(store)) == "MVAE fills in 1 of 2 tables better than simpler methods"


def test_ones_own_method_is_placed_between_best_and_worst(store):
    for method, coherence in {"mvae": 0.3, "mine": 0.5, "mopoe": 0.8}.items():
        add(store, method, coherence)
    said = words.findings(group_of(store))["Coherence"]
    assert "MoPoE-VAE is best with 0.80, mine is number 2 of 3 with 0.50, and MVAE is worst with 0.30." in said


def test_all_methods_of_the_paper_are_known(store):
    for method in PAPER:
        add_run(store, method)
    assert not any(series.is_own for series in group_of(store).series)
