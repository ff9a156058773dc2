"""The user's own arrays: what is guessed, how it is split and scaled, and every refusal."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from polyvae.datasets import load
from polyvae.errors import InputError
from polyvae.likelihoods import Bernoulli, BinnedLaplace, Categorical, Laplace, Likelihood, Normal

load_arrays = partial(load, "arrays")
RNG = np.random.default_rng(0)
ROWS = 40
TABLE = RNG.standard_normal((ROWS, 3)) * (0.1, 5, 1) + (3, 0, -100)
ONE_HOT = np.eye(4)[RNG.integers(0, 4, ROWS)]


@pytest.mark.parametrize(
    ("array", "shape", "likelihood"),
    [
        (RNG.integers(0, 256, (ROWS, 6, 5), dtype=np.uint8), (1, 6, 5), Laplace(0.75)),
        (RNG.integers(0, 256, (ROWS, 3, 6, 5), dtype=np.uint8), (3, 6, 5), Laplace(0.75)),
        (RNG.random((ROWS, 3, 6, 5)), (3, 6, 5), Laplace(0.75)),
        (TABLE, (3,), Normal(None)),
        (TABLE[:, 0].astype(np.float16), (1,), Normal(None)),
        (RNG.integers(0, 90, (ROWS, 3)), (3,), Normal(None)),
        (RNG.integers(0, 256, (ROWS, 3), dtype=np.uint8), (3,), Normal(None)),
        (np.arange(ROWS) % 4, (4,), Categorical()),
        (ONE_HOT, (4,), Categorical()),
        (RNG.integers(0, 2, (ROWS, 30)), (30,), Bernoulli()),
        (RNG.random(ROWS) > 0.5, (1,), Bernoulli()),
    ],
)
def test_guesses(array: np.ndarray, shape: tuple[int, ...], likelihood: Likelihood) -> None:
    data = load_arrays(data={"x": array}, test_size=1)
    (modality,) = data.modalities
    assert (modality.shape, modality.likelihood) == (shape, likelihood)
    assert (modality.transform is not None) == isinstance(likelihood, Normal)
    rows = load_arrays(data={"x": array, "row": np.arange(ROWS)[:, None]}, test_size=1).values["row"].long()[:, 0]
    values = data.values["x"].double().numpy()
    kept = array[rows].astype(float).reshape(ROWS - 1, -1)
    assert np.allclose(
        values.reshape(ROWS - 1, -1), kept if array.ndim > 1 or shape == (1,) else np.eye(4)[array[rows]]
    )


def test_tensors_and_files_give_the_same_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=TABLE, label=np.arange(ROWS))
    memory = load("arrays", data={"x": torch.from_numpy(TABLE), "label": torch.arange(ROWS)})
    file = load("arrays", data=tmp_path / "own.npz")
    assert memory.fingerprint == file.fingerprint


@pytest.mark.parametrize("key", ["label", "labels"])
def test_splits_are_disjoint_and_complete(key: str) -> None:
    arrays = {"x": TABLE, key: np.arange(ROWS)}
    train, test = (load_arrays(data=arrays, split=split, seed=3) for split in ("train", "test"))
    assert (len(train), len(test)) == (32, 8)
    assert sorted(train.labels.tolist() + test.labels.tolist()) == list(range(ROWS))
    assert load_arrays(data=arrays, split="test", seed=4).labels.tolist() != test.labels.tolist()
    assert load_arrays(data=arrays, split="train", size=5, seed=3).labels.tolist() == train.labels[:5].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_test_rows_do_not_depend_on_how_the_same_seed_drew_the_data(seed: int) -> None:
    """`default_rng(seed)` is the user's too: by its uniforms half of the rows are of class 1, or all were sorted."""
    rows = 2000
    drawn = {
        "coin": np.random.default_rng(seed).random(rows) < 0.5,
        "sorted": np.arange(rows)[np.random.default_rng(seed).random(rows).argsort()] < rows // 2,
        "shuffled": np.random.default_rng(seed).permutation(rows) < rows // 2,
    }
    for how, label in drawn.items():
        arrays = {"a": np.ones((rows, 2)) + RNG.normal(size=(rows, 2)), "label": label.astype(int)}
        share = float(load_arrays(data=arrays, split="test", seed=seed).labels.double().mean())
        assert abs(share - label.mean()) < 4 * 0.5 / np.sqrt(rows / 5), how


def test_standardisation_is_fitted_on_present_training_rows_and_inverts() -> None:
    table, mask = np.column_stack([TABLE, np.full(ROWS, 7.0)]), RNG.random(ROWS) > 0.3
    table[~mask] = np.nan
    arrays = {"x": table, "x.mask": mask, "row": np.arange(ROWS)[:, None]}
    train, test = load_arrays(data=arrays), load_arrays(data=arrays, split="test")
    used = train.values["row"].long()[:, 0].numpy()
    scaler = StandardScaler().fit(table[used][mask[used]])
    assert train.modalities[0].transform == test.modalities[0].transform
    for data in (train, test):
        rows = data.values["row"].long()[:, 0].numpy()
        seen = mask[rows]
        batch = data.batch(slice(None))
        np.testing.assert_allclose(batch.values["x"].numpy()[seen], scaler.transform(table[rows])[seen], atol=2e-4)
        assert bool((batch.values["x"].numpy()[~seen] == 0).all())
        assert batch.present[:, 0].tolist() == seen.tolist()
        back = data.modalities[0].to_original(batch.values["x"]).numpy()
        np.testing.assert_allclose(back[seen], table[rows][seen], rtol=1e-5)


@given(st.integers(2, 60), st.data())
def test_every_split_keeps_all_rows(rows: int, draw: st.DataObject) -> None:
    test_size = draw.draw(st.integers(1, rows - 1))
    arrays = {"x": np.zeros((rows, 1)), "label": np.arange(rows)}
    parts = [load_arrays(data=arrays, split=split, test_size=test_size).labels.tolist() for split in ("train", "test")]
    assert len(parts[1]) == test_size
    assert sorted(parts[0] + parts[1]) == list(range(rows))


def test_description_beside_the_file_overrides_the_guess(tmp_path: Path) -> None:
    image = RNG.integers(0, 256, (ROWS, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "own.npz", x=TABLE, picture=image, kind=np.arange(ROWS) % 3)
    settings = {
        "x": {"likelihood": "laplace", "scale": 0.2, "weight": 3, "network": "mlp"},
        "picture": {"likelihood": "laplace_8bit", "scale": None},
        "kind": {"likelihood": "normal"},
    }
    (tmp_path / "modalities.json").write_text(json.dumps(settings))
    data = load("arrays", data=str(tmp_path / "own.npz"))
    x, picture, kind = data.modalities
    assert (x.likelihood, x.weight) == (Laplace(0.2), 3)
    assert picture.likelihood == BinnedLaplace(None)
    assert (kind.likelihood, kind.shape) == (Normal(None), (1,))
    assert data.info["networks"] == {"x": "mlp"}
    assert data.info["description"]["x"] == "table (3,), laplace(0.2), standardised, weight 3"


def test_absent_classes_may_hold_anything() -> None:
    kind, mask = np.arange(ROWS) % 3, np.arange(ROWS) % 2 == 0
    kind[~mask] = -1
    data = load_arrays(data={"kind": kind, "kind.mask": mask, "label": np.arange(ROWS), "x": TABLE})
    for row, value, seen in zip(data.labels.tolist(), data.values["kind"], data.present[:, 0], strict=True):
        assert value.tolist() == (np.eye(3)[kind[row]].tolist() if seen else [0, 0, 0])


def with_gap(row: int) -> np.ndarray:
    table = TABLE.copy()
    table[row, 1] = np.inf
    return table


SECOND_ABSENT = np.arange(ROWS) != 2
REFUSALS = [
    ({"x": TABLE, "x.masks": SECOND_ABSENT}, "unknown key 'x.masks'"),
    ({"x": TABLE, "y.mask": SECOND_ABSENT}, "unknown key 'y.mask'"),
    ({"x": TABLE, "label": np.arange(ROWS), "labels": np.arange(ROWS)}, "both 'label' and 'labels'"),
    ({"label": np.arange(ROWS)}, "no modality"),
    ({"x": TABLE, "y": TABLE[:-1]}, "'y' has 39 rows but 'x' has 40"),
    ({"x": TABLE, "x.mask": SECOND_ABSENT[:-1]}, "'x.mask' has 39 rows"),
    ({"x": TABLE, "label": np.arange(ROWS - 1)}, "'label' has 39 rows"),
    ({"x": TABLE[:0]}, r"'x' has shape \(0, 3\)"),
    ({"x": np.array(["a"] * ROWS)}, "'x' is 'a' in every row"),
    ({"x": np.array([f"a{i}" for i in range(ROWS)])}, "40 different words in 40 rows.*under the key `.ids`"),
    ({"x": np.array([{}] * ROWS)}, "'x' has dtype object"),
    ({"x": TABLE.astype(complex)}, "'x' has dtype complex128"),
    (
        {"x": np.zeros(60, [("age", "f4"), ("sex", "i4")])},
        "'x' holds named columns .age, sex.; give each as an array",
    ),
    ({"x": [[1.0, 2.0], [3.0]]}, "'x' is not a rectangular array"),
    ({"x": with_gap(11)}, "'x', row 11: 1 of 3 values are infinite.*give a mask 'x.mask'"),
    ({"x": with_gap(11), "x.mask": SECOND_ABSENT, "y": TABLE}, "'x', row 11"),
    ({"x": TABLE * 1e39}, "beyond float32"),
    ({"x": TABLE, "x.mask": SECOND_ABSENT}, "row 2 has no observed modality"),
    ({"x": TABLE, "x.mask": SECOND_ABSENT.astype(int)}, r"'x.mask' is int64.*must be Bool \(40,\)"),
    ({"x": TABLE, "x.mask": np.zeros(ROWS, bool), "y": TABLE}, "'x' is missing in every training row"),
    ({"x": TABLE, "label": TABLE[:, 0]}, "'label' is float64"),
    ({"x": np.arange(ROWS) - 1}, "classes 'x' run from -1 to 38"),
    ({"x": np.arange(ROWS) * 1000}, "convert to float if they are quantities"),
    ({"x": np.zeros((ROWS, 8, 8, 3), np.uint8)}, r"channels last; use transpose\(0, 3, 1, 2\)"),
    ({"x": np.zeros((ROWS, 1, 2, 3, 4))}, "has 5 axes"),
    ({"x": TABLE.reshape(ROWS, 1, 3)}, "give uint8, or float in"),
    ({"x": 1.7e9 + np.arange(ROWS, dtype=float)[:, None]}, "feature 0 varies by 11.* subtract a constant"),
    ({"my table": TABLE}, "modality name 'my table'"),
    ({"x": TABLE[:1]}, "test_size 1 of 1 rows must leave at least one row"),
]


@pytest.mark.parametrize(("arrays", "message"), REFUSALS)
def test_refusals(arrays: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_arrays(data=arrays)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"z": {}}, "describes 'z', but the data hold x"),
        ({"x": {"sclae": 1}}, "unknown setting 'sclae'; settings are likelihood"),
        ({"x": "normal"}, "expected settings"),
        (
            {"x": {"likelihood": "poisson"}},
            "likelihood 'poisson' does not suit modality 'x'; choose one of laplace, normal",
        ),
        ({"x": {"likelihood": "categorical"}}, "'categorical' does not suit"),
        ({"x": {"scale": "wide"}}, "scale 'wide' must be a number"),
        ({"x": {"scale": -1}}, "scale -1 must be a finite number above 0"),
        ({"x": {"weight": 0}}, "weight 0 of modality 'x'"),
        (["x"], "must map each modality name"),
    ],
)
def test_wrong_descriptions(settings: dict, message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=TABLE)
    (tmp_path / "modalities.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=message):
        load("arrays", data=tmp_path / "own.npz")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file .*none.npz"):
        load("arrays", data=tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InputError, match=r"text.npz is not an .npz file"):
        load("arrays", data=tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", TABLE)
    with pytest.raises(InputError, match="single array"):
        load("arrays", data=tmp_path / "one.npy")
    np.savez(tmp_path / "objects.npz", x=np.array([None, 1], dtype=object))
    with pytest.raises(InputError, match=r"'x' in .*objects.npz cannot be read"):
        load("arrays", data=tmp_path / "objects.npz")
    np.savez(tmp_path / "cut.npz", x=TABLE)
    content = bytearray((tmp_path / "cut.npz").read_bytes())
    content[300] ^= 0xFF
    (tmp_path / "cut.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"cut.npz"):
        load("arrays", data=tmp_path / "cut.npz")
    with pytest.raises(InputError, match="needs data"):
        load("arrays")
