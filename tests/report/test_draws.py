"""Strips of pictures, and what one chooses from, of runs whose draws are known."""

import json
import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser

import pytest

from polyvae.errors import InputError
from polyvae.report import draws, write_report
from polyvae.report.album import Album
from polyvae.report.reading import read_runs
from polyvae.runs import upkeep
from polyvae.runs.store import RunStore, raised
from support.stores import PAPER, add_run, metrics_of, put_draws

NAMES = ("m0", "m1", "m2")


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "runs")


@pytest.fixture
def album(tmp_path):
    return Album(tmp_path / "page", 10**6)


def add(store, method="mopoe", names=NAMES, texts=(), **fields):
    folder = store.folder(add_run(store, method, **fields))
    put_draws(folder, names, texts)
    return folder


def group_of(store):
    (group,), _ = read_runs(store)
    return group


def test_a_line_is_found_by_what_is_given(store, album):
    add(store)
    (drawn,) = draws.strips(group_of(store), album, raised).members
    assert drawn.given == ((), ("m0",), ("m1",), ("m2",), ("m0", "m1"), ("m0", "m2"), ("m1", "m2"))
    lines = [drawn.first_line("m1", given) for given in drawn.given if "m1" not in given]
    assert lines == [1, 5, 9, 13]
    assert drawn.view_box("m1", 5, 2, 10) == "0 45 90 18"
    with pytest.raises(ValueError, match="not in list"):
        drawn.first_line("m1", ("m1",))


@pytest.mark.parametrize(
    ("names", "texts", "pair", "columns"),
    [
        (NAMES, (), ("m0", "m1"), 10),
        (("image", "caption"), ("caption",), ("caption", "image"), 4),
        (("m0",), (), None, 10),
    ],
)
def test_pictures_are_shown_given_text_where_there_is_some(names, texts, pair, columns, store, album):
    add(store, names=names, texts=texts)
    found = draws.strips(group_of(store), album, raised)
    assert (found.pair, found.columns) == (pair, columns)
    assert bool(found.choices) == (pair is not None)


def test_strips_and_choices_are_on_the_page_once_and_the_page_loads_nothing(store, tmp_path):
    add(store, metrics={})
    add(store, "mvae", metrics={})
    add(store, "unimodal", names=("m0",), metrics={})
    add_run(store, "mmvae", metrics={})
    page = write_report(store, tmp_path / "page").read_text()
    assert page.count('class="strips"') == page.count("Each column on the left") == 1
    assert page.count("has one modality") == 1
    sheets = re.findall(r'<image id="([^"]+)" href="([^"]{30})', page)
    assert [uri.startswith("data:image/webp;base64,") for _, uri in sheets] == [True] * 7
    strips = page[page.index('class="strips"') : page.index('class="ask"')]
    assert set(re.findall(r'href="#([^"]+)"', strips)) <= {name for name, _ in sheets}
    (choices,) = re.findall(r'<script type="application/json">(.*?)</script>', page)
    assert [member["label"] for member in json.loads(choices)["members"]] == ["MVAE", "MoPoE-VAE"]
    assert not (tmp_path / "page/pictures").exists()


def test_sheets_beyond_the_room_of_the_page_lie_beside_it(store, tmp_path):
    folder = add(store)
    found = draws.strips(group_of(store), Album(tmp_path / "page", 0), raised)
    assert [sheet.uri for sheet in found.sheets] == [f"pictures/{folder.name}-draws-{i}.webp" for i in range(3)]
    assert all((tmp_path / "page" / sheet.uri).read_bytes()[8:12] == b"WEBP" for sheet in found.sheets)


def test_of_many_methods_ones_own_come_first(store, album, monkeypatch):
    monkeypatch.setattr(draws, "UNFOLDED", 2)
    for method, coherence in {"mvae": 0.3, "mine": 0.1, "mopoe": 0.8}.items():
        numbers = (*PAPER["mopoe"][:3], coherence, *PAPER["mopoe"][4:])
        add(store, method, metrics=metrics_of(numbers, NAMES))
    members = draws.strips(group_of(store), album, raised).members
    assert [drawn.series.method for drawn in members] == ["mine", "mopoe", "mvae"]


def test_runs_of_before_are_shown_as_before(store, tmp_path):
    add_run(store, "mopoe", samples=True, metrics={})
    page = write_report(store, tmp_path / "page").read_text()
    assert "<h3>Samples</h3>" in page
    assert 'class="strips"' not in page
    assert 'class="ask"' not in page


def test_hostile_captions_are_escaped(store, tmp_path):
    folder = add(store, names=("image", "caption"), texts=("caption",), metrics={})
    content = json.loads((folder / "draws.json").read_text())
    attack = "</script><img src=x onerror=y>"
    content["texts"]["caption"][0][0] = attack
    (folder / "draws.json").write_text(json.dumps(content))
    page = write_report(store, tmp_path / "page").read_text()
    assert attack not in page
    assert "<img src=x" not in page


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ATTACK = 'x"><image href=x onerror=y>'  # in HTML an img, in SVG an image


def elements(page):
    """How many elements of each kind a page has."""
    found = Counter()
    parser = HTMLParser()
    parser.handle_starttag = parser.handle_startendtag = lambda tag, attributes: found.update([tag])
    parser.feed(page)
    return found


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH to run the page's script")
def test_a_hostile_run_id_and_hostile_names_add_no_element(store, tmp_path):
    folder = add(store, names=(ATTACK, "constructor"), texts=("constructor",), metrics={})  # also a name in scripts
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"run_id": ATTACK}))
    folder.rename(store.root / ATTACK)
    page = write_report(store, tmp_path / "page")
    switches = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --dump-dom"
    told = subprocess.run(
        [str(CHROMIUM), *switches.split(), f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    written, shown = elements(page.read_text()), elements(told.stdout)
    assert shown["use"] > written["use"], "the script ran"
    assert (written["image"], written["img"]) == (shown["image"], shown["img"]) == (1, 0), "one sheet"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("columns", 0, "columns"),
        ("given", [["m0"]], "given is not nothing"),
        ("given", [[], ["m0"], ["m1"], ["m2"], ["m9"]], "given is not nothing"),
        ("draws", 5, "columns and 21 lines"),
        ("images", {"m0": "%%", "m1": "", "m2": ""}, "the pictures of"),
        ("images", {"m0": "iVBORw0KGgo=", "m1": "", "m2": ""}, "the pictures of"),
        ("texts", {"m3": [["a"]]}, "given is not nothing"),
    ],
)
def test_damaged_draws_are_named_and_left_out(key, value, said, store, album):
    folder = add(store)
    content = json.loads((folder / "draws.json").read_text())
    (folder / "draws.json").write_text(json.dumps(content | {key: value}))
    told = []
    assert draws.strips(group_of(store), album, told.append) is None
    (damage,) = map(str, told)
    assert f"{folder}/draws.json is damaged" in damage
    assert said in damage


def test_draws_of_another_form_are_found_by_a_check(store):
    folder = add(store)
    (folder / "draws.json").write_text('{"columns": 3}')
    assert any("draws.json is damaged" in found.problem for found in upkeep.check(store))
    with pytest.raises(InputError, match="lacks 'draws'"):
        store.draws(folder.name)
