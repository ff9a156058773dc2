"""The report against synthetic records whose numbers are known."""

import cProfile
import html
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.paper.names import OFFICIAL
from polyvae.report import drawing, figures, grids, style, table, words, write_report
from polyvae.report.album import Album
from polyvae.report.marks import Marks
from polyvae.report.reading import read_runs
from polyvae.report.runs import condensed
from polyvae.runs.store import RunStore
from support.stores import PAPER, add_run, metrics_of, put_draws

NAMES = ("m0", "m1", "m2")
ONE_FIGURE = {"frechet/digits/unconditional/m0": 9.0, "coherence/leave_one_out": 0.5}


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


def page_of(store, tmp_path):
    return write_report(store, tmp_path / "report").read_text()


@pytest.fixture(scope="module")
def paper_report(tmp_path_factory):
    """The folder of a report on one run of each method, with grids; shared, since drawing takes seconds."""
    folder = tmp_path_factory.mktemp("paper")
    store = RunStore(folder / "runs")
    for method in PAPER:
        add_run(store, method, samples=True)
    write_report(store, folder / "report")
    return folder / "report"


def only_group(store):
    groups, _ = read_runs(store)
    assert len(groups) == 1
    return groups[0]


def paper_runs(store, **changed):
    for method, numbers in (PAPER | changed).items():
        add_run(store, method, numbers)
    return only_group(store)


def test_trade_off_holds_the_recorded_pairs(store):
    group = paper_runs(store)
    data = figures.trade_off(group)
    assert {label: [point[:3] for point in found] for label, found in data.points.items()} == {
        "MVAE": [(12.4, 0.41, 1.0)],
        "MVAE+": [(17.9, 0.55, 1.0)],
        "MMVAE": [(41.3, 0.71, 1.0)],
        "MoPoE-VAE": [(33.8, 0.78, 1.0)],
    }
    assert data.lines == {"Unimodal VAE": 11.2}
    assert (group.floor, group.ceiling) == (pytest.approx(1.3), pytest.approx(0.97))


def test_the_plane_compares_the_methods_of_figure_12_only_at_a_budget_of_the_others(store):
    paper_runs(store)
    add_run(store, "mmvae_official", PAPER["mmvae"], epochs=7)
    assert "MMVAE, official" not in figures.trade_off(only_group(store)).points
    add_run(store, "mvae", PAPER["mvae"], epochs=7)
    assert "MMVAE, official" in figures.trade_off(only_group(store)).points


def overlaps(boxes):
    """Pairs of names whose boxes overlap by more than a pixel."""
    inner = {name: box.padded(-1) for name, box in boxes.items()}
    return [(a, b) for a, b in combinations(inner, 2) if inner[a].overlaps(inner[b])]


def test_names_of_twenty_methods_are_apart_and_near_their_points(store):
    rng = np.random.default_rng(0)
    for method in [name for name in style.METHODS if name not in ("unimodal", *OFFICIAL)][:20]:
        coherence = rng.uniform(0.1, 0.9)
        add_run(store, method, (200 + 250 * coherence + 40 * rng.random(), 0.1, 0.1, coherence, 0.9, 1300.0, 15.0))
    group = only_group(store)
    data = figures.trade_off(group)
    figure = drawing.trade_off(data, group, Marks())
    figure.draw_without_rendering()
    axes = figure.axes[0]
    names = {text.get_text(): text for text in axes.texts if text.get_text() in data.points}
    assert len(names) == 20
    boxes = {name: Text.get_window_extent(text) for name, text in names.items()}
    assert overlaps(boxes) == []
    for name, box in boxes.items():
        x, y = axes.transData.transform(data.points[name][0][:2])
        gap = np.hypot(max(box.x0 - x, x - box.x1, 0), max(box.y0 - y, y - box.y1, 0))
        assert gap < 0.2 * axes.get_window_extent().width, name


def test_no_beta_hides_a_text_of_the_plane(store):
    for method, numbers in PAPER.items():
        for beta in (0.3, 1.0, 3.0):
            add_run(store, method, numbers, beta=beta)
    group = only_group(store)
    figure = drawing.trade_off(figures.trade_off(group), group, Marks())
    figure.draw_without_rendering()
    texts = {text.get_text(): text.get_window_extent() for text in figure.axes[0].texts}
    betas = [(name, box) for name, box in texts.items() if name.startswith("β")]
    assert betas
    others = [(name, box) for name, box in texts.items() if not name.startswith("β")]
    for name, box in betas:
        assert not [other for other, area in others if box.overlaps(area)], name


def test_best_beta_is_the_lowest_mean_distance_over_seeds(store):
    for beta, distances in {0.3: (20.0, 30.0), 1.0: (10.0, 41.0), 3.0: (26.0, 26.0)}.items():
        for seed, distance in enumerate(distances):
            add_run(store, "mopoe", (distance, *PAPER["mopoe"][1:]), beta=beta, seed=seed)
    (series,) = only_group(store).series
    assert series.best_beta == 0.3
    assert series.value("frechet/digits/unconditional/m0") == 25.0


def test_quality_is_compared_on_the_modality_that_most_runs_share(store):
    assert paper_runs(store).compared == ("digits", "m0")


def test_coherence_by_inputs_is_read_from_the_records(store):
    curves = figures.by_inputs(paper_runs(store))
    assert curves["MoPoE-VAE"] == [(1, pytest.approx(0.68)), (2, pytest.approx(0.78))]
    assert "Unimodal VAE" not in curves


def test_pairs_have_given_in_rows_and_self_on_the_diagonal(store):
    group = paper_runs(store)
    mopoe = group.series[-1]
    matrix = figures.pairs(mopoe, group.modalities)
    expected = [[0.86, 0.68, 0.70], [0.72, 0.84, 0.74], [0.76, 0.78, 0.82]]
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    assert figures.pairs(group.series[0], group.modalities) is None


def test_seven_modalities_have_no_heatmap(store):
    add_run(store, "mopoe", modalities=7)
    group = only_group(store)
    assert figures.pairs(group.series[0], group.modalities) is None


def test_training_curves_compare_the_same_modality(store):
    """The unimodal VAE has m0 alone: the distortion of the others is that of m0, not a mean over three modalities."""
    group = paper_runs(store)
    curves = figures.training_curves(group, "distortion")
    for series in group.series:
        recorded = [-line["log_likelihood"]["m0"] for line in series.runs[0].history]
        assert curves[series.label] == [recorded]
    assert figures.of_what(group, "distortion") == "distortion of m0 (nats)"
    losses = figures.training_curves(group, "loss")
    assert losses["MVAE"] == [[line["loss"] for line in group.series[1].runs[0].history]]
    assert "Unimodal VAE" not in losses
    assert figures.training_curves(group, "rate")["MVAE"][0][0] == pytest.approx(21.4 / 2.5)
    assert figures.training_curves(group, "loss", "validation") == {}


def test_figures_are_written_with_their_labels(paper_report):
    svg = (paper_report / "figures/trade-off-polymnist-3-modalities.svg").read_text()
    for label in (
        "MVAE+",
        "MoPoE-VAE",
        "Unimodal VAE 11.2",
        "real data 1.30",
        "judge's ceiling 0.97",
        "better",
        "β 1, likelihood scale b 0.75",
    ):
        assert label in svg
    with Image.open(paper_report / "figures/trade-off-polymnist-3-modalities.png") as image:
        assert image.size == (1120, 860)


def test_the_inline_figure_follows_the_page_colours(paper_report):
    drawn = (paper_report / "index.html").read_text().partition("<svg")[2]
    assert "var(--ink)" in drawn
    assert style.INK not in drawn


def test_ids_in_the_page_are_unique(paper_report):
    ids = re.findall(r'\bid="([^"]+)"', (paper_report / "index.html").read_text())
    assert len(ids) == len(set(ids)) > 100


def test_the_papers_ordering_is_found(store):
    text = words.ordering(paper_runs(store))
    assert text.startswith(
        "The runs show the paper's ordering: quality has Unimodal VAE and MVAE ahead of MMVAE and MoPoE"
    )
    assert "(Unimodal VAE 11.2, MVAE 12.4, MoPoE-VAE 33.8, MMVAE 41.3)" in text
    assert "(MoPoE-VAE 0.78, MMVAE 0.71, MVAE 0.41)" in text
    assert "overlap" not in text


def test_the_reverse_is_told(store):
    text = words.ordering(paper_runs(store, mvae=(50.0, *PAPER["mvae"][1:3], 0.9, *PAPER["mvae"][4:])))
    assert text.startswith("The runs do not show the paper's ordering: quality should have")
    assert "but the order is Unimodal VAE 11.2, MoPoE-VAE 33.8, MMVAE 41.3, MVAE 50.0" in text
    assert "but the order is MVAE 0.90, MoPoE-VAE 0.78, MMVAE 0.71" in text


def test_a_mixed_result_is_told(store):
    text = words.ordering(paper_runs(store, mvae=(50.0, *PAPER["mvae"][1:])))
    assert text.startswith("The runs show the paper's ordering only in coherence: quality should have")


def test_overlapping_intervals_are_told(store):
    text = words.ordering(paper_runs(store, mvae=(12.4, 0.1, 0.1, 0.69, *PAPER["mvae"][4:])))
    assert text.endswith("However, the 95 % intervals of coherence overlap.")


def test_one_side_of_the_comparison_is_no_verdict(store):
    add_run(store, "mopoe")
    assert words.ordering(only_group(store)) == ""
    add_run(store, "unimodal")
    text = words.ordering(only_group(store))
    assert text.startswith(
        "The runs show the paper's ordering, as far as it can be checked: quality has Unimodal VAE ahead"
    )
    assert "coherence cannot be checked" in text


def test_coherence_has_no_expected_order_on_translated_digits(store):
    for method in PAPER:
        add_run(store, method, dataset="translated_polymnist")
    assert "coherence" not in words.ordering(only_group(store))


def test_best_and_worst_are_named(store):
    found = words.findings(paper_runs(store))
    assert (
        "Unimodal VAE is best with 11.2, and MMVAE is worst with 41.3. Between two sets of real data it is 1.30."
        in found["Quality"]
    )
    assert "MoPoE-VAE is best with 0.78, and MVAE is worst with 0.41. The judge is right on 0.97" in found["Coherence"]


@pytest.mark.parametrize(
    ("seeds", "says"), [(1, "One seed cannot"), (3, "3 seeds; fewer than 5"), (5, "has not been tested")]
)
def test_the_caveat_counts_seeds(store, seeds, says):
    for seed in range(seeds):
        add_run(store, "mvae", seed=seed)
        add_run(store, "mopoe", seed=seed)
    assert says in words.seeds(only_group(store))


def test_methods_with_one_seed_among_more_are_named(store):
    for seed in range(2):
        add_run(store, "mvae", seed=seed)
    add_run(store, "mopoe")
    assert words.seeds(only_group(store)) == "MoPoE-VAE has one seed, which cannot decide a ranking."


def test_what_was_run_counts(store):
    text = words.what_was_run(paper_runs(store))
    assert text == (
        "5 finished runs of Unimodal VAE, MVAE, MVAE+, MMVAE and MoPoE-VAE: 20,000 training rows and 2,000 test rows; "
        "948 optimiser steps per run; beta 1; likelihood scale b 0.75; 1 seed. Training took 2 min in all."
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.03124, "0.0312"),
        (4.561, "4.56"),
        (45.61, "45.6"),
        (-402.4, "-402"),
        (1234.5, "1,234"),
        (3e-7, "3.0e-07"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert words.short(value) == text


@pytest.mark.parametrize(
    ("likelihoods", "scale"),
    [
        ({"m0": {"kind": "laplace", "scale": 0.75}, "m1": {"kind": "bernoulli"}}, "0.75"),
        ({"m0": {"kind": "laplace", "scale": 0.5}, "m1": {"kind": "normal", "scale": None}}, "m0 0.5, m1 learned"),
        ({"m0": {"kind": "categorical"}}, ""),
    ],
)
def test_the_likelihood_scale_is_read_from_the_record(store, likelihoods, scale):
    add_run(store, "mopoe", likelihoods=likelihoods)
    assert only_group(store).runs[0].likelihood_scale == scale


def test_data_sets_do_not_mix(store):
    add_run(store, "mopoe")
    add_run(store, "mopoe", modalities=5)
    add_run(store, "mopoe", dataset="translated_polymnist", scale=0.7)
    add_run(store, "unimodal", modalities=5)
    groups, _ = read_runs(store)
    assert {group.title: len(group.runs) for group in groups} == {
        "PolyMNIST, 3 modalities": 1,
        "PolyMNIST, 5 modalities": 2,
        "Translated PolyMNIST, 3 modalities, scale 0.7": 1,
    }


def test_settings_split_a_method_into_series(store):
    add_run(store, "mopoe", network="conv")
    add_run(store, "mopoe", network="resnet")
    add_run(store, "mvae", network="conv")
    assert [s.label for s in only_group(store).series] == [
        "MVAE",
        "MoPoE-VAE, network conv",
        "MoPoE-VAE, network resnet",
    ]


def test_an_unknown_method_has_its_own_name_and_colour():
    found = style.looks(["zeta", "mopoe", "alpha"])
    assert list(found) == ["mopoe", "alpha", "zeta"]
    assert found["mopoe"] == style.METHODS["mopoe"]
    assert len({look.colour for look in found.values()}) == 3


def test_the_best_of_each_column_is_marked(store):
    built = table.metrics_table(paper_runs(store))
    best = {
        column.name: [row.series.look.name for row in built.rows if row.cells[i].is_best]
        for i, column in enumerate(built.columns)
    }
    assert best["Fréchet m0"] == ["Unimodal VAE"]
    assert best["Fréchet mean"] == ["MVAE"]
    assert best["kappa"] == best["leave-one-out"] == ["MoPoE-VAE"]
    assert best["distortion"] == best["rate"] == best["ceiling"] == []


def test_a_missing_metric_is_a_dash_with_its_reason(store, paper_report):
    built = table.metrics_table(paper_runs(store))
    column = [c.name for c in built.columns].index("leave-one-out")
    assert built.rows[0].cells[column][:3] == (style.DASH, None, "it needs two modalities")
    assert "Unimodal VAE, joint, kappa and leave-one-out: it needs two modalities." in built.notes
    assert 'title="it needs two modalities">' + style.DASH + "</td>" in (paper_report / "index.html").read_text()


def test_the_new_metrics_stand_in_a_table_of_their_own(store):
    extra = {"label_free/against_real": 0.5, "linear_probe/joint": 0.9, "diversity/digits/mean": 0.3}
    extra |= {
        "precision/digits/unconditional/m0": 0.25,
        "log_likelihood/joint": -12.5,
        "kid/digits/unconditional/m0": 3,
    }
    add_run(store, "mopoe", metrics=metrics_of(PAPER["mopoe"], ("m0", "m1", "m2")) | extra)
    add_run(store, "mmvae")
    (group,), _ = read_runs(store)
    found = table.evaluation_table(group)
    assert [column.name for column in found.columns] == [
        *("precision m0", "label-free", "diversity", "probe", "log-likelihood", "KID m0"),
    ]
    (row,) = [row for row in found.rows if row.run.config.method == "mopoe"]
    assert [cell.value for cell in row.cells] == [0.25, 0.5, 0.3, 0.9, -12.5, 3]
    assert not {key for column in found.columns for key in column.keys} & {
        key for column in table.other_metrics(group).columns for key in column.keys
    }


def test_a_fitted_prior_stands_beside_the_own_one(store):
    own = metrics_of(PAPER["mopoe"], ("m0", "m1", "m2")) | {"coherence/joint": 0.2}
    distance = "frechet/digits/unconditional/m0"
    add_run(store, "mopoe", metrics=own | {"prior/gmm/coherence/joint": 0.4, f"prior/gmm/{distance}": 99.0})
    (group,), _ = read_runs(store)
    found = table.fitted_table(group)
    cells = {c.keys[0]: cell.value for c, cell in zip(found.columns, found.rows[0].cells, strict=True)}
    assert (cells["coherence/joint"], cells["prior/gmm/coherence/joint"]) == (0.2, 0.4)
    assert (cells[distance], cells[f"prior/gmm/{distance}"]) == (own[distance], 99.0)
    assert [column.name for column in found.columns[3:5]] == ["gmm: joint", "gmm: kappa"]
    assert not any(column.name.startswith("prior/") for column in table.other_metrics(group).columns)
    assert "Joint samples from a fitted prior" in write_report(store, store.root / "page").read_text()


def test_the_probe_is_drawn_by_labelled_examples(store):
    extra = {"linear_probe/examples/50": 0.5, "linear_probe/examples/1000": 0.9, "linear_probe/joint": 0.8}
    add_run(store, "mopoe", metrics=metrics_of(PAPER["mopoe"], ("m0", "m1", "m2")) | extra)
    (group,), _ = read_runs(store)
    assert figures.probe(group) == {"MoPoE-VAE": [(50, 0.5), (500, 0.8), (1000, 0.9)]}


def test_axes_are_labelled_in_plain_numbers(store, tmp_path):
    for method, distance in (("mopoe", 3.0), ("mvae", 400.0)):
        found = metrics_of(PAPER[method], ("m0", "m1", "m2")) | {
            f"frechet/digits/unconditional/m{i}": distance for i in range(3)
        }
        found |= {"linear_probe/examples/50": 0.5, "linear_probe/examples/1000": 0.9, "linear_probe/joint": 0.8}
        add_run(store, method, metrics=found)
    page = write_report(store, tmp_path).read_text()
    assert "mathdefault" not in page
    assert "1,000" in page


def test_a_collapse_is_told_in_the_summary(store, tmp_path, unpainted):
    add_run(store, "mopoe", notes={"coherence/joint": "not to be trusted: prior samples look collapsed (kappa 0.00)"})
    add_run(store, "mmvae")
    (group,), _ = read_runs(store)
    expected = "Joint coherence of MoPoE-VAE (1 run) is not to be trusted: prior samples look collapsed (kappa 0.00)."
    assert words.beware(group) == expected
    assert expected in write_report(store, tmp_path).read_text()


def test_a_number_that_is_not_to_be_trusted_is_never_the_best(store):
    trusted = metrics_of(PAPER["mopoe"], ("m0", "m1", "m2")) | {"coherence/joint": 0.2}
    add_run(store, "mopoe", metrics=trusted)
    add_run(store, "mvae", metrics=trusted | {"coherence/joint": 0.1})
    why = "not to be trusted: prior samples look collapsed"
    add_run(store, "mmvae", metrics=trusted | {"coherence/joint": 0.9}, notes={"coherence/joint": why})
    built = table.metrics_table(only_group(store))
    place = [column.name for column in built.columns].index("joint")
    cells = {row.run.config.method: row.cells[place] for row in built.rows}
    assert {method for method, cell in cells.items() if cell.is_best} == {"mopoe"}
    assert {method for method, cell in cells.items() if cell.is_doubted} == {"mmvae"}
    assert f"MMVAE, joint: {why}." in built.notes


def test_doubts_about_the_data_are_told_once(store, tmp_path, unpainted):
    for method in ("mopoe", "mmvae"):
        add_run(store, method, notes={"data/m0": "feature 2 is -999 in 12 rows.", "coherence": "switched off"})
    (group,), _ = read_runs(store)
    assert words.beware(group) == "m0: feature 2 is -999 in 12 rows."
    assert words.beware(group) in write_report(store, tmp_path).read_text()


def test_own_data_that_changed_under_one_path_do_not_mix(store):
    for seed, content in ((0, "a"), (1, "b")):
        run_id = add_run(store, "mopoe", dataset="arrays", data="mine.npz", seed=seed)
        record = store.record(run_id)
        store.finish(replace(record, resolved=replace(record.resolved, data=content)))
    assert len(read_runs(store)[0]) == 2


def test_the_users_own_sets_do_not_mix(store):
    terms = '[{"given": ["m0", "m1"], "weight": 0.3333333}, {"given": ["m2"], "weight": 0.6666667}]'
    for seed, own in enumerate((terms, "of_an_old_record.json")):
        add_run(store, "custom", numbers=PAPER["mopoe"], subsets=own, seed=seed)
    (group,), _ = read_runs(store)
    shown = ["m0+m1 0.333, m2 0.667", "of_an_old_record.json"]
    assert sorted(series.label for series in group.series) == sorted(f"custom, subsets {own}" for own in shown)


def test_the_interval_stands_beside_its_value(paper_report):
    assert "0.780 <small>[0.760, 0.800]</small>" in (paper_report / "index.html").read_text()


def test_no_metric_is_lost(store):
    group = paper_runs(store)
    other = {column.name for column in table.other_metrics(group).columns}
    conditional = {f"coherence/conditional/{g}/{t}" for g, t in permutations(group.modalities, 2)}
    assert other == {f"bound/log_likelihood/{name}" for name in group.modalities} | conditional | {
        "coherence/by_inputs/1",
        "coherence/by_inputs/2",
        "frechet/digits/floor/m1",
        "frechet/digits/floor/m2",
    }


def test_the_page_loads_nothing(paper_report):
    page = (paper_report / "index.html").read_text()
    assert len(page) < 15_000_000
    references = re.findall(r"(?:src|href|srcset|action|data)\s*=\s*[\"']([^\"']*)", page) + re.findall(
        r"url\(([^)]*)", page
    )
    assert references
    assert [r for r in references if not r.startswith(("#", "data:"))] == []
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    assert "@import" not in page


def test_grids_of_all_methods_stand_side_by_side(store):
    for method in PAPER:
        add_run(store, method, samples=True)
    kinds = grids.kinds(only_group(store))
    assert [(kind.title, len(kind.grids)) for kind in kinds if not kind.is_extra] == [
        ("Unconditional samples", 5),
        ("m1 given m0", 4),
        ("m2 given m0", 4),
        ("Reconstructions", 5),
    ]
    assert sum(kind.is_extra for kind in kinds) == 4


def test_only_the_best_beta_is_embedded(store):
    for beta, distance in {0.3: 9.0, 1.0: 8.0, 3.0: 10.0}.items():
        add_run(store, "mopoe", (distance, *PAPER["mopoe"][1:]), beta=beta, samples=True)
    paths = {grid.path.parent.parent.name for kind in grids.kinds(only_group(store)) for grid in kind.grids}
    assert paths == {add_run(store, "mopoe", (8.0, *PAPER["mopoe"][1:]), beta=1.0)}


def test_grids_beyond_the_room_of_the_page_lie_beside_it_the_folded_ones_first(store, tmp_path):
    add_run(store, "mopoe", samples=True)
    kinds = grids.kinds(only_group(store))
    everything = grids.placed(kinds, Album(tmp_path, 10**6))
    shown = [grid.path for kind in kinds if not kind.is_extra for grid in kind.grids]
    room = sum(len(everything[path].uri.partition(",")[2]) for path in shown)
    found = grids.placed(kinds, Album(tmp_path, room))
    assert {path for path, picture in found.items() if picture.uri.startswith("data:")} == set(shown)
    for path in set(found) - set(shown):
        assert (tmp_path / found[path].uri).read_bytes() == path.read_bytes()


@pytest.fixture
def few(monkeypatch):
    """Three runs of a data set count as many."""
    monkeypatch.setattr(sys.modules["polyvae.report.runs"], "MANY", 3)


def test_many_runs_are_shown_as_means_over_seeds(store, tmp_path, few, unpainted):
    for seed, distance in enumerate((10.0, 20.0, 60.0)):
        add_run(store, "mopoe", (distance, *PAPER["mopoe"][1:]), seed=seed)
    add_run(store, "mvae")
    shown = condensed(only_group(store))
    assert {run.config.method: run.seeds for run in shown.runs} == {"mopoe": 3, "mvae": 1}
    points = figures.trade_off(shown).points
    assert [point[:3] for point in points["MoPoE-VAE"]] == [(30.0, pytest.approx(0.78), 1.0)]
    assert points["MVAE"][0][0] == PAPER["mvae"][0]
    page = page_of(store, tmp_path)
    assert "4 finished runs" in page
    assert "3 seeds" in page
    rows = (tmp_path / "report" / "runs.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {record.run_id for record in store.records()}, "every run is there"


def test_of_many_means_those_of_the_lowest_distance_are_shown(store, monkeypatch, few):
    monkeypatch.setattr(sys.modules["polyvae.report.runs"], "MOST", 2)
    for beta, distance in {0.1: 30.0, 0.3: 10.0, 1.0: 20.0, 3.0: 40.0}.items():
        add_run(store, "mopoe", (distance, *PAPER["mopoe"][1:]), beta=beta)
    assert [run.config.beta for run in condensed(only_group(store)).runs] == [0.3, 1.0]


@pytest.mark.slow
def test_a_page_of_ten_thousand_runs_is_small_and_its_cost_grows_no_faster_than_the_runs(store, tmp_path):
    """Calls of Python functions stand for cost: a count is the same on every machine."""
    costs, done = {}, 0
    for count in (2_500, 10_000):
        for i in range(done, count):
            add_run(store, tuple(PAPER)[i % 5], beta=(0.03, 0.3, 1.0, 3.0, 9.0)[i // 5 % 5], seed=i // 25)
        done, profile = count, cProfile.Profile()
        page = profile.runcall(write_report, store, tmp_path / "report")
        costs[count] = sum(entry.callcount for entry in profile.getstats())
        assert page.stat().st_size < 15e6
    assert costs[10_000] < 4.4 * costs[2_500]


def test_hostile_text_is_escaped(store, tmp_path):
    attack = "<script>alert('x')</script><img src=x onerror=y>"
    add_run(store, "mopoe", metrics={"bound/rate": 1.0}, notes={"bound/distortion": attack})
    add_run(store, "mvae", metrics={"bound/distortion": 1.0})
    add_run(store, "mmvae", error=attack)
    page = page_of(store, tmp_path)
    assert attack not in page
    assert "<img src=x" not in page
    assert page.count("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;") == 3  # tooltip, note, error


def test_hostile_method_names_are_escaped_in_figures(store, tmp_path):
    add_run(store, "<b>&$x^2$<!--", metrics=ONE_FIGURE)
    page = page_of(store, tmp_path)
    assert "<b>" not in page
    assert "&lt;b&gt;&amp;$x^2$&lt;!--</text>" in page


def test_failed_runs_are_named_with_their_error(store, tmp_path, unpainted):
    add_run(store, "mopoe", metrics={"bound/rate": 1.0})
    add_run(store, "mvae", beta=32.0, seed=7, error="loss is not finite at step 12")
    page = page_of(store, tmp_path)
    assert "1 failed run" in page
    assert "mvae, beta 32, seed 7" in page
    assert "loss is not finite at step 12" in page


def test_own_data_without_judge_or_pictures(store, tmp_path):
    metrics = {"bound/loss": 25.0, "bound/distortion": 15.0, "bound/rate": 10.0}
    for method in ("mvae", "mopoe"):
        add_run(store, method, dataset="arrays", modalities=2, metrics=metrics)
    page = page_of(store, tmp_path)
    assert "MVAE 15.0 and MoPoE-VAE 15.0" in page
    assert "Training</h3>" in page
    for heading in ("Quality against coherence", "Samples</h3>", "Coherence in parts", "Fréchet"):
        assert heading not in page


def test_imputation_of_tables_is_said_first(store, tmp_path, unpainted):
    for method, error in (("mvae", 0.31), ("mopoe", 0.42)):
        scores = {"m0/m1/rmse": error, "mean/m1/rmse": 1.01, "m0/m1/coverage": 0.5 + error, "m0/m1/nll": 0.7}
        metrics = {"bound/distortion": 15.0} | {f"imputation/{key}": value for key, value in scores.items()}
        add_run(store, method, dataset="arrays", modalities=2, metrics=metrics, epochs=1)
    page = page_of(store, tmp_path)
    first = page[page.index("</h1>") :].split("<p", 2)[1]
    assert "Filling in tables: MVAE (best of 2 on these test rows) gains 69 % on m1 given m0 (error 0.310" in first
    assert "With a single seed" in first
    assert "m1 from all others: MVAE is best with 0.31, and MoPoE-VAE is worst with 0.42; the column mean has" in page
    assert "80 % intervals hold 0.81 to 0.92 of the truth." in page
    assert '<th scope="row">imputation/m0/m1/nll</th>' in page
    assert "by epoch" not in page, "a single epoch is no curve"


def test_a_table_filled_in_from_some_of_the_others_is_in_the_findings_and_the_table(store):
    """As where no test row is complete."""
    scores = {"m0/m2/rmse": 0.31, "mean/m2/rmse": 1.01, "m0/m2/coverage": 0.78}
    add_run(store, "mvae", dataset="arrays", metrics={f"imputation/{key}": value for key, value in scores.items()})
    group = only_group(store)
    assert "m2 from m0: MVAE has 0.31; the column mean has 1.01" in words.findings(group)["Imputation"]
    columns, (row,), _ = table.metrics_table(group)
    shown = {column.name: cell.value for column, cell in zip(columns, row.cells, strict=True) if "m2" in column.name}
    assert shown == {"error m2 from m0": 0.31, "by mean m2": 1.01, "interval m2 from m0": 0.78}


def test_runs_without_metrics_or_history(store, tmp_path, unpainted):
    add_run(store, "mopoe", metrics={}, notes={"coherence": "metrics were switched off"})
    page = page_of(store, tmp_path)
    assert "No metric was measured." in page
    assert "Training</h3>" not in page


def test_the_command_repeats_the_run(store):
    run_id = add_run(store, "unimodal", beta=0.3, data_dir="my data")
    text = only_group(store).runs[0].config.command
    words_of = shlex.split(text)
    assert words_of[:2] == ["polyvae", "run"]
    flags = dict(zip(words_of[2::2], words_of[3::2], strict=True))
    assert flags == {
        "--dataset": "polymnist",
        "--method": "unimodal",
        "--modalities": "3",
        "--only": "m0",
        "--train-size": "20000",
        "--beta": "0.3",
        "--epochs": "12",
        "--data-dir": "my data",
    }
    repeated = RunConfig(modalities=3, only="m0", train_size=20_000, beta=0.3, epochs=12, method="unimodal")
    assert repeated.run_id() == run_id


def test_the_same_records_give_the_same_page(store, tmp_path):
    add_run(store, "mopoe", metrics=ONE_FIGURE)
    assert page_of(store, tmp_path / "a") == page_of(store, tmp_path / "b")


def test_an_empty_store_is_refused(store, tmp_path):
    with pytest.raises(InputError, match=r"no finished run in .*runs \(there is none\)"):
        write_report(store, tmp_path / "report")


def test_a_store_of_failed_runs_is_refused(store, tmp_path):
    add_run(store, "mopoe", error="no space left")
    with pytest.raises(InputError, match=r"no finished run .*all 1 failed, the first with: no space left"):
        write_report(store, tmp_path / "report")


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", "null", '{"status": "done", "run_id": "x", "config": {"betta": 1}, "metrics": {}}']
)
def test_a_damaged_record_is_named(store, tmp_path, content, unpainted):
    path = store.folder(add_run(store, "mopoe")) / "record.json"
    path.write_text(content)
    with pytest.raises(InputError, match=re.escape(str(path))):
        write_report(store, tmp_path / "report")


def test_a_damaged_history_or_picture_is_named(store, tmp_path, unpainted):
    folder = store.folder(add_run(store, "mopoe", samples=True))
    (folder / "samples/unconditional.png").write_bytes(b"no picture")
    add_run(store, "mvae")
    assert "samples/unconditional.png is not a picture" in page_of(store, tmp_path)
    (folder / "history.jsonl").write_text('{"epoch": 1')
    page = page_of(store, tmp_path)
    assert f"{folder.name}/history.jsonl is damaged" in page
    assert "MVAE" in page, "the other run goes on"


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH to lay the page out")
def test_nothing_overflows_a_phone_on_which_one_chooses_what_is_given(store, tmp_path):
    for method in ("unimodal", "mopoe"):
        put_draws(store.folder(add_run(store, method, samples=True)), ("m0",) if method == "unimodal" else NAMES)
    put_draws(store.folder(add_run(store, "mmvae")), NAMES, draws=2)
    add_run(store, "mvae", beta=32.0, error="x" * 300)
    page = html.escape(page_of(store, tmp_path))
    # A window cannot be as narrow as a phone, a frame can.
    wrapper = tmp_path / "phone.html"
    wrapper.write_text(
        '<!doctype html><title></title><iframe style="width:400px;height:800px;border:0" '
        f'srcdoc="{page}"></iframe><script>'
        "onload = () => { const inner = document.querySelector('iframe').contentDocument, page = inner.documentElement;"
        "const answers = inner.querySelector('.answers'), told = () => answers.querySelector('caption').textContent;"
        "const said = [page.scrollWidth + ' of ' + page.clientWidth, told()];"
        "inner.querySelectorAll('.rows input')[2].click(); inner.querySelectorAll('.given input')[6].click();"
        "const first = (method) => answers.querySelector(`tr[data-method=${method}] svg`).getAttribute('viewBox');"
        "said.push(told(), first('mopoe'), first('mmvae'));"
        "document.title = said.join(' | '); }</script>"
    )
    switches = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync --hide-scrollbars "
    switches += "--disable-background-networking --disable-component-update --virtual-time-budget=3000 --dump-dom"
    told = subprocess.run(
        [str(CHROMIUM), *switches.split(), f"--user-data-dir={tmp_path / 'profile'}", wrapper.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert re.findall(r"<title>(.*?)</title>", told.stdout)[0].split(" | ") == [
        "400 of 400",
        "m1 and m2 given m0 of row 1",
        "m0 given m1 and m2 of row 3",
        f"{2 * 9 + 1} {(1 + 4 * 3) * 9 + 1} 8 8",  # of m0 the fourth thing given: nothing, m1, m2, m1 and m2
        f"{2 * 9 + 1} {(1 + 2 * 3) * 9 + 1} 8 8",  # of a method with two draws of each
    ]
