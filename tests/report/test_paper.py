"""The paper's figures and the explorable page, against synthetic records whose numbers are known."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyvae.paper.claims import AFTER, AFTER_THE_PAPER, LATER, judge_later
from polyvae.report import figures, write_report
from polyvae.report.overview import table_1
from polyvae.report.paper import paper_figures, swept_groups
from polyvae.report.reading import read_runs
from polyvae.runs.store import RunStore
from support.stores import add_run

BETAS, SEEDS = (0.3, 1.0, 3.0), (0, 1, 2)
METHODS = ("unimodal", "mvae", "mvae_plus", "mmvae", "mopoe")
points = st.lists(st.tuples(st.floats(1, 3000), st.floats(0, 1)), min_size=1, max_size=8)


def value(method, beta, seed, modality=0, dataset="polymnist"):
    """A number that tells all of them apart."""
    return 100.0 + 50 * METHODS.index(method) + 7 * beta + 3 * seed + 20 * modality + 5 * len(dataset)


def metrics_of(method, beta, seed, dataset, count):
    found = {
        f"frechet/digits/unconditional/m{i}": value(method, beta, seed, i, dataset)
        for i in range(1 if method == "unimodal" else count)
    }
    number = value(method, beta, seed, 0, dataset) / 1000
    joint = {"coherence/leave_one_out": number, "coherence/chance": 0.1, "linear_probe/joint": number + 0.1}
    return found if method == "unimodal" else found | joint | {"log_likelihood/joint": -1000 * number}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Figures 2 to 13: sweeps over beta at M = 3, M = 2 and 5 at one beta, repeated modalities, a failed run."""
    store = RunStore(tmp_path_factory.mktemp("paper") / "runs")

    def put(method, beta, seed, dataset, count, **fields):
        metrics = metrics_of(method, beta, seed, dataset, count)
        add_run(store, method, metrics=metrics, beta=beta, seed=seed, dataset=dataset, modalities=count, **fields)

    for seed in SEEDS:
        for method in METHODS:
            for dataset in ("polymnist", "translated_polymnist"):
                for beta in BETAS:
                    put(method, beta, seed, dataset, 3)
            for count in (2, 5):
                put(method, 1.0, seed, "polymnist", count)
                put(method, 1.0, seed, "repeated_polymnist", count, background=0)
    put("mopoe", 1.0, 0, "polymnist", 3, network="resnet")  # a side experiment
    add_run(store, "mvae", error="loss is not finite at epoch 3", beta=9.0)
    return store


@pytest.fixture(scope="module")
def groups(store):
    return read_runs(store)[0]


@pytest.fixture(scope="module")
def page(store):
    return write_report(store, store.root.parent / "report")


def figure(groups, number):
    return next(found for found in paper_figures(groups) if found.number == number)


def test_all_figures_of_the_paper_are_there_in_its_layout(groups, page):
    found = {item.number: [[panel.title for panel in row] for row in item.rows] for item in paper_figures(groups)}
    both = [["PolyMNIST", "Translated PolyMNIST"]]
    three = [[f"{name}, m{i}" for i in range(3)] for name in ("PolyMNIST", "Translated PolyMNIST")]
    assert found == {
        2: both,
        3: [["PolyMNIST, β 1"]],
        4: both,
        6: both,
        7: both,
        8: three,
        11: [["one picture (0), β 1"]],
        13: [["PolyMNIST"] * 3],
    }
    for number in found:
        for suffix in ("svg", "png"):
            assert (page.parent / "figures" / f"fig{number:02d}.{suffix}").stat().st_size > 3000


def test_curves_are_means_and_deviations_over_seeds(groups):
    for panel, dataset in zip(figure(groups, 2).rows[0], ("polymnist", "translated_polymnist"), strict=True):
        assert list(panel.curves) == list(METHODS)
        for method, curve in panel.curves.items():
            assert [point.x for point in curve] == list(BETAS)
            for point in curve:
                values = [value(method, point.x, seed, 0, dataset) for seed in SEEDS]
                assert (point.mean, point.sd) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
                assert {run.config.network for run in point.runs} == {"auto"}, "the side experiment stays out"
    joint = figure(groups, 7).rows[0][0].curves
    assert "unimodal" not in joint
    assert joint["mvae"][0].mean == pytest.approx(-np.mean([value("mvae", 0.3, s) for s in SEEDS]))
    for panel in figure(groups, 13).rows[0]:
        assert list(panel.curves) == ["mvae", "mvae_plus"]


def test_a_method_at_another_setting_is_not_drawn_beside_the_others(tmp_path):
    store = RunStore(tmp_path)
    for beta in BETAS:
        for method, epochs in (("mvae", 3), ("mmvae", 3), ("mopoe", 50)):
            metrics = metrics_of(method, beta, 0, "polymnist", 3)
            add_run(store, method, metrics=metrics, beta=beta, modalities=3, epochs=epochs)
    curves = figure(read_runs(store)[0], 2).rows[0][0].curves
    assert list(curves) == ["mvae", "mmvae"]
    assert all(np.isnan(point.sd) for point in curves["mvae"]), "one seed has no spread, not one of nothing"


def test_figures_over_modalities_and_their_constant(groups):
    (panel,) = figure(groups, 3).rows[0]
    assert [point.x for point in panel.curves["mopoe"]] == [2, 3, 5]
    assert panel.constants["unimodal"].mean == pytest.approx(np.mean([value("unimodal", 1.0, s) for s in SEEDS]))
    (repeated,) = figure(groups, 11).rows[0]
    data = "repeated_polymnist"
    for point in repeated.curves["mmvae"]:
        values = [value("mmvae", 1.0, s, i, data) for s in SEEDS for i in range(int(point.x))]
        assert point.mean == pytest.approx(np.mean(values))


def test_table_1_is_measured(groups):
    rows = {row.method: row for row in table_1(swept_groups(groups))}
    distance, coherence = rows["mopoe"].measured[:2]
    assert distance.startswith(f"{np.mean([value('mopoe', 0.3, s) for s in SEEDS]):.0f} ± 3")
    assert coherence.startswith(f"{np.mean([value('mopoe', 3.0, s) for s in SEEDS]) / 1000:.2f} ±")
    assert (rows["mvae"].published, rows["mopoe"].subsampling) == ("good, poor", "yes")


@given(points)
def test_the_front_is_what_nothing_dominates(found):
    def dominated(a):
        return any(b != a and b[0] <= a[0] and b[1] >= a[1] for b in found)

    assert set(figures.front(found)) == {point for point in found if not dominated(point)}


@given(points)
def test_the_hypervolume_is_the_area_below_the_best_coherence(found):
    """Integrated over a fine grid of distances."""
    grid = (np.arange(20_000) + 0.5) / 10
    best = np.max([np.where(grid >= d, c, 0) for d, c in found], axis=0)
    assert figures.hypervolume(found) == pytest.approx(best.mean(), abs=1e-3)
    assert figures.hypervolume([(0.0, 1.0)]) == 1


def test_marks_hold_the_numbers_and_the_run_ids(store, page):
    text = page.read_text()
    marks = json.loads(re.search(r'id="marks">(.*?)</script>', text, re.S)[1])
    drawn = set(re.findall(r'id="[\w-]*?(mark-\d+)"', text))
    assert drawn == set(marks), "every mark of the figures is known, and the other way round"
    shown = {line for mark in marks.values() for line in mark["text"]}
    run_ids = {r.run_id for r in store.records() if r.is_done}
    assert {line.partition(": ")[2] for line in shown if line.startswith("seed ")} == run_ids - _alone(store)


def _alone(store):
    """Runs that no figure shows: a unimodal VAE is a line in a trade-off, and one constant of the largest M; a side
    experiment at one beta is in tables alone."""
    return {
        r.run_id for r in store.records()
        if (r.config.method == "unimodal" and r.config.modalities == 2)
        or r.config.network == "resnet"
    }  # fmt: skip


def test_the_page_judges_the_claims(page):
    text = html.unescape(page.read_text())
    rows = re.findall(r'<tr><th scope="row">(C\d+)</th>.*?<td class="verdict [^"]*">. ([a-z ]+)</td>', text)
    assert [name for name, _ in rows] == [f"C{i}" for i in range(1, 19)]
    verdicts = dict(rows)
    assert verdicts["C18"] == "does not hold", "a run became infinite"
    assert verdicts["C3"] == "not decided"


def test_the_official_mmvae_has_figure_12_to_itself(tmp_path, unpainted):
    """Beside its own unimodal VAE, and in no other figure; alone in a store, or with the runs of figure 2."""
    alone, both = RunStore(tmp_path / "alone"), RunStore(tmp_path / "both")
    for store, methods in ((alone, ()), (both, METHODS)):
        for seed in SEEDS:
            for beta in BETAS:
                for method in methods:
                    add_run(store, method, metrics=metrics_of(method, beta, seed, "polymnist", 3), beta=beta, seed=seed)
                for i, method in enumerate(("mmvae_official", "unimodal_dreg")):
                    found = {"frechet/digits/unconditional/m0": 300 - 100 * i + beta + seed, "linear_probe/joint": 0.5}
                    if method == "mmvae_official":
                        found |= {"coherence/leave_one_out": 0.4, "log_likelihood/joint": -900.0 - seed}
                    more = {"only": "m0"} if method == "unimodal_dreg" else {}
                    add_run(store, method, metrics=found, beta=beta, seed=seed, objective_samples=4, **more)
        groups = read_runs(store)[0]
        found = {item.number: item for item in paper_figures(groups)}
        panels = {panel.y: panel.curves for panel in found[12].rows[0]}
        pair = ["mmvae_official", "unimodal_dreg"]
        assert [list(curves) for curves in panels.values()] == [pair, pair[:1], pair[:1], pair]
        means = [(p.x, p.mean, p.sd) for p in panels["Fréchet distance of m0"]["unimodal_dreg"]]
        assert means == [(beta, pytest.approx(201 + beta), 1.0) for beta in BETAS]
        others = {
            m for number, item in found.items() if number != 12 for row in item.rows for p in row for m in p.curves
        }
        assert others == set(methods)
        page = write_report(store, tmp_path / "report").read_text()
        assert "Figure 12." in page
        assert 'id="claims"' in page


def test_one_beta_makes_no_figure_of_the_paper(tmp_path, unpainted):
    store = RunStore(tmp_path / "runs")
    for method in METHODS:
        add_run(store, method)
    text = write_report(store, tmp_path / "report").read_text()
    assert 'id="paper"' not in text
    assert 'id="claims"' not in text


def test_claims_after_the_paper_are_judged_where_their_runs_are(tmp_path, unpainted):
    metrics = {"bound/loss": 1.0, "bound/distortion": 1.0, "bound/rate": 0.5}
    elsewhere, store = RunStore(tmp_path / "elsewhere"), RunStore(tmp_path / "runs")
    for dataset, place in (("toy", elsewhere), ("translated_polymnist", store)):
        add_run(place, LATER, metrics=metrics, dataset=dataset, epochs=1)
    assert judge_later(elsewhere.records()) == []
    after = write_report(store, tmp_path / "report").read_text().partition(AFTER_THE_PAPER)[2]
    assert re.findall(r'<tr><th scope="row">(C\d+)</th>', after) == [claim.name for claim in AFTER]


needs_chromium = pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH")
PROBE = """<script>
const isShown = (element) => getComputedStyle(element).display !== "none";
const shown = (selector) => [...document.querySelectorAll(selector)].filter(isShown);
const mark = document.querySelector("svg .mark[data-method=mopoe]");
mark.dispatchEvent(new PointerEvent("pointerenter", { clientX: 50, clientY: 50 }));
const marks_ = [...document.querySelectorAll("svg .mark")];
document.title = JSON.stringify({
  rows: [...new Set(shown("tr[data-method]").map((e) => e.dataset.method))].sort(),
  faint: [...new Set(marks_.filter((e) => getComputedStyle(e).opacity < .5).map((e) => e.dataset.method))].sort(),
  sections: [...new Set(shown("section[data-dataset]").map((e) => e.dataset.dataset))].sort(),
  panels: [...new Set(shown("#paper figure[data-dataset]").map((e) => e.dataset.dataset))].sort(),
  tip: tip.hidden ? "" : tip.textContent,
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  requests: performance.getEntriesByType("resource").length,
  bars: shown("nav, #filters, #tip").length,
});
</script></body>"""


def browse(page, address, width, change=lambda text: text):
    probe = page.with_name("probe.html")
    probe.write_text(change(page.read_text()).replace("</body>", PROBE))
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900", "--dump-dom"]
    done = subprocess.run([*command, f"{probe.as_uri()}{address}"], capture_output=True, text=True, timeout=180)
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done.stdout, re.S)[1]))


@needs_chromium
def test_filters_hover_and_width_in_a_browser(page):
    everything = browse(page, "", 1400)
    assert (everything["rows"], everything["faint"]) == (sorted(METHODS), [])
    assert "seed 0: polymnist-mopoe" in everything["tip"]
    assert "beta" in everything["tip"]
    chosen = browse(page, "#method=mopoe,mvae&dataset=polymnist", 500)
    assert chosen["rows"] == ["mopoe", "mvae"]
    assert chosen["faint"] == ["mmvae", "mvae_plus", "unimodal"]
    assert chosen["sections"] == chosen["panels"] == ["polymnist"]
    assert everything["panels"] == ["polymnist", "repeated_polymnist", "translated_polymnist"]
    for found in (everything, chosen):
        assert (found["wide"], found["requests"]) == (0, 0)


@needs_chromium
def test_a_request_that_leaves_the_page_would_be_seen(page):
    """The count of the test above can fail."""
    leaving = browse(page, "", 1400, lambda text: text.replace("<main>", '<main><img src="http://127.0.0.1:9/x.png">'))
    assert leaving["requests"] == 1


@needs_chromium
def test_the_printed_page_fits_the_paper_and_has_no_controls(page, tmp_path):
    """The rules for print on the width of A4 between margins of 1 cm; then the file that the browser prints."""
    printed = browse(page, "", 718, lambda text: text.replace("@media print", "@media all"))
    assert (printed["wide"], printed["bars"]) == (0, 0)
    assert browse(page, "", 718)["bars"] > 0
    target = tmp_path / "page.pdf"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    subprocess.run([*command, f"--print-to-pdf={target}", page.as_uri()], capture_output=True, timeout=180, check=True)
    written = target.read_bytes()
    pages, boxes = len(re.findall(rb"/Type /Page\b(?!s)", written)), set(re.findall(rb"/MediaBox \[(.*?)\]", written))
    assert 3 <= pages <= 40
    assert len(boxes) == 1, "all pages are of one size"
