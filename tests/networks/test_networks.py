"""Networks: published sizes, one contract for all."""

import pytest
import torch

from polyvae import InputError, Modality, likelihoods, networks
from polyvae.modality import text_modality
from polyvae.networks.conv import OddUpsampling
from polyvae.text import PADDING, SPECIALS, Vocabulary

IMAGE = Modality("x", (3, 28, 28), likelihoods.Laplace(0.75))
LARGE = Modality("x", (3, 64, 64), likelihoods.Laplace(0.75))
CAPTION = text_modality("x", Vocabulary((*SPECIALS, *(f"w{i}" for i in range(1865)))))


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


def test_bird_networks_have_the_published_sizes():
    with torch.device("meta"):
        image = networks.build("conv", LARGE, 64)
        caption = networks.build("conv", CAPTION, 64)
        residual = networks.build("resnet", LARGE, 64)
    assert tuple(map(count, image)) == (3_805_248, 3_280_835)
    assert tuple(map(count, caption)) == (797_632 + 2 * 64, 668_428), "the published heads have no bias"
    assert residual[1][0].out_features == 65_536


def small(shape):
    """A modality of this shape; of two axes: text."""
    if len(shape) == 2:
        return text_modality("x", Vocabulary((*SPECIALS, *"abcd"), shape[0]))
    return Modality("x", shape, likelihoods.Laplace(0.75))


def rows_of(modality):
    if modality.vocabulary is None:
        return torch.rand(3, *modality.shape)
    ids = torch.randint(3, 7, (3, modality.shape[0]))
    for row, end in enumerate((4, 9, 20)):
        ids[row, end], ids[row, end + 1 :] = 2, PADDING
    return modality.vocabulary(ids)


FITS = [(name, shape) for name in networks.NETWORKS for shape in [(3, 28, 28), (1, 28, 28), (3, 32, 32), (32, 7)]]
FITS = [(n, s) for n, s in FITS if n == "mlp" or (n == "transformer") == (len(s) == 2) or (len(s) == 2 and "conv" in n)]


@pytest.mark.parametrize(("name", "shape"), [*FITS, ("conv_half", (3, 64, 64)), ("transformer", (40, 7))])
def test_every_network_treats_rows_alone_and_reaches_every_weight(name, shape):
    torch.manual_seed(0)
    modality = small(shape)
    encoder, decoder = networks.build(name, modality, 6)
    rows = rows_of(modality)
    mean, logvar = encoder(rows)
    assert mean.shape == logvar.shape == (3, 6)
    out = decoder(mean)
    assert out.shape == rows.shape
    alone = encoder(rows[1:2])
    torch.testing.assert_close(alone[0][0], mean[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(decoder(mean[1:2])[0], out[1], rtol=1e-4, atol=1e-5)
    (out.square().sum() + mean.square().sum() + logvar.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for m in (encoder, decoder) for p in m.parameters())


def test_signals_keep_their_size_through_the_networks_of_birds():
    torch.manual_seed(0)
    encoder, decoder = networks.build("conv", LARGE, 64)
    spread = decoder(torch.randn(16, 64)).std()
    assert 0.3 < spread < 3
    features = encoder[:-1](torch.randn(16, 3, 64, 64))
    assert 0.3 < features.std() < 3


@pytest.mark.parametrize("name", ["transformer", "conv"])
def test_probabilities_of_words_are_read_alike_with_and_without_gradients(name):
    torch.manual_seed(0)
    encoder, _ = networks.build(name, small((32, 7)), 6)
    values = torch.rand(3, 32, 7).softmax(-1)
    with torch.no_grad():
        expected = encoder(values)
    torch.testing.assert_close(encoder(values.requires_grad_()), expected)
    precise = encoder.double()(values.detach().double())
    torch.testing.assert_close(precise, tuple(part.double() for part in expected), rtol=1e-4, atol=1e-5)


def test_the_transformer_reads_nothing_after_the_end():
    torch.manual_seed(0)
    modality = small((32, 7))
    encoder, _ = networks.build("transformer", modality, 6)
    long, short = small((32, 7)), small((20, 7))
    ids = torch.tensor([[3, 4, 5, 2, *[PADDING] * 28]])
    full = encoder(long.vocabulary(ids))[0]
    encoder.positions.data = encoder.positions.data[:20]
    torch.testing.assert_close(encoder(short.vocabulary(ids[:, :20]))[0], full)
    nothing = modality.vocabulary(torch.full((1, 32), PADDING))
    encoder, _ = networks.build("transformer", modality, 6)
    assert encoder(nothing)[0].isfinite().all()


@pytest.mark.parametrize("name", ["conv", "conv_half", "resnet"])
@pytest.mark.parametrize("shape", [(5,), (3, 30, 30), (3, 32, 64)])
def test_image_networks_refuse_other_shapes(name, shape):
    with pytest.raises(InputError, match="28x28"):
        networks.build(name, Modality("x", shape, likelihoods.Laplace(0.75)), 6)


def test_text_networks_refuse_what_is_no_text():
    with pytest.raises(InputError, match="needs text"):
        networks.build("transformer", IMAGE, 6)
    with pytest.raises(InputError, match="32 positions"):
        networks.build("conv", small((20, 7)), 6)


def test_unknown_network_lists_the_choices():
    with pytest.raises(InputError, match="conv"):
        networks.build("gru", IMAGE, 6)


def test_an_odd_side_cut_from_an_even_one_is_the_transposed_convolution():
    torch.manual_seed(0)
    layer, images = OddUpsampling(8, 5, 3, 2, 1), torch.randn(3, 8, 4, 4)
    plain = torch.nn.ConvTranspose2d(8, 5, 3, 2, 1)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(images), plain(images))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = layer(images)
    assert mixed.dtype == torch.bfloat16
    torch.testing.assert_close(mixed.float(), plain(images), rtol=0.03, atol=0.03)


def test_networks_of_ones_own_have_a_name():
    networks.register("own", lambda modality, latent_dim: networks.build("mlp", modality, latent_dim))
    try:
        encoder, _ = networks.build("own", Modality("x", (3,), likelihoods.Normal()), 2)
        assert [part.shape for part in encoder(torch.zeros(5, 3))] == [(5, 2), (5, 2)]
        with pytest.raises(InputError, match="there is a network 'own' already"):
            networks.register("own", networks.NETWORKS["mlp"])
    finally:
        del networks.NETWORKS["own"]
