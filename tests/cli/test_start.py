"""A light start: what is imported at which step, lazy names that are all there, help that does not need the code."""

import ast
import inspect
import json
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

import polyvae
from polyvae import cli
from polyvae.cli import COMMANDS, advise, main, runs
from polyvae.cli.grouped import GROUPS
from polyvae.config import DataOptions, RunConfig, flag

RARE = {
    "jinja2",
    "matplotlib",
    "pandas",
    "polars",
    "scipy.optimize",
    "scipy.stats",
    "zuko",
}  # what training, scoring and sweeping do without
TOY = "run --dataset toy --modalities 2 --train-size 40 --test-size 20 --batch-size 16 --epochs 1 --latent-dim 3"
STEPS = f"""
import json, sys, tempfile
from contextlib import redirect_stdout, suppress

def packages():
    parts = {{"scipy.optimize", "scipy.stats"}} & set(sys.modules)
    return sorted({{name.split(".")[0] for name in sys.modules}} | parts)

import polyvae
imported = packages()
from polyvae.cli import main
with suppress(SystemExit), redirect_stdout(sys.stderr):
    main(["--help"])
helped = packages()
from polyvae import RunConfig
from polyvae.runs.plan import make_plan
make_plan(RunConfig(dataset="toy", modalities=2, train_size=40, test_size=20, latent_dim=3, metrics="none"))
has_compiler = "torch._dynamo" in sys.modules
main([*"{TOY}".split(), "--metrics", "none", "--quiet", "--store", tempfile.mkdtemp()])
from polyvae.cli import data, stores, sweeps, theory, use
print(json.dumps([imported, helped, packages(), has_compiler]))
"""


def test_packages_are_imported_where_they_are_used():
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True)
    *found, has_compiler = json.loads(done.stdout)
    imported, helped, trained = map(set, found)
    assert "fit-prior" in done.stderr
    assert not (imported | helped) & {*RARE, "numpy", "rich", "scipy", "sklearn", "torch"}
    assert "torch" in trained
    assert not trained & {*RARE, "sklearn"}
    assert not has_compiler, "planning takes a hundredth of the second that its import takes"


def test_type_checkers_see_the_names_that_there_are():
    tree = ast.parse(Path(polyvae.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert {*declared, "__version__"} == set(polyvae.__all__) <= set(dir(polyvae))
    for name, module in declared.items():
        home = import_module(f"polyvae.{name}" if module == "polyvae" else module)
        assert getattr(polyvae, name) is (home if module == "polyvae" else getattr(home, name))
    with pytest.raises(AttributeError, match="'polyvae' has no attribute 'nothing'"):
        polyvae.nothing  # noqa: B018


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_read_from_the_source(name):
    assert inspect.getdoc(cli._stub(name)) == inspect.getdoc(cli._function(name)).partition("\n\n")[0]


def test_alone_it_shows_first_steps_that_are_commands(capsys):
    main([])
    shown = capsys.readouterr().out
    steps = re.findall(r"^  polyvae (\S+)(.*?)  ", shown, re.M)
    assert 3 <= len(steps) <= len(shown.splitlines()) <= 10
    for command, rest in steps:
        with pytest.raises(SystemExit) as status:
            main([command, "--help"])
        assert status.value.code == 0
        assert set(re.findall(r"--\S+", rest)) <= set(re.findall(r"--[\w-]+", capsys.readouterr().out))


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"polyvae {polyvae.__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "run --metric none",
            "polyvae run has no flag --metric; did you mean --metrics? `polyvae run --help` explains",
        ),
        ("run --draws=3", "polyvae run has no flag --draws, unlike polyvae impute; `polyvae run --help` explains"),
        ("advise --store runs", "polyvae advise has no flag --store, unlike polyvae run and "),
        ("run --epochs ten", "Error parsing --epochs: no type matching INT could be instantiated from ['ten']; "),
        ("run --precision fp3", "invalid choice 'fp3' for argument '--precision'. Expected one of ('fp32', 'bf16');"),
        ("impute RUN", "Missing from polyvae impute: --data STR The rows"),
        ("run --dataset toy more", "Unrecognized options: more; `polyvae run --help` explains"),
        ("--quik", "Unrecognized options: --quik; `polyvae --help` explains"),
        ("sweep quik", "no experiment 'quik'; did you mean quick? Or choose one of quick, "),
        ("run --dataset toy --metrics imputatio", "--metrics names 'imputatio'; did you mean imputation? Or "),
    ],
)
def test_a_mistyped_word_is_one_line_with_what_was_meant(words, said, capsys):
    with pytest.raises(SystemExit) as status:
        main(words.split())
    assert status.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"polyvae: {said}")
    assert error.count("\n") == 1


@pytest.mark.parametrize(("command", "flags"), [("run", runs.Flags), ("advise", advise.Flags), ("data", DataOptions)])
def test_help_shows_every_setting_once_and_what_most_runs_need_first(command, flags, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    shown = re.findall(r"^  (--[a-z]\S*)", capsys.readouterr().out, re.M)
    assert len(shown) == len(set(shown))
    assert {flag(field.name) for field in fields(flags)} <= set(shown)
    assert {field.name for field in fields(RunConfig)} == {name for _, names in GROUPS.values() for name in names}
    assert shown.index("--data") < shown.index("--label") < shown.index("--modalities")


def test_commands_may_be_written_with_underscores(capsys):
    with pytest.raises(SystemExit) as status:
        main(["fit_prior", "--help"])
    assert status.value.code == 0
    assert "--components" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "nearest"), [("runn", " did you mean run?"), ("fitprior", " did you mean fit-prior?"), ("xyz", "")]
)
def test_an_unknown_command_is_one_line_with_the_nearest_one(word, nearest, capsys):
    with pytest.raises(SystemExit) as status:
        main([word, "--data", "x.csv"])
    assert status.value.code == 2
    said = f"polyvae: there is no command {word!r};{nearest} `polyvae --help` lists all\n"
    assert capsys.readouterr().err == said


def test_run_alone_asks_for_data_and_trains_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as status:
        main(["run"])
    assert status.value.code == 2
    assert "which data? Your own: polyvae run --data FILE" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            "run --data a.csv --beta 2 --data b.csv --seed 1 --data=c.csv",
            "run --beta 2 --seed 1 --data a.csv,b.csv,c.csv",
        ),
        ("impute --data=a.csv b.csv RUN --draws 5", "impute RUN --draws 5 --data a.csv,b.csv"),
        ("impute --data a.csv arrays-beta0.5-a1", "impute --data a.csv arrays-beta0.5-a1"),
        ("run --data a.csv b.csv --data", "run --data a.csv b.csv --data"),
        ("run --data=a.csv --data-seed 2", "run --data=a.csv --data-seed 2"),
        ("run --data a.csv --data", "run --data a.csv --data"),
        ("data info", "data info"),
    ],
)
def test_several_files_of_data_are_joined(given, expected):
    assert cli._with_all_data(given.split()) == expected.split()
