"""Convolutional networks: the one of the MoPoE code for 28x28 images (Sutter et al. 2021), that of the MMVAE code for
images of 32, 64 or more pixels a side and for captions (Shi et al. 2019)."""

import math

import torch
from torch import Tensor, nn

from polyvae.modality import Modality
from polyvae.networks import caption
from polyvae.networks.heads import ChannelsLast, GaussianHead, side_of


def build(
    modality: Modality, latent_dim: int, width: float = 1.0, features: int | None = None
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for square images with any number of channels, or text; `width` scales the hidden channels.

    features: of an image of 28x28 pixels, from which its posterior is read; None: as many as latent dimensions, as
    published. Raises InputError for other shapes.
    """
    if modality.vocabulary:
        return caption.build(modality, latent_dim, width)
    side = side_of(modality, "conv")
    if side != 28:
        return _halving(modality, latent_dim, width, side)
    return _for_28(modality, latent_dim, width, features or latent_dim)


def _for_28(modality: Modality, latent_dim: int, width: float, features: int) -> tuple[nn.Module, nn.Module]:
    channels = modality.shape[0]
    narrow, middle, wide = (round(width * hidden) for hidden in (32, 64, 128))
    encoder = nn.Sequential(
        ChannelsLast(),
        *(nn.Conv2d(channels, narrow, 3, 2, 1), _relu()),
        *(nn.Conv2d(narrow, middle, 3, 2, 1), _relu()),
        *(nn.Conv2d(middle, wide, 3, 2, 1), _relu()),
        *(nn.Flatten(), nn.Linear(16 * wide, features), _relu()),
        GaussianHead(features, latent_dim),
    )
    decoder = nn.Sequential(
        *(nn.Linear(latent_dim, 16 * wide), _relu(), nn.Unflatten(1, (wide, 4, 4)), ChannelsLast()),
        *(OddUpsampling(wide, middle, 3, 2, 1), _relu()),
        *(nn.ConvTranspose2d(middle, narrow, 3, 2, 1, output_padding=1), _relu()),
        nn.ConvTranspose2d(narrow, channels, 3, 2, 1, output_padding=1),
    )
    return encoder, decoder


def _halving(modality: Modality, latent_dim: int, width: float, side: int) -> tuple[nn.Module, nn.Module]:
    """Halves the side down to 4 and back, channels 64, 128, 256, ...; no sigmoid, so that any likelihood fits."""
    channels = [round(width * 64 * 2**level) for level in range((side // 4).bit_length() - 1)]
    down = [
        layer
        for inward, outward in zip([modality.shape[0], *channels], channels, strict=False)
        for layer in (nn.Conv2d(inward, outward, 4, 2, 1), _relu())
    ]
    encoder = nn.Sequential(ChannelsLast(), *down, nn.Flatten(), GaussianHead(16 * channels[-1], latent_dim))
    up = [
        layer
        for inward, outward in zip(channels[:0:-1], channels[-2::-1], strict=True)
        for layer in (nn.ConvTranspose2d(inward, outward, 4, 2, 1), _relu())
    ]
    decoder = nn.Sequential(
        nn.Unflatten(1, (latent_dim, 1, 1)),
        *(nn.ConvTranspose2d(latent_dim, channels[-1], 4), _relu(), ChannelsLast()),
        *up,
        nn.ConvTranspose2d(channels[0], modality.shape[0], 4, 2, 1),
    )
    return encoder.apply(_keep_scale), decoder.apply(_keep_scale)


class OddUpsampling(nn.ConvTranspose2d):
    """A transposed convolution of stride 2 to an odd side; in mixed precision it goes to the even side and is cut, the
    same numbers by a kernel that takes a quarter of the time (bfloat16, AVX-512)."""

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        if not torch.is_autocast_enabled(input.device.type):
            return super().forward(input, output_size)
        return super().forward(input, [2 * side for side in input.shape[-2:]])[..., :-1, :-1]


def _relu() -> nn.ReLU:
    """In place: layers before it do not need their outputs again, and a step takes 4 % less time."""
    return nn.ReLU(inplace=True)


def _keep_scale(layer: nn.Module) -> None:
    """Weights of He et al. 2015, so that signals keep their size: torch's own let them shrink by half a layer, and
    training spends its first thousands of steps on a plateau where every image is the mean."""
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    elif isinstance(layer, nn.ConvTranspose2d):
        overlap = math.prod(layer.kernel_size) // math.prod(layer.stride) if layer.stride[0] > 1 else 1
        taps = layer.in_channels * overlap  # the first one spreads a single position
        nn.init.normal_(layer.weight, std=math.sqrt(2 / taps))
    else:
        return
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
