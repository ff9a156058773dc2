"""Away from the CPU a training step asks the device for no number, and computes what it computes here."""

from dataclasses import replace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from polyvae import RunConfig, waiting
from polyvae.methods import METHODS
from polyvae.objectives import OBJECTIVES
from polyvae.priors import MIXTURES, PRIORS
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from support.training import trained

ASKING = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "lift_fresh", "is_nonzero", "equal")
DRAWS_ON_THE_HOST = "mvae_plus_random"  # other terms every step: what they do not predict is not decoded
NAMES = sorted(set(METHODS) - {DRAWS_ON_THE_HOST, "custom"})
ROWS = 8
CONFIG = RunConfig(dataset="toy", modalities=3, train_size=ROWS, test_size=4, latent_dim=6, metrics="none")


class Asked(TorchDispatchMode):
    """Records the operations that make a host wait for its device, or that copy numbers to it."""

    def __init__(self):
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split("::")[1].split(".")[0]
        if any(name.startswith(asking) for asking in ASKING):
            self.names.append(name)
        return function(*args, **(kwargs or {}))


def parts(method, **options):
    """Model, data and loss of a tiny run."""
    plan = make_plan(CONFIG.with_(method=method, only="m0" if METHODS[method].is_single else None, **options))
    model = plan.build()
    return model, plan.train, stages_of(plan, model)[-1].loss


def with_gaps(data):
    """The same rows, of which half lack something."""
    present = torch.ones(ROWS, len(data.names), dtype=torch.bool)
    present[:4] = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 0, 1], [1, 1, 0]], dtype=torch.bool)
    return replace(data, present=present)


def stepped(model, data, loss):
    """Loss and gradients of one batch, and what was asked for."""
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.zero_grad()
    optimiser = torch.optim.Adam(model.parameters(), fused=True)
    rows = torch.arange(ROWS)
    data.is_complete  # noqa: B018 known when data are loaded
    with Asked() as asked:
        bound = loss(data.batch(rows), torch.Generator().manual_seed(0))
        bound.loss.backward()
        optimiser.step()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    model.load_state_dict(weights)
    return torch.cat([bound.loss.detach()[None], *(g.flatten() for g in gradients)]), asked.names


@pytest.fixture
def far(monkeypatch):
    """Makes the CPU count as an accelerator."""
    return lambda: monkeypatch.setattr(waiting, "is_free", lambda device: False)


def check(model, data, loss, far):
    here, _ = stepped(model, data, loss)
    far()
    there, asked = stepped(model, data, loss)
    assert asked == []
    torch.testing.assert_close(there, here, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", NAMES)
def test_a_step_asks_for_nothing_and_computes_the_same(method, far):
    check(*parts(method), far)


@pytest.mark.parametrize("method", [name for name in NAMES if not METHODS[name].is_single])
def test_nor_do_rows_that_lack_something(method, far):
    model, data, loss = parts(method)
    check(model, with_gaps(data), loss, far)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_no_objective_asks(objective, far):
    check(*parts("mmvae", objective=objective), far)


@pytest.mark.parametrize("prior", sorted(PRIORS))
def test_no_prior_asks(prior, far):
    check(*parts("mopoe", prior=prior, prior_components=2 if prior in MIXTURES else None), far)


def test_where_reading_is_free_rows_are_chosen_by_index():
    model, data, loss = parts("mmvae")
    assert "nonzero" in stepped(model, with_gaps(data), loss)[1]


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


QUICK = {"mopoe": {}, "mvae_plus": {}, "mvtcae": {}, "mmvae": {"objective": "dreg_looser"}}
LONG = [
    *((method, {}) for method in NAMES if method not in QUICK),
    *(("mmvae", {"objective": objective}) for objective in OBJECTIVES if objective != "dreg_looser"),
    *(("mopoe", {"prior": prior}) for prior in PRIORS if prior not in ("normal", "flow")),  # zuko's flows break graphs
]


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to a")  # of tables that are kept per device
@pytest.mark.parametrize(
    ("method", "options"), [*QUICK.items(), *(pytest.param(*case, marks=pytest.mark.slow) for case in LONG)]
)
def test_a_step_is_one_graph(method, options, far):
    if options.get("prior") in MIXTURES:
        options = options | {"prior_components": 2}
    case = parts(method, **options)
    far()
    alone, whole = compiled(*case)
    torch.testing.assert_close(whole, alone, rtol=1e-6, atol=1e-6)
    whole.backward()
