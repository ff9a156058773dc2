"""What can be read from a shared code that is the class, and from private ones that are the place."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import one_hot

from polyvae import metrics, subsets
from polyvae.dataset import chosen_rows
from polyvae.errors import InputError
from polyvae.metrics.code_probe import EXAMPLES
from polyvae.models.contract import CodeMeans, NotDefined
from support.painters import NAMES, STEP, Painter, agreeing, vae

ROWS = 700


class Knows(Painter):
    """The shared code is the class, the private one the place, which the second colour of the first pixel tells."""

    def __init__(self, unit=1.0):
        super().__init__()
        self.unit = unit

    def code_means(self, batch):
        seen = {name: (value[:, :2, 0, 0] * 255 / STEP).round().long() for name, value in batch.values.items()}
        return {
            name: CodeMeans(self.unit * one_hot(told[:, 0], 10), self.unit * one_hot(told[:, 1], 4).float())
            for name, told in seen.items()
        }


def placed(seed, rows=ROWS):
    """Every modality at a place of its own: at the first one in two rows of five."""
    data, rng = agreeing(rows), np.random.default_rng(seed)
    places = {name: torch.from_numpy(rng.choice(4, rows, p=(0.4, 0.2, 0.2, 0.2))) for name in NAMES}
    for name, value in data.values.items():
        value[:, 1, 0, 0] = (STEP * places[name]).to(torch.uint8)
    return replace(data, places=places)


def test_each_code_tells_what_it_holds_and_nothing_else():
    train, test = placed(1), placed(2)
    found = metrics.code_probe(Knows(), train, test)
    assert set(found) == {
        f"code_probe/{code}/{fact}/{name}"
        for code in ("shared", "private", "chance")
        for fact in ("label", "place")
        for name in NAMES
    }
    for name in NAMES:
        assert found[f"code_probe/shared/label/{name}"] == found[f"code_probe/private/place/{name}"] == 1
        assert found[f"code_probe/chance/label/{name}"] == pytest.approx(1 / 7)
        assert found[f"code_probe/chance/place/{name}"] == (test.places[name] == 0).double().mean()
        assert found[f"code_probe/private/label/{name}"] == pytest.approx(1 / 7, abs=0.05)
        assert found[f"code_probe/shared/place/{name}"] == pytest.approx(0.4, abs=0.05)
    assert metrics.code_probe(Knows(), train, test, batch_size=33) == found


def test_the_unit_of_codes_does_not_matter():
    train, test = placed(1), placed(2)
    assert metrics.code_probe(Knows(1e-3), train, test) == pytest.approx(metrics.code_probe(Knows(1e3), train, test))


def test_the_probe_is_scikit_learn_on_chosen_rows():
    class Pixels(Knows):
        def code_means(self, batch):
            return {name: CodeMeans(pixels(v), pixels(v)) for name, v in batch.values.items()}

    def pixels(images):
        return images[:, :2, 0, :3].flatten(1)

    train, test = placed(1, EXAMPLES + 300), placed(2, 100)
    found = metrics.code_probe(Pixels(), train, test, seed=5)
    rows = chosen_rows(len(train), EXAMPLES, 5)
    codes = [pixels(data.batch(slice(None)).values["m1"]).numpy() for data in (train, test)]
    unit = codes[0][rows].var(0).mean() ** 0.5
    for fact, truth in (("label", lambda data: data.labels), ("place", lambda data: data.places["m1"])):
        probe = LogisticRegression(max_iter=1000, random_state=0).fit(codes[0][rows] / unit, truth(train)[rows])
        assert found[f"code_probe/private/{fact}/m1"] == probe.score(codes[1] / unit, truth(test))


def test_a_code_that_never_varies_names_the_commonest_class():
    class Collapsed(Knows):
        def code_means(self, batch):
            return {name: CodeMeans(torch.ones(len(v), 3), torch.ones(len(v), 2)) for name, v in batch.values.items()}

    found = metrics.code_probe(Collapsed(), placed(1), placed(2))
    for key, value in found.items():
        _, _, fact, name = key.split("/")
        assert value == found[f"code_probe/chance/{fact}/{name}"]


def test_rows_count_that_have_the_modality():
    """The others are marked by a place that would be read wrongly."""
    train, test = placed(1), placed(2)
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[::3, 1] = False
    train, test = (replace(data, present=present) for data in (train, test))
    for data in (train, test):
        data.values["m1"][::3, :2, 0, 0] = 0
    found = metrics.code_probe(Knows(), train, test)
    assert found["code_probe/shared/label/m1"] == found["code_probe/private/place/m1"] == 1


def test_what_the_data_do_not_know_is_left_out():
    found = metrics.code_probe(Knows(), replace(placed(1), places={}), placed(2))
    assert "code_probe/shared/label/m0" in found
    assert not any("place" in key for key in found)
    with pytest.raises(InputError, match="code_probe needs labels"):
        metrics.code_probe(Knows(), replace(placed(1), labels=None), placed(2))
    with pytest.raises(NotDefined, match="no shared code"):
        metrics.code_probe(vae(subsets.mopoe(NAMES)), placed(1), placed(2))
