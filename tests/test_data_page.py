"""The walks of docs/data.md, command by command, on small files of the kinds that it tells of."""

import re
import shlex
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from polyvae.cli import main

PAGE = (Path(__file__).parent.parent / "docs" / "data.md").read_text()
ROWS = 60
RNG = np.random.default_rng(4)
CELLS = [f"cell{row:02d}" for row in range(ROWS)]
RNA, PROTEIN = RNG.standard_normal((ROWS, 5)), RNG.standard_normal((ROWS, 3))
MEASURED = [row for row in range(ROWS) if row % 3]


def walk(title: str) -> tuple[list[list[str]], str]:
    """(the commands of a walk, what its .toml holds)"""
    section = re.search(rf"### {title}\n(.*?)\n##", PAGE, re.S)[1]
    commands = re.findall(r"^polyvae (.*)$", re.search(r"```sh\n(.*?)```", section, re.S)[1], re.M)
    toml = re.search(r"```toml\n(.*?)```", section, re.S)
    assert len(commands) + (toml is not None) <= 5
    return [shlex.split(command) for command in commands], toml[1] if toml else ""


def follow(title: str) -> None:
    commands, toml = walk(title)
    Path("views.toml").write_text(toml)
    for words in commands:
        run = next((folder.name for folder in Path("runs").glob("arrays-*")), "")
        words = [{"RUN": run, "50": "1"}.get(word, word) for word in words]
        main([*words, *(["--threads", "1", "--metrics", "none"] if words[0] == "run" else []), "--quiet"])
    assert (Path("report") / "index.html").is_file()


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_table_for_each_view():
    names = [f"g{i}" for i in range(5)]
    pl.DataFrame({"cell": CELLS} | dict(zip(names, RNA.T, strict=True))).write_csv("rna.csv")
    tags = {f"CD{i}": PROTEIN[MEASURED, i] for i in range(3)}
    pl.DataFrame({"cell": [CELLS[row] for row in MEASURED]} | tags).write_csv("protein.csv")
    follow("A table for each view")
    filled, codes = pl.read_csv("imputed.csv"), pl.read_csv("codes.csv")
    assert filled["cell"].to_list() == codes["cell"].to_list() == CELLS
    assert filled.columns == ["cell", *(f"rna.{name}" for name in names), *(f"protein.CD{i}" for i in range(3))]
    assert filled["protein.CD0"].gather(MEASURED).to_list() == PROTEIN[MEASURED, 0].tolist()
    assert pl.read_csv("imputed.low.csv").columns == filled.columns


def test_pictures_with_captions():
    Path("pics").mkdir()
    colours = {"red": (250, 0, 0), "blue": (0, 0, 250)}
    shown = [["red", "blue"][row % 2] for row in range(ROWS)]
    for row, colour in enumerate(shown):
        Image.new("RGB", (40 + row % 5, 36), colours[colour]).save(f"pics/{row}.png")
    captions = [f"a {colour} square seen on day {row}" for row, colour in enumerate(shown)]
    files = [f"{row}.png" for row in range(ROWS)]
    pl.DataFrame({"file": files, "caption": captions, "colour": shown}).write_csv("captions.csv")
    follow("Pictures with captions")
    with np.load("photos.npz") as made:
        assert made["photo"].shape == (20, 3, 32, 32)
        assert made[".ids"].tolist() == files[:20]
    assert Path("photos.png").is_file()
    assert Path("rows.png").is_file()


@pytest.mark.filterwarnings("ignore")  # of pandas and anndata about each other
def test_cells_with_rna_and_protein():
    anndata, mudata, pandas = (pytest.importorskip(name) for name in ("anndata", "mudata", "pandas"))
    rna = anndata.AnnData(RNA, obs=pandas.DataFrame(index=CELLS))
    protein = anndata.AnnData(PROTEIN[MEASURED], obs=pandas.DataFrame(index=[CELLS[row] for row in MEASURED]))
    mudata.MuData({"rna": rna, "protein": protein}).write_h5mu("cells.h5mu")
    follow("Cells with RNA and protein")
    assert mudata.read_h5mu("codes.h5mu").obsm["X_polyvae"].shape == (ROWS, 16)
    assert len(mudata.read_h5mu("imputed.h5mu")["protein"]) == ROWS
