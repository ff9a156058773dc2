"""The rooms look down only, and nothing unsafe is read."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "polyvae"
# Rooms (folders and single files of the package) from the ground up; each knows only those below its own row.
LAYERS = (
    {"errors", "waiting"},
    {"schema", "escapes", "file_rows"},
    {"archives", "files", "registry", "keys", "noise"},
    {"config", "threads", "subsets", "likelihoods", "options", "plugins", "intervals"},
    {"gaussian", "text", "theory"},
    {"posteriors", "fusions"},
    {"modality", "covariate"},
    {"dataset", "priors"},
    {"attributes"},
    {"networks", "datasets"},
    {"models", "judges"},
    {"objectives", "imputation", "fitting", "training"},
    {"methods", "metrics"},
    {"pictures"},
    {"runs"},
    {"sweeps", "audits", "estimator", "app"},
    {"paper", "advice"},
    {"report"},
    {"cli"},
    {"__main__"},
)
ONLY = {  # what a room, or a part of one, is held to beyond its row
    "keys": set(),
    "config": {"errors", "schema"},
    "likelihoods": {"errors", "registry"},
    "options": {"errors"},
    "plugins": {"errors", "files", "registry"},
    "subsets": {"errors", "schema", "noise"},
    "theory": {"subsets", "errors"},
    "objectives.terms": {"errors", "objectives.typed"},
    "objectives.layout": {"errors", "models.contract", "objectives.parts", "objectives.terms"},
    "runs.record": {"config", "files", "keys", "errors", "schema"},
    "runs.store": {"config", "runs.record", "files", "errors", "schema"},
    "runs.table": {"config", "keys", "runs.record", "files", "errors", "escapes"},
    "runs.verdict": {"keys"},
    "runs.upkeep": {"runs.record", "runs.saving", "runs.store", "files", "errors"},
    "runs.trackers": {"config", "runs.record", "runs.store", "errors"},
    "runs.live": {"config", "runs.record", "runs.store", "runs.trackers", "errors"},
    "sweeps.costs": {"config", "errors", "files", "methods", "objectives", "runs.record"},
    "sweeps.executors": {"errors"},
    "paper.names": set(),
    "paper.claims": {"config", "keys", "runs.record", "paper.names"},
    "report": {
        *("config", "keys", "runs.record", "runs.store", "runs.table", "runs.verdict"),
        *("files", "archives", "errors", "escapes", "schema"),
        *("paper.claims", "paper.names"),
    },
}
FILES = sorted(SOURCE.rglob("*.py"))
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def dotted(path: Path) -> str:
    """runs/store.py -> runs.store, report/__init__.py -> report."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


MODULES = {dotted(path) for path in FILES}


def imported(path: Path) -> set[str]:
    """The polyvae modules that a file imports anywhere, dotted, below the package."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "polyvae":
            place = node.module.removeprefix("polyvae").removeprefix(".")
            inside = {f"{place}.{alias.name}".removeprefix(".") for alias in node.names}
            found |= {name if name in MODULES or not place else place for name in inside}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("polyvae.") for a in node.names if a.name.startswith("polyvae.")}
    return found


def lies_in(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def test_the_tables_name_rooms_and_modules_that_exist():
    assert set(LEVEL) == {name.split(".")[0] for name in MODULES if name != "__init__"}
    assert set(ONLY) | set().union(*ONLY.values()) <= MODULES


def test_every_way_to_import_is_seen(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import polyvae.files\nfrom polyvae import errors, RunConfig\nfrom polyvae.runs import store\n"
        "def inside():\n    from polyvae.cli.use import impute\n"
    )
    assert imported(path) == {"files", "errors", "RunConfig", "runs.store", "cli.use"}


@pytest.mark.parametrize("path", [f for f in FILES if f != SOURCE / "__init__.py"], ids=dotted)
def test_imports_look_down(path):
    module = dotted(path)
    room = module.split(".")[0]
    assert room in LEVEL, f"{room} has no place in LAYERS"
    for name in imported(path):
        other = name.split(".")[0]
        assert other == room or LEVEL[other] < LEVEL[room], f"{module} imports {name}, which is not below it"
        for place, allowed in ONLY.items():
            if lies_in(module, place) and not lies_in(name, place):
                assert any(lies_in(name, at) for at in allowed), f"{module} may import {allowed} only, not {name}"


def test_no_path_of_one_machine_is_written_down():
    root = SOURCE.parent.parent
    written = [
        path for folder in ("src", "tests", "docs", "scripts", "benchmarks") for path in (root / folder).rglob("*")
    ]
    for path in [*written, *root.glob("[!.]*.*"), root / "Makefile"]:
        if path.suffix in (".py", ".md", ".toml", ".txt", ".cff", ".yaml", ".json", ""):
            for start in ("work", "root", "home"):
                assert path.is_dir() or not re.search(rf"(?<![\w.])/{start}/", path.read_text()), (
                    f"{path} holds /{start}/"
                )


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_no_file_is_unpickled(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("torch", "save")
            assert (node.value.id, node.attr) != ("torch", "load") or path.name == "pretrained.py"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert "weights_only=True" in ast.unparse(node), "third-party weights hold tensors only"


def test_no_stream_starts_from_a_seed_of_the_user_as_it_is():
    """The user may have drawn the data from default_rng(seed): streams start from `derive_seed`, or from a list."""
    makers = {"default_rng", "manual_seed", "RandomState"}
    found = set()
    for path in FILES:
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "attr", None) in makers:
                started = call.args
            else:
                started = [call.value] if isinstance(call, ast.keyword) and call.arg == "random_state" else []
            if any(re.fullmatch(r"(.*\.)?seed", ast.unparse(value)) for value in started):
                found.add(dotted(path))
    published = "datasets.birds.cub"  # whose split is fixed; the seed orders it
    derived = "training.loop"  # seeds two generators alike
    assert found == {published, derived}
