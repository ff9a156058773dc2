"""What is drawn and read: nothing twice, nothing in vain."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from polyvae import metrics, subsets
from polyvae.metrics import Evaluation, readings
from polyvae.metrics.pairs import wanted_members
from polyvae.metrics.readings import read_data
from support.painters import (
    JUDGE,
    NAMES,
    ROWS,
    Painter,
    agreeing,
    painted,
    vae,
)


def test_each_image_is_read_once(monkeypatch):
    """5 modalities, 31 subsets: a decode and a look for each pair, an encode a modality."""
    model, data = vae(subsets.mopoe(NAMES)), painted()
    calls = {"encode": 0, "read": 0}
    encoder = model.encoders["m0"].forward
    monkeypatch.setattr(
        model.encoders["m0"], "forward", lambda x: (calls.__setitem__("encode", calls["encode"] + 1), encoder(x))[1]
    )

    class Counting(type(JUDGE)):
        def read(self, name, values):
            calls["read"] += 1
            return super().read(name, values)

    counting = Counting(JUDGE.networks, JUDGE.classes, "digits", "1", "none", JUDGE.accuracy)
    names = ["coherence", "frechet", "kid", "prdc"]
    metrics.evaluate(model, Evaluation(data, data, counting, batch_size=ROWS), names)
    assert calls["encode"] == 1
    pairs = 3 * 2 + 3 + 3  # single inputs, two inputs, from itself
    assert calls["read"] == pairs + 3 + 3 + 3  # prior samples, real test images, real training images


@pytest.mark.parametrize(
    ("names", "draws"), [(["kid", "prdc"], False), (["coherence"], True), (["kid", "frechet"], True)]
)
def test_images_given_subsets_are_drawn_only_for_what_reads_them(names, draws, monkeypatch):
    asked = []

    def spying(model, pairs):
        asked.extend(pairs)
        return wanted_members(model, pairs)

    monkeypatch.setattr("polyvae.metrics.readings.wanted_members", spying)
    data = painted()
    found, _ = metrics.evaluate(Painter(), Evaluation(data, data, JUDGE), names)
    assert found
    assert bool(asked) is draws


def test_batches_whose_rows_all_lack_a_modality_change_nothing():
    present = torch.ones(140, 3, dtype=torch.bool)
    present[:70, 0] = False
    data, names = replace(agreeing(140), present=present), ["coherence", "frechet", "kid", "prdc", "diversity"]
    model = vae(subsets.mopoe(NAMES))
    found, notes = metrics.evaluate(model, Evaluation(data, data, JUDGE, batch_size=20), names)
    whole, _ = metrics.evaluate(model, Evaluation(data, data, JUDGE, batch_size=140), names)
    assert not notes
    assert found == pytest.approx(whole, rel=1e-4)


def test_of_a_modality_that_no_row_has_only_what_the_model_draws_is_read():
    present = torch.ones(140, 3, dtype=torch.bool)
    present[:, 0] = False
    data = agreeing(140)
    found, _ = metrics.evaluate(
        Painter(), Evaluation(replace(data, present=present), data, JUDGE), ["coherence", "diversity"]
    )
    assert "coherence/ceiling/m0" not in found
    assert found["coherence/conditional/m1/m0"] == 1
    assert {key for key in found if key.startswith("diversity/digits/m")} == {
        f"diversity/digits/{key}" for key in ("m1/m2", "m2/m1", "mean")
    }


def test_real_images_are_read_once_for_all_runs(tmp_path, monkeypatch):
    data = painted()
    first = read_data(data, NAMES, range(ROWS), JUDGE, 7, tmp_path)
    monkeypatch.setattr(readings, "_read_data", None)
    again = read_data(data, NAMES, range(ROWS), JUDGE, 9, tmp_path)
    for name in NAMES:
        for a, b in zip(first[name], again[name], strict=True):
            np.testing.assert_array_equal(a, b)
    others = (
        lambda: read_data(data, NAMES, range(30), JUDGE, 7, tmp_path),
        lambda: read_data(data, NAMES, range(ROWS), replace(JUDGE, weights_sha256="other"), 7, tmp_path),
        lambda: read_data(data.rows(range(ROWS - 1, -1, -1)), NAMES, range(ROWS), JUDGE, 7, tmp_path),
    )
    for other in others:
        with pytest.raises(TypeError):
            other()
