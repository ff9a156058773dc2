"""The place of a run: a folder by another name, by a path, from inside; commands that are advised work as printed."""

import re
import shlex
import shutil

import numpy as np
import pytest

from polyvae.cli import main
from polyvae.runs.record import Record


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """The folder of a run in the store `my store`, below the current folder, which also holds its data."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(3)
    z = rng.standard_normal((80, 2))
    np.savez("mine.npz", a=z + 0.1 * rng.standard_normal((80, 2)), b=z)
    main(["run", *FLAGS])
    return next((tmp_path / "my store").glob("arrays-*"))


FLAGS = shlex.split(
    "--data mine.npz --method mopoe --network mlp --epochs 1 --latent-dim 2 --batch-size 16 --threads 1 --quiet "
    "--metrics imputation --store 'my store'"
)


def test_a_renamed_run_is_scored_in_its_folder(trained, capsys):
    folder = trained.rename(trained.with_name("best_model"))
    main(["evaluate", "best_model", "--metrics", "bound", "--store", "my store"])
    record = Record.read(folder / "record.json")
    assert record.run_id == trained.name
    assert {"bound/loss", "imputation/a/b/rmse"} <= set(record.metrics)
    assert not trained.exists()
    main(["generate", "best_model", "--given", "a", "--store", "my store", "--quiet"])
    shutil.copy(folder / "config.json", "config.json")
    (folder / "config.json").write_text((folder / "config.json").read_text().replace('"epochs": 1', '"epochs": 2'))
    with pytest.raises(SystemExit):
        main(["evaluate", "best_model", "--metrics", "bound", "--store", "my store"])


@pytest.mark.parametrize("run", ["my store/{}", "{}", ".", "../{}/"])
def test_impute_says_how_calibrated_it_is_wherever_the_run_is_named_from(trained, capsys, monkeypatch, run):
    data = trained.parent.parent / "mine.npz"
    if run.startswith("."):
        monkeypatch.chdir(trained)
    main(["impute", run.format(trained.name), "--store", "my store", "--data", str(data), "--out", "filled.npz"])
    said = capsys.readouterr().out
    assert "Filling in tables" in said
    assert re.search(r"80 % intervals hold \.?[\d.]+ (to [\d.]+ )?of the truth on test rows", said)


def test_the_command_that_fit_prior_advises_works_as_printed(trained, capsys):
    main(["fit-prior", trained.name, "--store", "my store", "--components", "2"])
    advice = capsys.readouterr().out.partition("polyvae evaluate")[2]
    assert "--metrics bound " in advice  # there are no labels for coherence, no judge for distances
    main(["evaluate", *shlex.split(advice)])
    assert "prior/gmm/bound/loss" in Record.read(trained / "record.json").metrics


@pytest.mark.slow
def test_the_command_that_a_missing_prior_advises_works_as_printed(trained, capsys):
    with pytest.raises(SystemExit):
        main(["generate", trained.name, "--store", "my store", "--prior", "flow"])
    advice = capsys.readouterr().err.partition("make it with: polyvae ")[2]
    main(shlex.split(advice))
    main(["generate", trained.name, "--store", "my store", "--prior", "flow"])
