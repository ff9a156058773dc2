"""Options of data sets: one frozen dataclass beside each, filled from keywords or from a config, by name."""

from dataclasses import dataclass, fields, make_dataclass, replace
from typing import Literal

import pytest
import torch

from polyvae import InputError, RunConfig, datasets
from polyvae.config import DataOptions
from polyvae.dataset import MultimodalDataset
from polyvae.datasets import Entry
from polyvae.datasets.polymnist.generator import PolyMNISTOptions, TranslatedOptions
from polyvae.likelihoods import Normal
from polyvae.modality import Modality
from polyvae.runs.plan import make_plan


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "polymist"}, "unknown data set 'polymist'; did you mean polymnist"),
        ({"scale": 0.5}, "'polymnist' has no option 'scale'"),
        ({"background": 1}, "no option 'background'"),
        ({"name": "toy", "pairing": "fixed"}, "'toy' has no option 'pairing'"),
        ({"modalities": 11}, "11 modalities need as many background pictures, there are 10; put more"),
        ({"modalities": 0}, "modalities 0 must be at least 1"),
        ({"size": 12_001}, "size 12001 is more than the 12000 digits"),
        ({"size": 0}, "size 0 must be at least 1"),
        ({"seed": -1}, "seed -1"),
        ({"split": "val"}, "unknown split 'val'; choose train or test"),
        ({"pairing": "loose"}, "unknown pairing 'loose'"),
        ({"name": "translated_polymnist", "scale": 1.0}, "scale 1.0 must be at least 1/28 and below 1"),
        ({"name": "repeated_polymnist", "background": 10}, "background 10 does not exist; there are pictures 0 to 9"),
        ({"data_dir": "/nowhere"}, "no train-images-idx3-ubyte .* in /nowhere/mnist"),
    ],
)
def test_wrong_options_are_named(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        datasets.load(**{"name": "polymnist", **options})


@dataclass(frozen=True)
class Rings:
    radius: float = 1.0
    count: int | None = None
    noisy: bool = False
    kind: Literal["circle", "square"] = "circle"
    title: str = "rings"


def load_rings(options: Rings, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    angle = torch.rand(size or 60, generator=torch.Generator().manual_seed(seed + (split == "test")))
    values = {"x": options.radius * torch.stack([angle.cos(), angle.sin()], -1)}
    info = {"options": repr(options), "split": split, "seed": seed}
    seen = torch.ones(len(angle), 1, dtype=torch.bool)
    return MultimodalDataset("rings", (Modality("x", (2,), Normal(1.0)),), values, seen, None, info)


@pytest.fixture
def rings():
    yield datasets.register("rings", Entry(load_rings, "points on rings", Rings))
    del datasets.DATASETS["rings"]


def test_every_option_of_a_data_set_has_a_flag():
    flags = {field.name for field in fields(DataOptions)} | {"size", "test_size"}
    assert {name for entry in datasets.DATASETS.values() for name in entry.option_names} <= flags


def test_a_variant_opens_what_polymnist_fixes():
    assert datasets.DATASETS["polymnist"].own_options == ("modalities", "crop_range", "pairing", "data_dir")
    with pytest.raises(TypeError):
        PolyMNISTOptions(scale=0.5)
    assert (PolyMNISTOptions().scale, TranslatedOptions().scale, TranslatedOptions(scale=0.4).scale) == (None, 0.5, 0.4)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("polymnist", {"scale": 0.5}, "has no option 'scale'; it has crop_range, data_dir, modalities, pairing, size"),
        ("toy", {"crop": "box"}, "data set 'toy' has no option 'crop'; it has modalities, size"),
        ("toy_captions", {"wings": 2}, "has no option 'wings'; it has size"),
        ("polymnist", {"modalities": 0}, "modalities 0 must be at least 1"),
        ("polymnist", {"pairing": "random"}, "unknown pairing 'random'"),
        ("cub", {"crop": "round"}, "unknown crop 'round'"),
        ("cub_captions", {"split_by": "birds"}, "unknown split_by 'birds'"),
        ("birds", {}, "unknown data set 'birds'; choose one of polymnist, "),
    ],
)
def test_bad_options_are_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        datasets.load(name, **options)


def test_none_is_the_default_and_any_data_set_may_be_told_of_a_data_directory():
    assert datasets.load("toy", modalities=None, size=5, data_dir="nowhere").names == ("m0", "m1", "m2", "m3", "m4")


def test_a_data_set_of_ones_own_has_options_of_its_own(rings, tmp_path):
    config = RunConfig(dataset="rings", data_options="radius=2, count=3,noisy=true,kind=square", metrics="none")
    plan = make_plan(config)
    assert "Rings(radius=2.0, count=3, noisy=True, kind='square', title='rings')" in plan.test.info["options"]
    assert len({plan.run_id, make_plan(config.with_(data_options="radius=3")).run_id}) == 2
    assert float(datasets.load("rings", radius=3.0).values["x"].norm(dim=-1).mean()) == pytest.approx(3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("width=2", "no option 'width' of data set 'rings'; choose one of radius, count, noisy, kind, title"),
        ("radius=wide", "--data-options radius=wide: it must be float"),
        ("count=1.5", "count=1.5: it must be int"),
        ("noisy=yes", "noisy=yes: it must be true, false"),
        ("kind=oval", "kind=oval: it must be circle, square"),
        ("radius=1,radius=2", "names radius twice"),
        ("radius", "radius=: it must be float"),
    ],
)
def test_bad_data_options_are_refused(rings, text, message):
    with pytest.raises(InputError, match=message):
        make_plan(RunConfig(dataset="rings", data_options=text, metrics="none"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [("toy", "modalities=2", "--modalities 2"), ("arrays", "test_size=5", "--test-size 5")],
)
def test_what_has_a_flag_is_said_by_the_flag(name, text, said):
    with pytest.raises(InputError, match=f"has a flag of its own; say {said}"):
        datasets.options_of(name, DataOptions(data_options=text))


@dataclass(frozen=True)
class Named:
    """Options called like flags, but with values that those flags refuse, and like arguments on the way."""

    scale: float = 2.0
    pairing: str = "loose"
    sizes: int = 1


def load_named(options: Named, *, split: str, size: int | None, seed: int) -> MultimodalDataset:
    data = load_rings(Rings(), split=split, size=size, seed=seed)
    return replace(data, info={"options": repr(options)})


def test_an_option_of_ones_own_may_be_called_like_a_flag():
    datasets.register("named", Entry(load_named, "points", Named))
    try:
        text = "scale=3,pairing=tight,sizes=4"
        plan = make_plan(RunConfig(dataset="named", data_options=text, scale=0.5, metrics="none"))
        assert make_plan(RunConfig(dataset="named", scale=0.5, metrics="none")).test.info["options"].count("0.5")
    finally:
        del datasets.DATASETS["named"]
    for part in (plan.train, plan.test):
        assert part.info["options"] == "Named(scale=3.0, pairing='tight', sizes=4)"


@pytest.mark.parametrize("option", ["name", "split", "size", "seed", "test_size"])
def test_what_every_data_set_has_is_no_option_of_one(option):
    with pytest.raises(InputError, match=f"data set 'mine' cannot have an option '{option}'"):
        datasets.register("mine", Entry(load_rings, "points", make_dataclass("Mine", [(option, int, 1)], frozen=True)))
    assert "mine" not in datasets.DATASETS
