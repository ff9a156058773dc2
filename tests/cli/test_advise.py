"""`polyvae advise`: what it prints, writes and refuses."""

import json
import re

import numpy as np
import polars as pl
import pytest

from polyvae.cli import main


@pytest.fixture
def noisy(tmp_path):
    rng = np.random.default_rng([0, 1])
    a = rng.integers(0, 3, 1000)
    b = np.where(rng.random(1000) < 0.3, rng.integers(0, 3, 1000), a)
    np.savez(tmp_path / "mine.npz", **{"a": a, "b": b, "b.mask": rng.random(1000) < 0.9})
    return str(tmp_path / "mine.npz")


def test_it_prints_facts_ranking_and_commands(noisy, capsys):
    main(["advise", "--data", noisy, "--need", "likelihoods", "--threads", "1"])
    shown = capsys.readouterr().out
    assert "Need: likelihoods\n" in shown.partition("modality")[0]
    assert "classes 3" in shown
    assert "It is certain that modalities share something." in shown
    assert "Delta of mopoe" in shown
    assert f"polyvae run --data {noisy} --method mvae\n" in shown
    assert "for name in a b; do polyvae run" in shown
    assert "[docs/results.md, figure 7]" in shown


def test_delta_is_shown_where_it_bears_on_the_need_and_lines_fit_a_terminal(noisy, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal
    monkeypatch.setenv("COLUMNS", "70")
    main(["advise", "--data", noisy, "--threads", "1"])
    shown = re.sub(r"\x1b\[\??[\d;]*[a-zA-Z]", "", capsys.readouterr().out)
    lines = shown[shown.index("Need: ") :].splitlines()
    assert lines[0] == "Need: imputation, judged by coherence (there are no tables of numbers)"
    assert not any("Delta" in line for line in lines)
    commands = [line for line in lines if line.startswith(("  polyvae ", "  for name in "))]
    assert len(commands) >= 3
    assert all(re.search(rf"({noisy}|--[\w-]+ \S+|done|report)$", line) for line in commands)  # not folded
    assert max(len(line) for line in lines if line not in commands) <= 70


def test_what_looks_wrong_is_said(tmp_path, capsys):
    table = np.random.default_rng(0).standard_normal((100, 3))
    table[:, 1] = 4.0
    np.savez(tmp_path / "mine.npz", a=table, b=np.arange(100) % 3)
    main(["advise", "--data", str(tmp_path / "mine.npz"), "--need", "speed"])
    assert "Check a: " in capsys.readouterr().out


def test_it_answers_first_in_the_files_that_were_given(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((240, 2))
    y = x @ rng.standard_normal((2, 2)) + rng.standard_normal((240, 2)) * (0.0, 100.0)  # a half of y is noise
    ids = [f"cell{row}" for row in range(240)]
    for name, table in (("x", x), ("y", y)):
        columns = {f"{name}{i}": column for i, column in enumerate(table.T)}
        pl.DataFrame({"id": ids} | columns).write_csv(f"{name}.csv")
    main(["advise", "--data", "x.csv,y.csv", "--threads", "1", "--out", "advice.json"])
    answer, _, rest = capsys.readouterr().out.partition("What was measured:")
    assert re.search(r"Ridge regression explains \d+ % of the variance of x, \d+ % of the variance of y from", answer)
    explained = json.loads((tmp_path / "advice.json").read_text())["facts"]["ridge"]["explained"]
    assert explained["y"] == pytest.approx(0.5, abs=0.1)
    assert re.search("Method: mopoe_dense\n  because: ", answer)
    commands = [line.strip() for line in answer.splitlines() if line.startswith("  polyvae")]
    assert [command.split()[1] for command in commands] == ["run", "impute", "report"]
    assert commands[1] == "polyvae impute RUN --data x.csv,y.csv"
    assert f"{commands[0]}\n" not in rest
    assert "README" not in answer + rest
    assert ".npz" not in answer + rest


def test_it_writes_json_and_says_nothing(noisy, tmp_path, capsys):
    out = tmp_path / "advice.json"
    main(["advise", "--data", noisy, "--out", str(out), "--threads", "1", "--quiet"])
    content = json.loads(out.read_text())
    assert capsys.readouterr().out == ""
    assert content["need"] == "imputation"
    assert content["facts"]["sharing"] == "something"
    assert 0 < content["facts"]["known"]["a"]["lower"] < content["facts"]["known"]["a"]["upper"]
    assert content["facts"]["modalities"][1]["missing"] == pytest.approx(0.1, abs=0.05)
    assert {"method", "points", "cost", "reasons", "flags", "settings"} == set(content["advised"][0])


def test_generated_data_and_their_options(capsys):
    given = ["--dataset", "symbols", "--modalities", "3", "--only", "m0,m2", "--data-seed", "4"]
    main(["advise", *given, "--need", "speed", "--threads", "1"])
    shown = capsys.readouterr().out
    assert "m1" not in shown.partition("To compare")[0]
    (command,) = (line for line in shown.splitlines() if line.endswith("--method mmvae"))
    assert "--dataset symbols --modalities 3" in command
    assert "--only m0,m2 --data-seed 4" in command


def test_a_part_of_a_picture_gives_no_upper_end(tmp_path, capsys):
    rng = np.random.default_rng([0, 2])
    light = rng.random((300, 1, 1))
    np.savez(
        tmp_path / "pictures.npz",
        photo=np.broadcast_to(light, (300, 8, 8)) * 0.9 + 0.1 * rng.random((300, 8, 8)),
        table=np.concatenate([light[:, 0], rng.standard_normal((300, 1))], 1),
    )
    main(["advise", "--data", str(tmp_path / "pictures.npz"), "--threads", "1", "--need", "coherence"])
    shown = capsys.readouterr().out
    assert "photo at 4 x 4 pixels" in shown
    assert "unknown" in shown
    assert "Delta of" not in shown


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.arange(100) % 3}, "one modality, a; a joint model needs two"),
        ({"a": np.arange(100) % 3, "b": np.full((100, 2), np.nan)}, "'b' is missing in every training row"),
        ({"a": np.arange(20) % 3, "b": np.arange(20) % 2}, "16 training rows; advice needs at least 50"),
        (None, "missing.npz"),
    ],
)
def test_data_that_no_advice_is_given_for(arrays, message, tmp_path, capsys):
    path = tmp_path / ("missing.npz" if arrays is None else "mine.npz")
    if arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(SystemExit) as status:
        main(["advise", "--data", str(path)])
    assert status.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--data FILE, or --dataset NAME"),
        (["--dataset", "nowhere"], "unknown data set 'nowhere'"),
        (["--dataset", "symbols", "--scale", "0.5"], "no option 'scale'"),
        (["--dataset", "symbols", "--only", "m9"], "unknown modality 'm9'"),
        (["--dataset", "symbols", "--need", "beauty"], "beauty"),
    ],
)
def test_bad_arguments_end_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as status:
        main(["advise", *arguments])
    assert status.value.code == 2
    assert message in capsys.readouterr().err
