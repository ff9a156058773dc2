"""The identity of a run: what enters its id, and what does not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from polyvae import InputError, RunConfig, datasets, run, subsets
from polyvae.config import Sizes, by_modality, flag
from polyvae.dataset import MultimodalDataset
from polyvae.likelihoods import Bernoulli, Normal
from polyvae.modality import Modality
from polyvae.objectives import OBJECTIVES
from polyvae.runs.plan import make_plan, make_plans

RECORDS = sorted((Path(__file__).parent.parent / "docs" / "results" / "records").glob("*/record.json"))
TOY = RunConfig(dataset="toy", modalities=2, train_size=30, test_size=20, metrics="none")


def test_a_released_default_never_changes():
    """Run ids leave defaults out: a changed default would give old runs the id of new ones."""
    assert RunConfig().run_id() == "polymnist-mopoe-b1-s0-44136fa355"
    assert RunConfig().to_dict() == {
        **dict.fromkeys(
            (
                "modalities",
                "only",
                "method_options",
                "library",
                "covariate",
                "data",
                "data_dir",
                "scale",
                "background",
                "held_out",
                "crop_range",
                "pairing",
                "train_size",
                "test_size",
            )
        ),
        **dict.fromkeys(
            ("train_size", "test_size", "validation_fraction", "subsets", "gradient_clip", "patience", "threads")
        ),
        **dict.fromkeys(("allocation", "network", "likelihood", "likelihood_scale", "modality_weights"), "auto"),
        **{"dataset": "polymnist", "data_seed": 0, "method": "mopoe", "beta": 1.0, "latent_dim": 64, "epochs": 100},
        **{"batch_size": 256, "learning_rate": 5e-4, "schedule": "constant", "seed": 0, "precision": "fp32"},
        **{"device": "auto", "metrics": "default", "importance_samples": 12},
        **dict.fromkeys(("objective", "prior", "posterior", "posterior_scale"), "auto"),
        **dict.fromkeys(
            (
                "split_by",
                "crop",
                "scaling",
                "text_length",
                "data_options",
                "objective_samples",
                "prior_components",
                "best_by",
                "average_epochs",
            )
        ),
        **dict.fromkeys(("label", "group", "leave_out", "test_data")),
    }


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.parent.name)
def test_released_runs_keep_their_ids(path):
    """Their data are known by a recipe, the same for all modalities of the data set, which the record holds."""
    record = json.loads(path.read_text())
    config = RunConfig.from_dict(record["config"])
    revision = OBJECTIVES[record["resolved"].get("objective") or "elbo"].revision
    revised = {"objective_revision": revision} if revision > 1 else {}
    assert config.run_id({"data": record["resolved"]["data"], **revised}) == record["run_id"] == path.parent.name


def test_only_what_changes_the_trained_model_enters_the_id():
    same = [{"threads": 1}, {"device": "cpu"}, {"metrics": "bound"}]
    other = [{"beta": 2.0}, {"seed": 1}, {"epochs": 3}, {"train_size": 29}, {"data_seed": 1}, {"only": "m1"}]
    other.append({"threads": 2})  # which round sums in another order
    run_id = make_plan(TOY).run_id
    assert {make_plan(TOY.with_(**change)).run_id for change in same} == {run_id}
    assert len({run_id, *(make_plan(TOY.with_(**change)).run_id for change in other)}) == 1 + len(other)


def write(path, shift=0.0):
    table = np.random.default_rng(0).normal(size=(40, 3))
    table[0, 0] += shift
    np.savez(path, a=table, b=table[:, :2] ** 2)
    return str(path)


def test_own_data_enter_by_content_and_not_by_path(tmp_path):
    config = RunConfig(dataset="arrays", metrics="none")
    first = make_plan(config.with_(data=write(tmp_path / "x.npz"))).run_id
    assert make_plan(config.with_(data=write(tmp_path / "y.npz"))).run_id == first
    assert make_plan(config.with_(data=write(tmp_path / "z.npz", shift=1e-3))).run_id != first


def test_own_pictures_enter_by_content_and_not_by_path(tmp_path):
    def run_id(name, first_pixel):
        for split in ("train", "test"):
            for number in range(3):
                pixels = np.full((28, 28, 3), number, np.uint8)
                pixels[0, 0, 0] = first_pixel
                path = tmp_path / name / "polymnist" / split / "m0" / f"{number}.{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
        config = RunConfig(dataset="polymnist_folder", data_dir=str(tmp_path / name), metrics="none")
        return make_plan(config).run_id

    assert run_id("here", 9) == run_id("there", 9) != run_id("elsewhere", 8)


def test_equal_numbers_are_the_same_run_and_any_name_makes_a_folder():
    assert RunConfig(beta=3) == RunConfig(beta=3.0)
    assert RunConfig(beta=3).run_id() == RunConfig(beta=3.0).run_id()
    assert RunConfig(dataset="../my data").run_id().startswith("___my_data-mopoe")


def test_own_subsets_enter_by_content():
    """Terms alone or with names, in any layout: the text says the same S, and so the same run."""
    ids = []
    for weight in (0.5, 0.5, 0.4):
        terms = [{"given": ["m0"], "weight": weight}, {"given": ["m0", "m1"], "weight": 1 - weight}]
        S = subsets.from_json(terms, ("m0", "m1"))
        texts = [json.dumps(terms, indent=2), subsets.terms_text(terms), json.dumps(subsets.to_json(S))]
        plans = [make_plan(TOY.with_(method="custom", subsets=text)) for text in texts]
        assert {plan.mixture for plan in plans} == {S}
        ids.append({plan.run_id for plan in plans})
    assert ids[0] == ids[1] != ids[2]
    assert set(map(len, ids)) == {1}
    assert ids[0] == {"toy-custom-b1-s0-0c10f57fcf"}, "as released, when the config held a path"


def test_a_path_in_place_of_terms_is_refused():
    with pytest.raises(InputError, match=r"--subsets: 's.json' is not JSON; give the terms"):
        make_plan(TOY.with_(method="custom", subsets="s.json"))


class Split(nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 128)
        nn.init.constant_(self.linear.weight, weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.linear(x).chunk(2, -1)


def test_own_networks_enter_with_their_weights():
    def run_id(weight):
        decoder = nn.Linear(64, 4)
        nn.init.zeros_(decoder.weight)
        nn.init.zeros_(decoder.bias)
        return make_plan(TOY, own={"m0": (Split(weight), decoder)}).run_id

    assert run_id(1.0) == run_id(1.0)
    assert len({make_plan(TOY).run_id, run_id(1.0), run_id(2.0)}) == 3


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        (Split(1.0), nn.Linear(64, 3), r"decoder of 'm0' gives \(2, 3\) for 2 rows, not \(2, 4\)"),
        (Split(1.0), nn.Linear(64, 1), r"decoder of 'm0' gives \(2, 1\)"),
        (Split(1.0), nn.Linear(63, 4), r"networks\['m0'\] fail on two rows"),
        (nn.Linear(4, 128), nn.Linear(64, 4), r"encoder of 'm0' gives \(128,\) and \(128,\) for 2 rows"),
    ],
)
def test_own_networks_of_a_wrong_shape_are_refused_and_not_broadcast(encoder, decoder, message):
    with pytest.raises(InputError, match=message):
        make_plan(TOY, own={"m0": (encoder, decoder)})


def test_own_networks_stay_untrained_so_that_the_same_call_is_the_same_run(tmp_path):
    own = {"m0": (Split(0.1), nn.Linear(64, 4))}
    before = own["m0"][1].weight.clone()
    first = run(TOY.with_(epochs=1), tmp_path, networks=own)
    assert torch.equal(own["m0"][1].weight, before)
    assert not torch.equal(first.load(own).decoders["m0"].weight, before)


def test_a_training_size_beyond_own_data_is_refused():
    data = datasets.load("toy", size=30)
    with pytest.raises(InputError, match="--train-size is 40, but 24 rows are left"):
        make_plan(RunConfig(train_size=40), data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[(name, 0) for name in ("modalities", "train_size", "test_size", "latent_dim", "epochs", "batch_size")],
        *[("patience", 0), ("threads", 0), ("beta", -0.1), ("beta", float("nan")), ("beta", float("inf"))],
        *[("learning_rate", 0.0), ("gradient_clip", -1.0), ("scale", 0.0), ("scale", 1.0), ("background", -1)],
        *[("validation_fraction", 1.0), ("seed", -1), ("seed", 2**32), ("precision", "fp16"), ("schedule", "step")],
        *[("allocation", "sliced"), ("pairing", "random"), ("epochs", 1.5), ("method", None), ("epochs", True)],
    ],
)
def test_values_out_of_range_name_the_flag(field, value):
    with pytest.raises(InputError, match=f"--{field.replace('_', '-')} is"):
        RunConfig(**{field: value})


def test_unknown_keys_are_refused_and_dicts_round_trip():
    with pytest.raises(InputError, match="unknown configuration key 'betta'"):
        RunConfig.from_dict({"betta": 1})
    with pytest.raises(InputError, match="--seed is False"):
        RunConfig(seed=False)
    config = RunConfig(beta=0.3, only="m0,m1")
    assert RunConfig.from_dict(config.to_dict()) == config


def test_settings_by_modality():
    assert by_modality("auto", ("a", "b"), "network") == {}
    assert by_modality("conv", ("a", "b"), "network") == {"a": "conv", "b": "conv"}
    assert by_modality("a=conv, b=mlp", ("a", "b"), "network") == {"a": "conv", "b": "mlp"}
    with pytest.raises(InputError, match="--likelihood-scale names modality 'c'"):
        by_modality("c=1", ("a", "b"), "likelihood_scale")
    with pytest.raises(InputError, match="--network 'a=conv,a=mlp' names a modality twice"):
        by_modality("a=conv,a=mlp", ("a", "b"), "network")


def test_own_data_changed_under_the_same_name_are_other_data(tmp_path):
    """In one process: rows must not come from a cache that knows the file by its path alone."""
    config = RunConfig(dataset="arrays", metrics="none", data=write(tmp_path / "x.npz"))
    first = make_plan(config)
    write(tmp_path / "x.npz", shift=1.0)
    assert make_plan(config).run_id != first.run_id
    write(tmp_path / "x.npz")
    assert make_plan(config).run_id == first.run_id


def test_networks_that_the_data_ask_for_enter_the_id(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (30, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", m=images)
    config, ids = RunConfig(dataset="arrays", data=str(tmp_path / "a.npz"), metrics="none"), set()
    for network in ("mlp", "conv", "resnet"):
        (tmp_path / "modalities.json").write_text(f'{{"m": {{"network": "{network}"}}}}')
        plan = make_plan(config)
        assert plan.blueprint.networks == {"m": network}
        ids.add(plan.run_id)
    assert len(ids) == 3


def test_validation_rows_enter_the_id():
    """They decide which weights are best."""
    table = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    ids = set()
    for row in range(60):
        changed = table.copy()
        changed[row] += 1
        data = MultimodalDataset("mine", (Modality("m", (2,), Normal(1.0)),), {"m": torch.from_numpy(changed)}, SEEN)
        ids.add(make_plan(RunConfig(metrics="none"), data).run_id)
    assert len(ids) == 60


SEEN = torch.ones(60, 1, dtype=torch.bool)


def test_own_data_are_cut_into_training_validation_and_test_rows():
    """A fifth is for tests, a tenth of the rest for validation, and every row lies in one part."""
    specs, rows = (Modality("m", (1,), Normal(1.0)),), torch.arange(60.0)[:, None]
    plan = make_plan(RunConfig(metrics="none"), MultimodalDataset("mine", specs, {"m": rows}, SEEN))
    parts = [part.values["m"].flatten().tolist() for part in (plan.train, plan.validation, plan.test)]
    assert [len(part) for part in parts] == [43, 5, 12]
    assert sorted(row for part in parts for row in part) == list(range(60))


def test_a_likelihood_is_checked_on_rows_that_are_present():
    specs, present = tuple(Modality(name, (2,), Normal(1.0)) for name in "ab"), torch.ones(60, 2, dtype=torch.bool)
    present[30:, 1] = False
    filled = torch.where(present[:, 1:], 1.0, 9.0).expand(60, 2)
    data = MultimodalDataset("mine", specs, {"a": filled, "b": filled}, present)
    assert make_plan(RunConfig(likelihood="b=bernoulli", metrics="none"), data).modalities[1].likelihood == Bernoulli()
    with pytest.raises(InputError, match="outside"):
        make_plan(RunConfig(likelihood="a=bernoulli", metrics="none"), data)


def test_rows_that_s_cannot_encode_are_found_before_training():
    terms = '[{"given": ["a"], "weight": 1.0}]'
    present = torch.ones(60, 2, dtype=torch.bool)
    present[30:, 0] = False
    specs = tuple(Modality(name, (2,), Normal(1.0)) for name in "ab")
    data = MultimodalDataset("mine", specs, dict.fromkeys("ab", torch.zeros(60, 2)), present)
    with pytest.raises(InputError, match=r"training row \d+ has nothing that a term of S encodes; leave"):
        make_plan(RunConfig(method="custom", subsets=terms, metrics="none"), data)


def test_fresh_tuples_may_outnumber_the_digits():
    plan = make_plan(RunConfig(modalities=1, pairing="fresh", train_size=12_100, test_size=30, metrics="none"))
    assert len(plan.train) == len(plan.rows_at(1)) == 12_100


def test_a_scale_for_a_likelihood_without_one_is_refused():
    with pytest.raises(InputError, match="'m0' has no scale"):
        make_plan(RunConfig(modalities=1, train_size=20, test_size=20, likelihood="bernoulli", likelihood_scale="0.3"))


def test_only_nothing_is_no_choice():
    with pytest.raises(InputError, match="unknown modality ''"):
        make_plan(TOY.with_(only=""))


def test_values_of_another_type_are_refused():
    data = make_plan(TOY).test
    with pytest.raises(InputError, match=r"'m0' is torch\.float64"):
        replace(data, values={name: value.double() for name, value in data.values.items()})


def test_metrics_that_cannot_be_are_refused_by_name_before_training():
    for name, reason in (("coherence", "no labels"), ("linear_probe", "no labels"), ("kid", "no judge")):
        with pytest.raises(InputError, match=f"--metrics {name}: .*{reason}"):
            make_plan(TOY.with_(metrics=name))


def test_metrics_asked_for_later_are_added_to_the_record(tmp_path):
    first = run(TOY.with_(epochs=1), tmp_path)
    assert first.metrics == {}
    second = run(TOY.with_(epochs=1, metrics="bound,latent"), tmp_path)
    assert second.run_id == first.run_id
    assert {key.split("/")[0] for key in second.metrics} == {"bound", "latent"}
    assert second.record.resolved.metrics == ("bound", "latent")
    weights = (first.folder / "model.safetensors").stat().st_mtime_ns
    third = run(TOY.with_(epochs=1, metrics="bound"), tmp_path)
    assert third.metrics == second.metrics
    assert (first.folder / "model.safetensors").stat().st_mtime_ns == weights


def test_plans_made_together_are_those_made_one_by_one():
    configs = [
        TOY.with_(seed=seed, beta=beta, method=m) for m in ("mvae", "mopoe") for seed in (0, 3) for beta in (1, 2)
    ]
    configs += [RunConfig(modalities=2, train_size=40, test_size=20, pairing="fresh", seed=s) for s in (0, 1)]
    alone, together = [make_plan(c) for c in configs], make_plans(configs)
    assert [plan.config for plan in together] == configs
    assert [plan.run_id for plan in together] == [plan.run_id for plan in alone]
    for one, other in zip(alone, together, strict=True):
        assert (one.method, one.mixture, one.metrics) == (other.method, other.mixture, other.metrics)
        for name, values in one.rows_at(1).values.items():
            assert torch.equal(values, other.rows_at(1).values[name])
    with pytest.raises(InputError, match="beta"):
        make_plans([TOY, TOY.with_(beta=-1)])


def test_the_command_of_own_data_names_all_sizes_that_are_given():
    """Those that it left out, the data would choose."""
    released = dict(zip(Sizes._fields, RunConfig(dataset="toy").sizes, strict=True))
    command = RunConfig(dataset="arrays", data="x.csv", **released).command
    assert all(f"{flag(name)} {value}" in command for name, value in released.items())
