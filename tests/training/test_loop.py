"""Training: exact resume wherever it stops, honest failure, validation."""

import gc
import math
import weakref
from dataclasses import replace

import pytest
import torch
from torch import nn

from polyvae import RunConfig, RunError, datasets, files
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from polyvae.training import loop
from polyvae.training.loop import batches_in, exhausted, learning_rate, steps
from support.training import CONFIG, Stop, same, stage_of, trained


@pytest.mark.parametrize("stop_at", [(1,), (2,), (3,), (5,), (6,), (1, 3, 4)])
@pytest.mark.parametrize("stages", [1, 2])
def test_an_interrupted_run_ends_like_an_undisturbed_one(stop_at, stages, tmp_path):
    whole = trained(tmp_path / "whole", stages=stages)
    assert len(whole[1]) == 3
    same(trained(tmp_path / "broken", stop_at=stop_at, stages=stages), whole)


def test_resume_from_an_older_checkpoint_repeats_the_lost_steps(tmp_path):
    """Only the first checkpoint is kept: everything after it is done again, history lines included."""
    whole = trained(tmp_path / "whole")
    trained_once = tmp_path / "broken"
    with pytest.MonkeyPatch.context() as patch:
        clock = iter([0.0] + [100.0] * 3 + [0.0] * 10_000)
        patch.setattr("polyvae.training.loop.time.monotonic", lambda: next(clock))
        broken = trained(trained_once, stop_at=(5,), checkpoint_seconds=50.0)
    same(broken, whole)


def test_networks_that_draw_resume_exactly(tmp_path):
    def own():
        torch.manual_seed(0)

        class Encoder(nn.Module):
            def __init__(self):
                super().__init__()
                self.body = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5))

            def forward(self, x):
                return self.body(x).chunk(2, -1)

        return {"m0": (Encoder(), nn.Linear(3, 4))}

    config = CONFIG.with_(only="m0")
    whole = trained(tmp_path / "whole", config, own=own())
    plan = make_plan(config, own=own())
    for last in (4, None):
        model = plan.build()

        def on_step(done, total, loss, last=last):
            if done == last:
                raise Stop

        try:
            exhausted(steps(model, [stage_of(model, plan, "first", 3)], plan.rows_at, None, config, tmp_path / "broken",
                            checkpoint_seconds=0, on_step=on_step))  # fmt: skip
        except Stop:
            continue
    for name, value in whole[0].state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


class Failing(nn.Module):
    """Gives NaN from its 4th call on."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = nn.Linear(3, 4), 0

    def forward(self, z):
        self.calls += 1
        return self.inner(z) * (math.nan if self.calls > 3 else 1.0)


def test_a_loss_that_is_not_finite_stops_with_its_place_and_keeps_the_checkpoint(tmp_path):
    config = CONFIG.with_(epochs=5)
    plan = make_plan(config)
    model = plan.build()
    model.decoders["m1"] = Failing()
    stage = stage_of(model, plan, "train", 5)
    with pytest.raises(RunError, match=r"epoch 1, step 3: log-likelihood of m1;"):
        exhausted(steps(model, [stage], plan.rows_at, None, config, tmp_path, checkpoint_seconds=0))
    tensors, meta = files.read_tensors(tmp_path / "checkpoint" / "state.safetensors")
    assert meta["progress"]["step"] == 3
    assert all(value.isfinite().all() for value in tensors.values())


def test_the_best_weights_are_those_with_the_lowest_validation_loss(tmp_path):
    config = CONFIG.with_(validation_fraction=0.25, epochs=6, learning_rate=0.01)
    _, history = trained(tmp_path, config)
    losses = [line["validation"]["loss"] for line in history]
    best = losses.index(min(losses))
    assert best < 5, "else the last weights are the best ones"
    again = trained(tmp_path / "short", config.with_(epochs=best + 1))[0]
    weights, _ = files.read_tensors(tmp_path / "model_best.safetensors")
    for name, value in again.state_dict().items():
        assert torch.equal(weights[name], value)


def test_an_interrupted_run_keeps_the_best_weights_so_far(tmp_path):
    """The best epoch lies before the stop."""
    config = CONFIG.with_(validation_fraction=0.25, epochs=6, learning_rate=0.05)
    _, history = trained(tmp_path / "whole", config)
    losses = [line["validation"]["loss"] for line in history]
    assert losses.index(min(losses)) < 4, "a step an epoch: before the stop, and scored by then"
    trained(tmp_path / "broken", config, stop_at=(5,))
    whole, broken = (files.read_tensors(tmp_path / name / "model_best.safetensors")[0] for name in ("whole", "broken"))
    for name, value in whole.items():
        assert torch.equal(broken[name], value)


def test_validation_rows_score_a_running_average_that_leaves_training_as_it_was(tmp_path):
    """By hand from the weights that shorter runs end with, also after an interruption."""
    config = CONFIG.with_(validation_fraction=0.25, epochs=4, average_epochs=3, learning_rate=0.003)
    average = make_plan(config).build().state_dict()
    for epochs, share in ((1, 1 / 2), (2, 1 / 3), (3, 1 / 3), (4, 1 / 3)):  # a plain mean until it is one over three
        last = trained(tmp_path / f"{epochs}", config.with_(epochs=epochs, average_epochs=None))[0].state_dict()
        average = {name: value.lerp(last[name], share) for name, value in average.items()}
    whole, broken = trained(tmp_path / "whole", config), trained(tmp_path / "broken", config, stop_at=(3,))
    same(broken, whole)
    losses = [line["validation"]["loss"] for line in whole[1]]
    assert losses.index(min(losses)) == 3, "the last average is the best one"
    for name, value in whole[0].state_dict().items():
        assert torch.equal(value, last[name])
    for folder in ("whole", "broken"):
        kept, _ = files.read_tensors(tmp_path / folder / "model_best.safetensors")
        assert all(torch.equal(value, average[name]) for name, value in kept.items())


def test_each_stage_has_its_own_best(tmp_path):
    """The losses of two stages cannot be compared: the last one has one epoch, which is better than where it begins."""
    config = CONFIG.with_(validation_fraction=0.25, epochs=4)
    plan = make_plan(config)
    model = plan.build()
    first, second = stage_of(model, plan, "first", 3), stage_of(model, plan, "second", 1)
    shifted = replace(second, loss=lambda *a: (bound := second.loss(*a))._replace(loss=bound.loss + 1000))
    exhausted(steps(model, [first, shifted], plan.rows_at, plan.validation, config, tmp_path))
    weights, _ = files.read_tensors(tmp_path / "model_best.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(weights[name], value)


def test_patience_stops_when_the_validation_loss_no_longer_falls(tmp_path):
    """Also below that of the untrained model, which counts like that of any epoch."""
    config = CONFIG.with_(validation_fraction=0.25, epochs=40, learning_rate=0.003, patience=5)
    _, history = trained(tmp_path, config)
    losses = [line["validation"]["loss"] for line in history]
    best = losses.index(min(losses))
    assert best > 0
    assert len(losses) == best + 1 + 5 < 40
    _, history = trained(tmp_path / "worse", config.with_(learning_rate=0.5))
    assert len(history) == 5


@pytest.mark.parametrize("stop_at", [(), (1, 3, 5)])
def test_each_stage_has_its_own_schedule(stop_at, tmp_path, monkeypatch):
    """Two stages, of 2 epochs and of 1, an epoch having 2 steps, also where the run is interrupted."""
    rates, config = [], CONFIG.with_(schedule="cosine")
    monkeypatch.setattr(loop, "_set_rate", lambda optimiser, rate: rates.append(rate))
    trained(tmp_path, config, stages=2, stop_at=stop_at)
    wanted = [learning_rate(config, step, total) for total in (4, 2) for step in range(total)]
    assert rates[-2:] == wanted[-2:]
    assert sorted(set(rates)) == sorted(set(wanted))


def test_learning_rate_schedules():
    constant, cosine = CONFIG, CONFIG.with_(schedule="cosine")
    assert {learning_rate(constant, step, 100) for step in range(100)} == {5e-4}
    rates = [learning_rate(cosine, step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(5e-4 / 20)
    assert max(rates) == pytest.approx(5e-4, rel=0.01)
    assert rates[500] == pytest.approx(2.5e-4, rel=1e-6)
    assert rates[-1] < 1e-8


def test_each_stage_has_its_own_schedule_and_rise_of_beta(tmp_path, monkeypatch):
    """Six steps, then two. What is held out is scored at the whole beta, after every epoch."""
    config = CONFIG.with_(schedule="cosine", validation_fraction=0.2, epochs=4)
    plan = make_plan(config)
    model, rates, rises = plan.build(), [], {"first": [], "second": []}
    set_rate = loop._set_rate
    monkeypatch.setattr(loop, "_set_rate", lambda optimiser, rate: rates.append(rate) or set_rate(optimiser, rate))
    made = [
        replace(stage_of(model, plan, name, epochs), warm=rises[name].append)
        for name, epochs in (("first", 3), ("second", 1))
    ]
    exhausted(steps(model, made, plan.rows_at, plan.validation, config, tmp_path))
    assert rates == [learning_rate(config, step, total) for total in (6, 2) for step in range(total)]
    assert rises["first"] == pytest.approx([1, 0, 1 / 6, 1, 2 / 6, 3 / 6, 1, 4 / 6, 5 / 6, 1])
    assert rises["second"] == [1, 0, 0.5, 1], "and 1 before the first step, where what is held out is scored"


def test_beta_rises_over_its_share_of_a_stage():
    plan = make_plan(
        RunConfig(dataset="toy", modalities=2, method="aligned_flows", train_size=20, beta=3, metrics="none")
    )
    stages = {stage.name: stage for stage in stages_of(plan, plan.build())}
    assert [stage.warm is None for stage in stages.values()] == [True, False, True]
    batch, losses = plan.train.batch(slice(0, 8)), []
    for done in (0.0, 0.3, 0.6, 0.9, None):
        if done is None:
            stages = {stage.name: stage for stage in stages_of(plan, plan.build())}  # for scoring: at the whole beta
        else:
            stages["vaes"].warm(done)
        bound = stages["vaes"].loss(batch, torch.Generator().manual_seed(0))
        losses.append(float(((bound.loss - bound.distortion) / bound.rate).detach()))
    assert losses == pytest.approx([0, 1.5, 3, 3, 3], rel=1e-4)


def test_the_ragged_rest_is_left_out_unless_it_is_all():
    assert [batches_in(rows, 16) for rows in (5, 16, 31, 40)] == [1, 1, 1, 2]


def test_fresh_pairing_gives_other_rows_every_epoch_and_the_same_again():
    plan = make_plan(RunConfig(modalities=2, train_size=30, test_size=20, pairing="fresh", metrics="none"))
    first, second = plan.train.fingerprint, plan.rows_at(1).fingerprint
    assert first != second
    assert make_plan(plan.config).train.fingerprint == first
    fixed = make_plan(plan.config.with_(pairing="fixed"))
    assert fixed.train.fingerprint == fixed.rows_at(1).fingerprint
    assert fixed.test.fingerprint == plan.test.fingerprint, "test tuples are fixed"
    other = make_plan(plan.config.with_(seed=1))
    assert not torch.equal(other.rows_at(1).values["m0"], plan.rows_at(1).values["m0"])
    translated = make_plan(plan.config.with_(dataset="translated_polymnist"))
    places = [translated.rows_at(epoch).places["m1"] for epoch in (0, 1)]
    assert torch.equal(translated.train.places["m1"], places[0])
    assert not torch.equal(*places), "they are of the rows of their epoch"


def test_history_adds_up(tmp_path):
    """Per-epoch means over rows: distortion is minus the summed log-likelihoods, loss is distortion + beta * rate."""
    _, history = trained(tmp_path)
    for line in history:
        assert line["distortion"] == pytest.approx(-sum(line["log_likelihood"].values()))
        assert line["loss"] == pytest.approx(line["distortion"] + 0.7 * line["rate"])
    assert [line["step"] for line in history] == [2, 4, 6]
    assert datasets.load("toy", modalities=2).names == tuple(history[0]["log_likelihood"])


def test_what_a_training_held_is_free_when_it_ends(tmp_path, monkeypatch):
    """On a GPU that is the memory of a whole step, which the garbage collector knows nothing of."""
    made, prepare = [], loop._Loop.__post_init__
    monkeypatch.setattr(loop._Loop, "__post_init__", lambda it: (made.append(weakref.ref(it)), prepare(it)))
    gc.disable()
    try:
        trained(tmp_path, CONFIG)
        assert [held() for held in made] == [None]
    finally:
        gc.enable()
