"""What a step costs, counted in calls and in elements, so that no machine's speed matters."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from polyvae import Batch, Modality, MultimodalVAE, likelihoods, networks, objectives, subsets
from polyvae.training.loop import _adam

ROWS, LATENT = 12, 4


def model_of(method, count):
    specs = [Modality(f"m{i}", (5,), likelihoods.Normal(1.0)) for i in range(count)]
    built = {m.name: networks.build("mlp", m, LATENT) for m in specs}
    return MultimodalVAE(specs, built, method([m.name for m in specs]), LATENT)


def batch_of(model, present=None):
    return Batch({name: torch.rand(ROWS, 5) for name in model.names}, present)


def counted(model, batch, allocation):
    """(network -> calls, network -> rows) of one step."""
    calls, rows = Counter(), Counter()

    def hook(name):
        def count(module, inputs):
            calls[name] += 1
            rows[name] += len(inputs[0])

        return count

    for part, networks_ in (("encode", model.encoders), ("decode", model.decoders)):
        for name, module in networks_.items():
            module.register_forward_pre_hook(hook(f"{part} {name}"))
    bound = objectives.elbo(
        model, batch, model.mixture, allocation=allocation, generator=torch.Generator().manual_seed(0)
    )
    bound.loss.backward()
    return calls, rows


@pytest.mark.parametrize("method", [subsets.mvae, subsets.mmvae, subsets.mopoe])
def test_a_systematic_step_calls_each_network_once(method):
    model = model_of(method, 4)
    calls, rows = counted(model, batch_of(model), "systematic")
    assert set(calls.values()) == {1}
    assert len(calls) == 8
    assert all(rows[f"decode {name}"] == ROWS for name in model.names)
    encoded = sum(rows[f"encode {name}"] for name in model.names)
    shares = {"mvae": 4 * ROWS, "mmvae": ROWS}
    # a uniform non-empty subset of 4 holds 32 / 15 modalities on average, in 12 rows 25.6
    low, high = {"mopoe": (20, 31)}.get(method.__name__, (shares.get(method.__name__),) * 2)
    assert low <= encoded <= high


def test_an_exact_step_calls_each_network_once_and_decodes_every_subset():
    model = model_of(subsets.mopoe, 4)
    calls, rows = counted(model, batch_of(model), "exact")
    assert set(calls.values()) == {1}
    assert all(rows[f"encode {name}"] == ROWS for name in model.names)
    assert all(rows[f"decode {name}"] == 15 * ROWS for name in model.names)


@pytest.mark.parametrize("allocation", ["systematic", "exact"])
def test_what_no_row_has_is_neither_encoded_nor_decoded(allocation):
    model = model_of(subsets.mopoe, 3)
    present = torch.tensor([True, False, True]).repeat(ROWS, 1)
    calls, _ = counted(model, batch_of(model, present), allocation)
    assert calls.keys() == {"encode m0", "encode m2", "decode m0", "decode m2"}


class Largest(TorchDispatchMode):
    """The most elements of any tensor that an operation returns."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in (out if isinstance(out, (list, tuple)) else [out]) if isinstance(t, torch.Tensor)]
        self.elements = max(self.elements, *(t.numel() for t in tensors), 0)
        return out


def test_the_dispatch_sees_a_table_of_subsets():
    with Largest() as seen:
        torch.ones(1 << 10, 8)
    assert seen.elements == 8 << 10


def test_a_step_of_32_modalities_holds_no_table_of_subsets():
    """2^32 subsets; the largest tensor is a weight of a network, or the experts (modality, row, latent)."""
    model = model_of(subsets.mopoe, 32)
    optimiser = _adam(list(model.parameters()), {})
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    batch = batch_of(model)
    with Largest() as seen:
        bound = objectives.elbo(model, batch, model.mixture, generator=torch.Generator().manual_seed(0))
        bound.loss.backward()
        optimiser.step()
    weights = max(value.numel() for value in model.parameters())
    assert seen.elements <= max(weights, 33 * ROWS * max(LATENT, 32))
    assert bound.loss.isfinite()
    trained = [name for name, value in model.named_parameters() if not torch.equal(value, before[name])]
    assert {name.split(".")[1] for name in trained} == set(model.names), "every modality was encoded and decoded"


def test_the_optimiser_is_fused():
    assert all(group["fused"] for group in _adam([nn.Parameter(torch.zeros(2))], {}).param_groups)
