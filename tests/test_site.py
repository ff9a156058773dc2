"""The documentation site: docstrings become what Sphinx reads; the built pages open in a browser, offline."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="needs the extra [docs]")
ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPENED = (
    *("index.html", "data.html", "results.html", "gallery.html", "theory.html", "tutorials/tables.html"),
    *("methods/index.html", "methods/mvtcae.html", "api/index.html", "project/plugins.html"),
)
PROBE = """<script>addEventListener("load", () => setTimeout(() => {
  document.title = JSON.stringify({
    heading: document.querySelector("h1")?.innerText,
    broken: [...document.images].filter((e) => e.complete && e.naturalWidth == 0).map((e) => e.src),
    outside: performance.getEntriesByType("resource").map((e) => e.name).filter((name) => !name.startsWith("file:")),
    wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    found: document.querySelectorAll("ul.search li").length,
  });
}, 1500));</script></body>"""


@pytest.fixture
def docstrings(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
    import docstrings

    return docstrings


def test_a_docstring_keeps_its_names_formulas_and_lists(docstrings):
    from docutils.core import publish_doctree

    lines = """The value of `x*y`, |A| and w_ at most, `register`ed.

    log p(X) >= E { log p(u) * 2 }

weight: of X, or one of
- a *first* case
- a second
mask: Bool (batch,).""".splitlines()
    text = "\n".join(docstrings._converted(lines, frozenset({"weight", "mask"})))
    tree = publish_doctree(text, settings_overrides={"halt_level": 2, "report_level": 2})
    assert [node.astext() for node in tree.findall() if node.tagname == "literal_block"] == [
        "log p(X) >= E { log p(u) * 2 }"
    ]
    assert [node.astext() for node in tree.findall() if node.tagname == "list_item"] == ["a *first* case", "a second"]
    assert [node.astext() for node in tree.findall() if node.tagname == "strong"] == ["weight", "mask"]
    assert tree.astext().startswith("The value of x*y, |A| and w_ at most, registered.")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built as `make docs` builds it, except that notebooks are not run."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(place / "doctrees")]
    command += ["-D", "nb_execution_mode=off", "-D", "suppress_warnings=ref.python,myst-nb.lexer"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    told = subprocess.run(
        [*command, str(ROOT / "docs"), str(place / "html")], capture_output=True, text=True, env=environment
    )
    assert told.returncode == 0, told.stderr[-3000:]
    return place / "html"


def browse(page, width, query=""):
    """What the page is like in a window of this width."""
    probe = page.with_name(f"probe-{page.name}")
    probe.write_text(page.read_text().replace("</body>", PROBE))
    switches = "--headless --no-sandbox --disable-gpu --disable-background-networking --virtual-time-budget=20000"
    command = [str(CHROMIUM), *switches.split(), f"--window-size={width},900", "--dump-dom", f"{probe.as_uri()}{query}"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=180)
    return json.loads(html.unescape(re.findall(r"<title>(\{.*?\})</title>", told.stdout, re.S)[0]))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
@pytest.mark.parametrize("name", OPENED)
def test_a_page_opens_offline_and_fits(site, name):
    for width in (1280, 500):
        seen = browse(site / name, width)
        assert seen.get("heading")
        assert (seen["broken"], seen["outside"], seen["wide"]) == ([], [], 0), f"{name} at {width}"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
def test_the_search_finds_what_there_is_and_nothing_else(site):
    assert browse(site / "search.html", 1280, "?q=coherence")["found"] >= 5
    assert browse(site / "search.html", 1280, "?q=zyzzyva")["found"] == 0


@pytest.mark.slow
def test_every_method_and_public_name_has_its_place(site):
    import polyvae
    from polyvae.methods import METHODS

    for name in METHODS:
        assert f"<h1>{name}" in (site / "methods" / f"{name}.html").read_text()
    listed = (site / "api" / "index.html").read_text()
    for name in polyvae.__all__:
        assert name.startswith("__") or f"polyvae.{name}" in listed or f"pv.{name}" in listed
