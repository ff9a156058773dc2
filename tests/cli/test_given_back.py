"""What impute gives back of observed values is what was given."""

import numpy as np
import pytest

from polyvae.cli import main
from polyvae.datasets import load
from polyvae.datasets.own.new_rows import load_like, with_given
from polyvae.errors import InputError

ROWS = 60
RNG = np.random.default_rng(1)
SEEN = RNG.random(ROWS) > 0.3
FLAGS = [
    *("--epochs", "1", "--latent-dim", "2", "--batch-size", "16", "--threads", "1", "--metrics", "none", "--quiet")
]
OTHER = RNG.random((ROWS, 2)) + 2
WORDS = ["lung", "heart", "clear", "opacity", "left", "right"]


def imputed(folder, data, new=None):
    """What `impute` writes for the rows `new` (default: the data) after training on the data."""
    for name, arrays in (("d.npz", data), ("new.npz", new or data)):
        np.savez(folder / name, **arrays)
    main(
        [
            "run",
            "--dataset",
            "arrays",
            "--data",
            str(folder / "d.npz"),
            *FLAGS,
            "--network",
            "mlp",
            "--store",
            str(folder),
        ]
    )
    run = next(folder.glob("arrays-*"))
    main(["impute", str(run), "--data", str(folder / "new.npz"), "--out", str(folder / "out.npz"), "--quiet"])
    with np.load(folder / "out.npz") as file:
        return dict(file)


COLUMNS = {
    "dates": 20230000 + RNG.integers(0, 900000, (ROWS, 2)),
    "counts": RNG.integers(0, 60, (ROWS, 1)).astype(np.uint16),
    "precise": RNG.standard_normal((ROWS, 2)) + 1e4,
    "switch": RNG.random((ROWS, 2)) > 0.5,
    "bytes": RNG.integers(0, 256, (ROWS, 1, 5, 4), dtype=np.uint8),
    "grey": RNG.random((ROWS, 1, 5, 4)),
}


def test_observed_numbers_come_back_as_they_were_given(tmp_path):
    masks = {f"{name}.mask": np.roll(SEEN, i) for i, name in enumerate(COLUMNS)}
    whole = {"id": np.arange(ROWS)[:, None] + 10**12}
    back = imputed(tmp_path, COLUMNS | masks | {"id": np.arange(ROWS)[:, None] * 10**6})
    for i, (name, given) in enumerate(COLUMNS.items()):
        seen = np.roll(SEEN, i)
        for key in (name, f"{name}.low", f"{name}.high"):
            assert (back[key][seen] == given[seen]).all(), key
        assert (back[f"{name}.sd"][seen] == 0).all()
        assert (back[f"{name}.sd"][~seen] > 0).any()
        assert np.isfinite(back[name]).all()
    assert back["id"].dtype == whole["id"].dtype  # of which nothing was missing
    assert back["bytes"].dtype == np.uint8


def test_observed_sentences_come_back_as_they_were_given(tmp_path):
    data = {
        "report": np.array([" ".join(RNG.choice(WORDS, 8)) for _ in range(ROWS)]),
        "table": RNG.random((ROWS, 2)) + 2,
    }
    given = np.array(["small pneumothorax at the apex", " ".join(RNG.choice(WORDS, 50)), "heart  clear", "", "absent"])
    mask = np.array([True, True, True, True, False])
    back = imputed(tmp_path, data, {"report": given, "report.mask": mask, "table": np.ones((5, 2))})
    assert (back["report"] == given)[:4].all()
    assert (back["report.draws"] == given[:, None])[:4].all()
    assert back["report"][4] != "absent"


def test_what_is_filled_in_stands_beside_what_was_given():
    filled = np.array([[0.5, 1.5], [2.5, 3.5]], np.float32)
    both = with_given(filled, np.array([[7, 2**40 + 1], [0, 0]]), np.array([True, False]))
    assert both.dtype == np.float64
    assert both.tolist() == [[7, 2**40 + 1], [2.5, 3.5]]
    assert with_given(filled, np.array([[1, 2], [3, 4]]), np.array([True, True])).dtype == np.int64
    assert with_given(np.array(["blue", "red"]), np.array(["", "green"]), np.array([False, True])).tolist() == [
        "blue",
        "green",
    ]


def test_what_is_filled_in_has_the_digits_of_its_own_precision():
    """In 64 bits, .1 of 32 bits would else be .10000000149011612, which is kept where it was given."""
    filled = (RNG.standard_normal((50, 2)) * 10.0 ** RNG.integers(-20, 20, (50, 2))).astype(np.float32)
    filled[0] = 0.1
    back = with_given(filled, np.full((50, 2), 0.10000000149011612), np.arange(50) == 7)
    assert back[7].tolist() == [0.10000000149011612] * 2
    unseen = np.arange(50) != 7
    assert back[unseen].tolist() == [[float(str(value)) for value in row] for row in filled[unseen]]
    assert np.array_equal(back[unseen].astype(np.float32), filled[unseen])


def test_integers_that_no_float_keeps_are_refused_beside_missing_ones():
    trained = load("arrays", data={"x": RNG.standard_normal((ROWS, 1)), "y": RNG.standard_normal((ROWS, 1))}).modalities
    given = {"x": np.full((2, 1), 2**53 + 1), "x.mask": np.array([True, False]), "y": np.ones((2, 1))}
    with pytest.raises(InputError, match=r"beyond 2\^53"):
        load_like(given, trained)
