"""The pages: links lead somewhere, commands parse, the Python of the README and of the theory runs."""

import doctest
import io
import re
import shlex
import tomllib
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import polyvae as pv
from polyvae.methods import Stage
from polyvae.runs.plan import make_plan

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERYWHERE = {"--plugin", "--debug"}  # flags that every command takes
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))  # `make docs` runs them, and checks their links


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing


def test_one_version_is_stated():
    """That of pyproject.toml, which `polyvae --version` prints; a release repeats it in two files."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert re.findall(r"^## \[?(\d[^] ]*)", (ROOT / "CHANGELOG.md").read_text(), re.M)[0] == version


def test_the_readme_counts_the_methods():
    """Without `custom`, which is any S of the user's."""
    from polyvae.methods import METHODS

    assert re.findall(r"(\d+) published and new methods", (ROOT / "README.md").read_text()) == [str(len(METHODS) - 1)]
    assert f"| methods | {len(METHODS) - 1}, and yours" in (ROOT / "README.md").read_text()


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


@cache
def flags_of(command):
    """What `polyvae COMMAND --help` names; an unknown command would exit with 2."""
    from polyvae.cli import main

    with pytest.raises(SystemExit) as status, redirect_stdout(io.StringIO()) as shown:
        main([command, "--help"])
    assert status.value.code == 0
    return set(re.findall(r"--[\w-]+", shown.getvalue()))


@pytest.mark.parametrize("page", [*PAGES, *TUTORIALS], ids=lambda page: page.name)
def test_commands_in_the_pages_are_understood(page):
    """Each `polyvae ...` line, with its flags."""
    for line in re.findall(r"^!?polyvae (.*?)(?:\s+#.*)?$", page.read_text().replace("\\\n", ""), re.M):
        words = shlex.split(line)
        flags = [word for word in words if word.startswith("--")]
        assert set(flags) - EVERYWHERE <= flags_of(words[0]), line


def test_the_files_of_a_run_are_listed():
    from polyvae.runs.packing import CARD, KEPT, WEIGHTS

    page = (ROOT / "docs" / "experiments.md").read_text()
    listed = " ".join(re.findall(r"^\| (`.*?`) \|", page, re.M))
    assert not [
        name for name in {*KEPT, *WEIGHTS} - {CARD} if name not in listed and f"{name.split('/')[0]}/" not in listed
    ]


def test_the_walks_through_the_architecture_are_true():
    """Every step that docs/architecture.md names is there."""
    walk = re.findall(r"^      ([a-z]\w*(?:\.\w+)+) ", (ROOT / "docs" / "architecture.md").read_text(), re.M)
    assert len(walk) >= 8
    for step in walk:
        place, _, name = step.rpartition(".")
        assert hasattr(import_module(f"polyvae.{place}"), name), step


def test_the_tables_of_the_results_are_those_of_the_records(tmp_path, monkeypatch):
    """What `make results` wrote: a record that came later, or a claim that is judged anew, is in them."""
    from polyvae.cli import main

    makefile = (ROOT / "Makefile").read_text()
    columns, kept = (re.findall(rf"{name} := (.*)", makefile)[0] for name in ("RESULTS", "KEPT"))
    monkeypatch.chdir(ROOT)
    folder = ROOT / "docs" / "results"
    for name, arguments in {
        "results.csv": ["records", "--columns", columns, "--store", "docs/results/records"],
        "claims.md": ["claims", "--store", *kept.split()],
    }.items():
        main([*arguments, "--out", str(tmp_path / name), "--quiet"])
        assert (tmp_path / name).read_text() == (folder / name).read_text(), f"run `make results`: {name} is old"


def test_the_tables_of_the_pages_are_those_of_the_records(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.chdir(ROOT)
    pages = import_module("pages")
    found = [command for page in PAGES for _, command, _ in pages.PLACE.findall(page.read_text())]
    assert sorted(found) == sorted(pages.TABLES)
    for page in PAGES:
        assert pages.anew(text := page.read_text()) == text, f"run `make results`: a table of {page.name} is old"


def test_the_share_of_tables_filled_in_well_is_that_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts")
    monkeypatch.chdir(ROOT)
    share = "{} of {}".format(*import_module("applied").met())
    for place in ("docs/applied.md", "docs/choosing.md", "src/polyvae/advice/rules.py"):
        said = re.findall(r"(\d+ of \d+) (?:cases|rows\. Before)", (ROOT / place).read_text())
        assert set(said) == {share}, place


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    block = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[0]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(block.replace("epochs=50", "epochs=2"), names)
    x, filled, low, high = (names[name] for name in ("x", "filled", "low", "high"))
    assert (filled[300:] == x[300:]).all()
    assert ((low < filled) & (filled < high))[:300, 50:].mean() > 0.99
    assert len(names["codes"]) == len(x)


@pytest.mark.slow
def test_the_readme_asks_whether_ridge_is_as_good(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    exec("".join(blocks).replace("epochs=50", "epochs=2"), {})
    assert re.search(r"from ridge on protein given rna \(error .*, ridge .*, the column mean ", capsys.readouterr().out)


def test_training_calls_an_objective_as_its_page_says(tmp_path):
    page = (
        (ROOT / "docs" / "objectives.md").read_text().partition("## An objective of your own")[2].partition("\n## ")[0]
    )
    names = {"pv": pv}
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], names)
    given = dict.fromkeys(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    seen = {}

    def objective(model, batch, S, **how):
        seen.update({"model": model, "batch": batch, "S": S} | how)
        return names["mine"](model, batch, S, **how)

    method = replace(pv.methods.METHODS["mvae"], name="mine", stages=(pv.methods.Stage(objective=objective),))
    config = pv.RunConfig(dataset="toy", modalities=2, train_size=20, test_size=10, epochs=1, metrics="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pv.methods.METHODS, "mine", method)
        pv.run(config.with_(method="mine"), tmp_path)
        assert list(seen) == list(given)[:-1], "and samples"
        patch.setitem(pv.methods.METHODS, "mine", replace(method, objective="iwae", stages=(Stage(objective=print),)))
        with pytest.raises(pv.InputError, match=", ".join(f"{name}=..." for name in list(given)[3:])):
            make_plan(config.with_(method="mine"))


def test_the_python_of_the_theory_runs_and_prints_what_the_page_says():
    result = doctest.testfile(str(ROOT / "docs" / "theory.md"), module_relative=False)
    assert result.attempted >= 10
    assert result.failed == 0
