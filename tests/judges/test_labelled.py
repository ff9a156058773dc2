"""Judges of the user's own labels: classes and sizes come from the data, and metrics follow them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Independent, Normal
from torch.nn.functional import one_hot

from polyvae import RunConfig, files, likelihoods, metrics, run
from polyvae.dataset import MultimodalDataset
from polyvae.errors import InputError
from polyvae.judges import labelled
from polyvae.judges.labelled import can_be_judged, labelled_judge_for
from polyvae.metrics import Evaluation, coherence, diversity, frechet
from polyvae.metrics.readings import read_model
from polyvae.modality import Modality, text_modality
from polyvae.text import SPECIALS, Vocabulary

CLASSES = (3, 7, 40)  # labels are any integers
NAMES = ("picture", "rna", "kind")
MODALITIES = (
    Modality("picture", (2, 9, 14), likelihoods.Bernoulli()),
    Modality("rna", (5,), likelihoods.Normal(0.5)),
    Modality("kind", (4,), likelihoods.Categorical()),
)
CENTRES = torch.tensor([[2.0, 0, 0, 0, 1], [0, 2.0, 0, 0, -1], [0, 0, 2.0, 0, 0]])


def values_of(place: torch.Tensor, seed: int = 0) -> dict[str, torch.Tensor]:
    """All three modalities of rows of the classes at `place`: a bright third of the picture, a centre, a kind."""
    generator = torch.Generator().manual_seed(seed)
    picture = 0.2 * torch.rand(len(place), 2, 9, 14, generator=generator)
    for row, at in enumerate(place.tolist()):
        picture[row, at % 2, 3 * at : 3 * at + 3] += 0.7
    rna = CENTRES[place] + 0.3 * torch.randn(len(place), 5, generator=generator)
    return {"picture": picture, "rna": rna, "kind": one_hot(place, 4).float()}


def labelled_data(rows: int, seed: int = 0, present: torch.Tensor | None = None) -> MultimodalDataset:
    place = torch.arange(rows) % 3
    present = torch.ones(rows, 3, dtype=torch.bool) if present is None else present
    return MultimodalDataset(
        "mine", MODALITIES, values_of(place, seed), present, torch.tensor(CLASSES)[place], info={"by": "hand"}
    )


TRAIN, TEST = labelled_data(240), labelled_data(90, seed=1)


@pytest.fixture(scope="module")
def judge(tmp_path_factory):
    return labelled_judge_for(TRAIN, TEST, tmp_path_factory.mktemp("cache"))


class Painter:
    """Reads the class of the first given modality, draws it `off` classes further in every target."""

    names, modalities = NAMES, MODALITIES

    def __init__(self, off: int = 0) -> None:
        self.off = off

    def prior_codes(self, count, generator):
        return {name: (torch.tensor(generator.rows) + self.off * i) % 3 for i, name in enumerate(NAMES)}

    def posterior_codes(self, batch, given, targets, generator):
        place = torch.cdist(batch.values["rna"], CENTRES).argmin(-1)
        if given[0] == "kind":
            place = batch.values["kind"].argmax(-1)
        if given[0] == "picture":
            place = batch.values["picture"].sum(1)[:, :9].unflatten(1, (3, 3)).sum((2, 3)).argmax(-1)
        return dict.fromkeys(targets, (place + self.off) % 3)

    def decode(self, codes):
        laws = {}
        for name, place in codes.items():
            mean = values_of(place, seed=2)[name]
            law = Bernoulli(mean) if name == "picture" else Normal(mean, 0.5)
            laws[name] = Independent(law, mean.dim() - 1)
        return laws


def test_a_class_that_is_linearly_readable_is_read_in_every_modality(judge):
    assert judge.classes == CLASSES
    assert set(judge.accuracy) == set(NAMES)
    assert min(judge.accuracy.values()) > 0.95
    assert judge.doubt is None
    features, probabilities = judge.read("rna", TEST.batch(range(8)).values["rna"])
    assert features.shape == (8, labelled.WIDTH)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(8))
    assert probabilities.argmax(-1).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_a_perfect_painter_is_coherent_and_a_wrong_one_never(judge):
    right, wrong = (coherence(Painter(off), TEST, judge) for off in (0, 1))
    for key in ("joint", "joint_kappa", "leave_one_out", "by_inputs/1", "conditional/rna/kind", "self/picture"):
        assert right[f"coherence/{key}"] == pytest.approx(1), key
    for key in ("joint", "leave_one_out", "by_inputs/2", "conditional/picture/rna", "self/kind"):
        assert wrong[f"coherence/{key}"] == 0, key
    assert right["coherence/chance"] == 1 / 3
    assert right["coherence/joint_chance"] == pytest.approx(1 / 9)
    assert right["coherence/joint_entropy"] == pytest.approx(np.log(3))


def test_every_metric_of_a_judge_serves_tables_beside_images(judge):
    names = ["coherence", "frechet", "kid", "prdc", "diversity", "coherence_from_means"]
    values, notes = metrics.evaluate(Painter(), Evaluation(TEST, TRAIN, judge), names)
    assert notes == {}
    for name in NAMES:
        for kind in ("frechet", "kid", "precision", "recall", "density", "coverage"):
            assert f"{kind}/judge/unconditional/{name}" in values
        assert values[f"frechet/judge/unconditional/{name}"] >= 0
    assert values["frechet/judge/conditional/picture+kind/rna"] < 5 * values["frechet/judge/floor/rna"] + 1
    assert values["coherence_from_means/leave_one_out"] == pytest.approx(1)
    assert "diversity/judge/picture/rna" in values
    assert "diversity/judge/rna/kind" not in values, "all real values of a kind are the same: no scale"


def test_means_of_tables_are_compared_in_model_units(judge):
    """The same features by hand: no clamping, no rounding of what is no picture."""
    readings = read_model(Painter(), TEST, judge)
    drawn = values_of(torch.arange(90) % 3, seed=2)["rna"]
    np.testing.assert_allclose(readings.prior["rna"].features, judge.read("rna", drawn)[0], rtol=1e-5, atol=1e-5)
    assert frechet(Painter(), TEST, TRAIN, judge)["frechet/judge/dimension"] == labelled.WIDTH
    assert diversity(readings)["diversity/judge/mean"] < 2


def test_a_label_that_no_training_row_has_is_never_right(judge):
    strange = replace(TEST, labels=torch.where(TEST.labels == 40, 41, TEST.labels))
    assert coherence(Painter(), strange, judge)["coherence/leave_one_out"] == pytest.approx(2 / 3)


def test_modalities_that_are_missing_are_trained_and_scored_where_they_are(tmp_path):
    present = torch.ones(240, 3, dtype=torch.bool)
    present[:150, 1] = False
    present[200:, 0] = False
    train = labelled_data(240, present=present)
    test = labelled_data(90, seed=1, present=present[120:210])
    judge = labelled_judge_for(train, test, tmp_path)
    assert min(judge.accuracy.values()) > 0.95
    values, notes = metrics.evaluate(Painter(), Evaluation(test, train, judge), ["coherence", "frechet"])
    assert notes == {}
    assert values["coherence/conditional/picture+rna/kind"] == pytest.approx(1)
    rare = replace(train, present=torch.cat([present[:, :1], torch.arange(240)[:, None] < 9, present[:, 2:]], 1))
    assert set(labelled_judge_for(rare, test, tmp_path).networks) == {"picture", "kind"}, "too few rows to learn from"


def test_labels_that_tell_nothing_of_the_data_withhold_coherence_only(tmp_path):
    shuffled = replace(TRAIN, labels=TRAIN.labels[torch.randperm(240, generator=torch.Generator().manual_seed(0))])
    doubtful = labelled_judge_for(shuffled, TEST, tmp_path)
    values, notes = metrics.evaluate(Painter(), Evaluation(TEST, TRAIN, doubtful), ["coherence", "frechet"])
    assert "at least 90 % is needed" in notes["coherence"]
    assert "frechet/judge/unconditional/rna" in values
    assert not any(key.startswith("coherence") for key in values)


def test_a_judge_is_trained_once_and_the_same_each_time(judge, tmp_path, monkeypatch):
    monkeypatch.setitem(labelled.RECIPE, "least_steps", 4)
    monkeypatch.setitem(labelled.RECIPE, "epochs", 0)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = labelled_judge_for(TRAIN, TEST, tmp_path / "a")
    assert torch.equal(torch.get_rng_state(), before)
    assert labelled_judge_for(TRAIN, TEST, tmp_path / "b").weights_sha256 == first.weights_sha256
    monkeypatch.setattr(labelled, "_train", None)
    assert labelled_judge_for(TRAIN, TEST, tmp_path / "a").weights_sha256 == first.weights_sha256
    with pytest.raises(TypeError):
        labelled_judge_for(TRAIN.rows(range(200)), TEST, tmp_path / "a")  # other rows, another judge
    (path,) = (tmp_path / "a" / "judges").glob("*.safetensors")
    weights, meta = files.read_tensors(path)
    files.write_tensors(path, {**weights, "rna.logits.bias": weights["rna.logits.bias"] + 1}, meta)
    with pytest.raises(InputError, match="was changed since"):
        labelled_judge_for(TRAIN, TEST, tmp_path / "a")


def test_what_cannot_be_judged_is_said(tmp_path):
    assert can_be_judged(TRAIN, TEST)
    words = Vocabulary((*SPECIALS, "a"), 2)
    text = MultimodalDataset(
        "words",
        (text_modality("note", words),),
        {"note": torch.zeros(240, 2, dtype=torch.int16)},
        torch.ones(240, 1, dtype=torch.bool),
        TRAIN.labels,
    )
    for data in (replace(TRAIN, labels=None), replace(TRAIN, labels=0 * TRAIN.labels), TRAIN.rows(range(63)), text):
        assert not can_be_judged(data, TEST)
        with pytest.raises(InputError, match="two classes or more and 64 training rows"):
            labelled_judge_for(data, TEST, tmp_path)
    assert not can_be_judged(TRAIN, replace(TEST, labels=None))


def test_a_run_on_labelled_arrays_is_scored_by_its_own_judge(tmp_path):
    values = values_of(torch.arange(330) % 3)
    arrays = {name: value.numpy() for name, value in values.items() if name != "kind"}
    np.savez(tmp_path / "mine.npz", **arrays, label=np.array(CLASSES)[np.arange(330) % 3])
    config = RunConfig(dataset="arrays", data=str(tmp_path / "mine.npz"), method="mmvae", epochs=2, latent_dim=2)
    result = run(config.with_(metrics="coherence,frechet"), tmp_path)
    assert result.metrics["coherence/chance"] == 1 / 3
    for key in ("coherence/leave_one_out", "coherence/conditional/rna/picture", "frechet/judge/unconditional/rna"):
        assert key in result.metrics
    assert result.record.resolved.judge["sha256"]
    with pytest.raises(InputError, match="has no judge"):
        run(config.with_(metrics="frechet", train_size=40), tmp_path)
