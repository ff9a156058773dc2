"""Away from the CPU a training step asks the device for no number, and computes what it computes here."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from polyvae import RunConfig, waiting
from polyvae.methods import METHODS
from polyvae.objectives import OBJECTIVES
from polyvae.priors import MIXTURES, PRIORS
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from support.operations import COPYING, Operations
from support.slow import ONE_OF_A_KIND, slow_unless
from support.training import trained

DRAWS_ON_THE_HOST = "mvae_plus_random"  # other terms every step: what they do not predict is not decoded
NAMES = sorted(set(METHODS) - {DRAWS_ON_THE_HOST, "custom"})
QUICK = {"mopoe": {}, "mvae_plus": {}, "mvtcae": {}, "mmvae": {"objective": "dreg_looser"}}
STAGES = [(name, stage) for name in NAMES for stage in range(len(METHODS[name].stages))]
ROWS = 8
old_torch = pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11),
    reason="torch 2.6 compiles no method of a named tuple, and passes through main memory itself",
)
META = torch.device("meta")
CONFIG = RunConfig(dataset="toy", modalities=3, train_size=ROWS, test_size=4, latent_dim=6, metrics="none")


def parts(method, stage=-1, **options):
    """Model, data and a stage's loss of a tiny run."""
    plan = make_plan(CONFIG.with_(method=method, only="m0" if METHODS[method].is_single else None, **options))
    model = plan.build()
    return model, plan.train, stages_of(plan, model)[stage].loss


def with_gaps(data):
    """The same rows, of which half lack something."""
    present = torch.ones(ROWS, len(data.names), dtype=torch.bool)
    present[:4] = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 0]], dtype=torch.bool)
    return replace(data, present=present)


def stepped(model, data, loss):
    """Loss and gradients of one batch, and what torch was asked to do."""
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.zero_grad()
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    rows = torch.arange(ROWS)
    data.is_complete  # noqa: B018 known when data are loaded
    with Operations() as operations:
        bound = loss(data.batch(rows), torch.Generator().manual_seed(0))
        bound.loss.backward()
        optimiser.step()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    model.load_state_dict(weights)
    found = torch.cat([bound.loss.detach()[None], *(g.flatten() for g in gradients)])
    return found, operations


@pytest.fixture
def far(monkeypatch):
    """Makes the CPU count as an accelerator."""
    return lambda: monkeypatch.setattr(waiting, "is_free", lambda device: False)


def check(model, data, loss, far):
    here, _ = stepped(model, data, loss)
    far()
    there, operations = stepped(model, data, loss)
    assert operations.asked() == []
    assert operations.names[COPYING] == 0
    largest = float(here[1:].abs().max())  # sums of large gradients are rounded in another order
    torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-5 * max(1.0, largest / 4))


@pytest.mark.parametrize(("method", "stage"), STAGES)
def test_a_step_asks_for_nothing_and_computes_the_same(method, stage, far):
    check(*parts(method, stage), far)


@pytest.mark.parametrize(("method", "stage"), [case for case in STAGES if not METHODS[case[0]].is_single])
def test_nor_do_rows_that_lack_something(method, stage, far):
    model, data, loss = parts(method, stage)
    check(model, with_gaps(data), loss, far)


class Mixed(TorchDispatchMode):
    """Records operations that a tensor in main memory takes part in."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type == "cpu" for leaf in leaves):
            self.names.append(function.name())
        return result


@old_torch
@pytest.mark.parametrize(
    ("method", "lacking"),
    slow_unless(
        lambda method, lacking: method in (ONE_OF_A_KIND if lacking else QUICK), itertools.product(NAMES, [False, True])
    ),
)
def test_a_step_takes_nothing_from_main_memory(method, lacking):
    plan = make_plan(CONFIG.with_(method=method, only="m0" if METHODS[method].is_single else None))
    plan = replace(plan, device=META)
    model, data = plan.build(), copy.copy(plan.train)
    for field in ("values", "present"):  # rows on a device without numbers cannot be looked at when they are made
        object.__setattr__(data, field, tree_map(lambda tensor: tensor.to(META), getattr(data, field)))
    object.__setattr__(data, "labels", None)
    vars(data)["is_complete"] = not lacking
    rows = torch.arange(ROWS, device=META)
    for stage in stages_of(plan, model):
        for _ in range(2):  # what is copied once, the first step copies
            with Mixed() as mixed:
                bound = stage.loss(data.batch(rows), None)
                bound.loss.backward()
                torch.nn.utils.clip_grad_norm_(stage.parameters, 1.0)
        assert mixed.names == []


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_no_objective_asks(objective, far):
    check(*parts("mmvae", objective=objective), far)


@pytest.mark.parametrize("prior", sorted(PRIORS))
def test_no_prior_asks(prior, far):
    check(*parts("mopoe", prior=prior, prior_components=2 if prior in MIXTURES else None), far)


def test_scoring_in_chunks_looks_at_no_generator(far, monkeypatch):
    """A CUDA graph does not let the state of a generator be read."""
    model, data, loss = parts("mmvae", objective="dreg_looser", objective_samples=200)  # 1,600 samples in four chunks
    far()
    monkeypatch.setattr(torch, "get_rng_state", None)
    stepped(model, data, loss)


def test_where_reading_is_free_rows_are_chosen_by_index():
    model, data, loss = parts("mmvae")
    assert "nonzero" in stepped(model, with_gaps(data), loss)[1].asked()


def test_losses_are_read_fifty_at_a_time(far, tmp_path, monkeypatch):
    config = CONFIG.with_(epochs=2, train_size=60 * ROWS, batch_size=ROWS)
    here = trained(tmp_path / "here", config, checkpoint_seconds=1e9)
    read, reads = torch.Tensor.tolist, []
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: reads.append(tensor.dim()) or read(tensor))
    far()
    there = trained(tmp_path / "there", config, checkpoint_seconds=1e9)
    assert len(reads) == 4  # 50 steps and the last 10 of each epoch
    for line, other in zip(here[1], there[1], strict=True):
        assert line["loss"] == pytest.approx(other["loss"], rel=1e-6)


def compiled(model, data, loss):
    """Loss of one batch through one graph without a break, and without a compiler."""
    batch = data.batch(torch.arange(ROWS))
    torch._dynamo.reset()
    results = []
    for step in (loss, torch.compile(loss, fullgraph=True, backend="eager")):
        torch.manual_seed(0)
        results.append(step(batch, None).loss)
    return results


FLOWS = ("jnf", "jnf_dcca", "jnf_contrast", "aligned_flows")  # zuko's flows break graphs
LONG = [
    *((method, {}) for method in NAMES if method not in (*QUICK, *FLOWS)),
    *(("mmvae", {"objective": objective}) for objective in OBJECTIVES if objective != "dreg_looser"),
    *(("mopoe", {"prior": prior}) for prior in PRIORS if prior not in ("normal", "flow")),
]


@old_torch
@pytest.mark.parametrize(
    ("method", "options"), slow_unless(lambda method, options: (method, options) not in LONG, [*QUICK.items(), *LONG])
)
def test_a_step_is_one_graph(method, options, far):
    if options.get("prior") in MIXTURES:
        options = options | {"prior_components": 2}
    case = parts(method, **options)
    far()
    alone, whole = compiled(*case)
    torch.testing.assert_close(whole, alone, rtol=1e-6, atol=1e-6)
    whole.backward()
