"""Networks of the same form compute together, on an accelerator, what each computes by itself."""

import pytest
import torch
from torch import nn

from polyvae import Modality, MultimodalVAE, likelihoods, networks, objectives, subsets, waiting
from polyvae.modality import Batch, text_modality
from polyvae.networks import grouped
from polyvae.networks.reading import reading
from polyvae.text import SPECIALS, Vocabulary
from support.operations import Operations

ROWS, LATENT = 3, 6
FIXED, LEARNED = likelihoods.Laplace(0.75), likelihoods.Laplace(None)
IMAGES = {"conv": (3, 28, 28), "conv_half": (1, 16, 16), "resnet": (3, 8, 8)}


@pytest.fixture
def far(monkeypatch):
    """Makes the CPU count as an accelerator on which all networks of the same form run as named."""
    monkeypatch.setattr(grouped, "ALONE", frozenset())

    def go(convolutions_together=True):
        monkeypatch.setattr(waiting, "is_free", lambda device: False)
        monkeypatch.setattr(grouped, "convolutions_together", lambda device: convolutions_together)

    return go


def model_of(modalities, network, dtype=torch.float64):
    torch.manual_seed(0)
    built = {}
    for m in modalities:
        encoder, decoder = networks.build(network, m, LATENT)
        built[m.name] = reading(m, encoder), decoder
    model = MultimodalVAE(modalities, built, subsets.mopoe([m.name for m in modalities]), LATENT)
    for value in model.parameters():  # no bias is zero, no scale one
        value.data.add_(0.01 * torch.randn_like(value))
    return model.to(dtype)


def batch_of(modalities, present=None, dtype=torch.float64):
    return Batch({m.name: torch.rand(ROWS, *m.shape, dtype=dtype) for m in modalities}, present)


def computed(model, batch, wanted=None):
    """Outputs of encoders and decoders, and the gradients of a function that weighs each number otherwise."""
    model.zero_grad()
    law = model.encode(batch, wanted)
    z = torch.linspace(-1, 1, ROWS * LATENT, dtype=law.mean.dtype).view(ROWS, LATENT).requires_grad_()
    decoded = model.decode(z)
    outputs = {"mean": law.mean, "logvar": law.logvar}
    outputs |= {f"{name}/mean": law.mean for name, law in decoded.items()}
    outputs |= {f"{name}/score": law.log_prob(batch.values[name]) for name, law in decoded.items()}
    total = sum((value * torch.linspace(0.5, 1.5, value.numel()).view_as(value)).mean() for value in outputs.values())
    total.backward()
    gradients = {name: value.grad for name, value in model.named_parameters()}
    return outputs | gradients | {"z": z.grad}


def check(model, batch, far, convolutions_together=True, wanted=None):
    here = computed(model, batch, wanted)
    far(convolutions_together)
    torch.testing.assert_close(computed(model, batch, wanted), here, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("convolutions_together", [True, False])
@pytest.mark.parametrize("likelihood", [FIXED, LEARNED], ids=["fixed", "learned"])
@pytest.mark.parametrize("network", [*IMAGES, "mlp"])
def test_outputs_and_gradients_are_those_of_each_network_by_itself(network, likelihood, convolutions_together, far):
    modalities = [Modality(f"m{i}", IMAGES.get(network, (5,)), likelihood) for i in range(3)]
    model = model_of(modalities, network)
    assert model.forms == ((model.names,), (model.names,))
    check(model, batch_of(modalities), far, convolutions_together)


@pytest.mark.parametrize("library", [None, 3.0])
def test_counts_with_several_learned_parameters_run_together(library, far):
    modalities = [Modality(f"m{i}", (5,), likelihoods.ZeroInflatedNegativeBinomial(library)) for i in range(3)]
    model, batch = model_of(modalities, "mlp"), batch_of(modalities)
    assert model.forms == ((model.names,), (model.names,))
    check(model, batch._replace(values={name: (9 * value).round() for name, value in batch.values.items()}), far)


def test_rows_and_modalities_that_are_not_wanted_are_left_out(far):
    modalities = [Modality(f"m{i}", (4,), FIXED, has_gaps=i < 2) for i in range(4)]
    model, batch = model_of(modalities, "mlp"), batch_of(modalities)
    assert model.forms[0] == (("m0", "m1"), ("m2", "m3"))
    masks = torch.rand(ROWS, 4) < 0.5
    for wanted in (masks, ("m0", "m2", "m3"), ()):
        here = model.encode(batch, wanted)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(waiting, "is_free", lambda device: False)
            torch.testing.assert_close(model.encode(batch, wanted), here)
    check(model, batch_of(modalities, masks | torch.eye(4, dtype=torch.bool)[:ROWS]), far, wanted=("m1", "m3"))


def test_other_forms_and_unknown_layers_stay_alone():
    words = text_modality("text", Vocabulary((*SPECIALS, "a"), 32))
    build = networks.build
    image, wide = Modality("x", (3, 28, 28), FIXED), Modality("x", (3, 32, 32), FIXED)
    encoders = {
        "a": build("conv", image, 4)[0],
        "other latent": build("conv", image, 5)[0],
        "other shape": build("conv", wide, 4)[0],
        "b": build("conv", image, 4)[0],
        "text": build("conv", words, 4)[0],
        "text again": build("conv", words, 4)[0],
        "own": nn.Sequential(nn.Linear(2, 2), nn.Dropout()),
        "own again": nn.Sequential(nn.Linear(2, 2), nn.Dropout()),
        "precise": nn.Linear(2, 2).double(),
        "plain": nn.Linear(2, 2),
    }
    assert set(grouped.forms(encoders)) == {("a", "b"), *((name,) for name in encoders if name not in "ab")}


@pytest.mark.parametrize("codes", [1, 2])
def test_codes_of_their_own(codes, far):
    """Modalities may read other codes; those of other lengths are decoded one by one."""
    modalities = [Modality(f"m{i}", (4,), FIXED) for i in range(3)]
    model = model_of(modalities, "mlp")
    z = {
        name: torch.randn(i if codes == 2 else 2, LATENT, dtype=torch.float64) for i, name in enumerate(model.names, 1)
    }
    here = {name: law.mean for name, law in model.decode(z).items()}
    far()
    torch.testing.assert_close({name: law.mean for name, law in model.decode(z).items()}, here)


def test_in_mixed_precision(far):
    modalities = [Modality(f"m{i}", (1, 28, 28), LEARNED) for i in range(2)]
    model, batch = model_of(modalities, "conv_half", torch.float32), batch_of(modalities, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        here = computed(model, batch)
        far()
        there = computed(model, batch)
    assert {name: value.dtype for name, value in there.items()} == {name: v.dtype for name, v in here.items()}
    torch.testing.assert_close(there, here, rtol=0.03, atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("convolutions_together", [True, False])
@pytest.mark.parametrize("network", IMAGES)
def test_a_step_is_one_graph(network, convolutions_together, far):
    modalities = [Modality(f"m{i}", (1, 16, 16), LEARNED) for i in range(2)]
    model, batch = model_of(modalities, network), batch_of(modalities)
    far(convolutions_together)

    def step(generator):
        return objectives.elbo(model, batch, model.mixture, generator=generator).loss

    torch._dynamo.reset()
    losses = []
    for taken in (step, torch.compile(step, fullgraph=True, backend="eager")):
        torch.manual_seed(0)
        losses.append(taken(None))
    losses[1].backward()
    torch.testing.assert_close(losses[1], losses[0])


def test_a_step_takes_fewer_operations(far):
    modalities = [Modality(f"m{i}", (3, 28, 28), FIXED) for i in range(5)]
    model, batch = model_of(modalities, "conv_half", torch.float32), batch_of(modalities, dtype=torch.float32)

    def operations():
        model.zero_grad()
        with Operations() as taken:
            objectives.elbo(model, batch, model.mixture).loss.backward()
        return taken.count()

    alone = operations()
    far(convolutions_together=True)
    assert operations() < 0.6 * alone
    far(convolutions_together=False)
    assert operations() < 0.8 * alone
