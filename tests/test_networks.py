"""Networks: published sizes, one contract for all."""

import pytest
import torch

from polyvae import InputError, Modality, likelihoods, networks

IMAGE = Modality("x", (3, 28, 28), likelihoods.Laplace(0.75))


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("name", "encoder_size", "decoder_size"),
    [("conv", 1_667_648, 1_143_747), ("resnet", 13_516_224, 7_104_963)],
)
def test_sizes_are_those_of_the_published_networks(name, encoder_size, decoder_size):
    with torch.device("meta"):
        encoder, decoder = networks.build(name, IMAGE, 512)
    assert (count(encoder), count(decoder)) == (encoder_size, decoder_size)


def test_unimodal_resnet_has_the_published_size():
    with torch.device("meta"):
        encoder, decoder = networks.build("resnet", IMAGE, 512 // 5)
    assert (count(encoder), count(decoder)) == (3_229_324, 1_961_923)


@pytest.mark.parametrize("name", networks.NETWORKS)
@pytest.mark.parametrize("shape", [(3, 28, 28), (1, 28, 28)])
def test_every_network_treats_rows_alone_and_reaches_every_weight(name, shape):
    torch.manual_seed(0)
    encoder, decoder = networks.build(name, Modality("x", shape, likelihoods.Laplace(0.75)), 6)
    rows = torch.rand(3, *shape)
    mean, logvar = encoder(rows)
    assert mean.shape == logvar.shape == (3, 6)
    out = decoder(mean)
    assert out.shape == rows.shape
    alone = encoder(rows[1:2])
    torch.testing.assert_close(alone[0][0], mean[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoder(mean[1:2])[0], out[1], rtol=1e-4, atol=1e-5)
    (out.square().sum() + logvar.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for m in (encoder, decoder) for p in m.parameters())


@pytest.mark.parametrize("name", ["conv", "conv_half", "resnet"])
@pytest.mark.parametrize("shape", [(5,), (3, 32, 32)])
def test_image_networks_refuse_other_shapes(name, shape):
    with pytest.raises(InputError, match="28x28"):
        networks.build(name, Modality("x", shape, likelihoods.Laplace(0.75)), 6)


def test_unknown_network_lists_the_choices():
    with pytest.raises(InputError, match="conv"):
        networks.build("transformer", IMAGE, 6)
