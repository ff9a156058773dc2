"""The layers look down only; files and functions stay short; nothing unsafe is read."""

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "polyvae"
LAYERS = (
    {"errors"},
    {"files"},
    {"config", "noise", "subsets", "likelihoods"},
    {"gaussian", "text", "theory", "parallel"},
    {"posteriors"},
    {"modality", "store", "checkpoint"},
    {"dataset", "priors"},
    {"attributes"},
    {"networks", "datasets", "model"},
    {"objectives", "train", "imputation"},
    {"methods", "metrics"},
    {
        "settings",
        "judges",
        "attribute_judges",
        "critics",
        "pretrained",
        "saving",
        "executors",
        "claims",
        "records",
        "upkeep",
        "trackers",
        "costs",
    },
    {"report"},
    {"splits", "fitting", "conditionals"},
    {"plan", "entropy_bounds"},
    {"evaluation", "truths", "estimates"},
    {"finished"},
    {"benchmark"},
    {"sweep", "experiments", "audits", "floors"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
ONLY = {  # narrower than their layer allows
    "report": {"config", "store", "files", "errors", "claims"},
    "records": {"config", "store", "files", "errors"},
    "upkeep": {"store", "files", "errors"},
    "trackers": {"store", "errors"},
    "claims": {"config"},
    "costs": {"config", "store"},
    "executors": {"errors"},
    "config": {"errors"},
    "likelihoods": {"errors"},
    "subsets": {"errors"},
    "theory": {"subsets", "errors"},
    "store": {"config", "files", "errors"},
}
FILES = sorted(SOURCE.rglob("*.py"))
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The polyvae modules, by their first name below the package, that a file imports anywhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "polyvae":
            rest = node.module.split(".")[1:]
            found |= {rest[0]} if rest else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("polyvae.")}
    return found


@pytest.mark.parametrize(
    "path", [f for f in FILES if f != SOURCE / "__init__.py"], ids=lambda f: str(f.relative_to(SOURCE))
)
def test_imports_look_down(path):
    here = room(path)
    assert here in LEVEL, f"{here} has no place in LAYERS"
    for name in imported(path) - {here}:
        assert LEVEL[name] < LEVEL[here], f"{here} imports {name}, which is not below it"
        assert here not in ONLY or name in ONLY[here], f"{here} may import {ONLY[here] or 'nothing'} only, not {name}"


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


@pytest.mark.parametrize("path", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_files_and_functions_are_short_and_safe(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 280
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            start = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.lineno
            assert (node.end_lineno or 0) - start <= 45, f"{node.name} is too long"
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert (node.value.id, node.attr) != ("torch", "save")
            assert (node.value.id, node.attr) != ("torch", "load") or path.name == "pretrained.py"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert "weights_only=True" in ast.unparse(node), "third-party weights hold tensors only"
