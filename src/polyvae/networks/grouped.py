"""Networks of the same form, run together: one operation for all of them where each had one of its own.

An accelerator takes about as long for a small operation as for five of them in one, so what counts is how many there
are. Weights stay where they are, in the networks; every run stacks them anew, one copy a layer.
Arrays are (network, batch, ...), in memory as convolutions leave them. The first axis is 1 where all read the same.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from polyvae import waiting
from polyvae.networks.by_name import ByName
from polyvae.networks.conv import OddUpsampling
from polyvae.networks.heads import ChannelsLast, GaussianHead, LearnedScale
from polyvae.networks.reading import FillGaps, Log1p
from polyvae.networks.resnet import Block
from polyvae.networks.trunks import TwoTrunks

# Networks with such layers run by themselves: their arrays are so large that copies may cost more than launches.
ALONE: frozenset[type[nn.Module]] = frozenset({Block})


def forms(networks: Mapping[str, nn.Module] | nn.ModuleDict) -> tuple[tuple[str, ...], ...]:
    """Names of networks that can run together; alone those like no other, or with layers that are not known here."""
    alike: dict[object, list[str]] = {}
    for name, network in networks.items():
        shapes = [(key, value.shape, value.dtype) for key, value in network.state_dict().items()]
        form = f"{network} {shapes}"  # layers print their settings
        is_known = {type(module) for module in network.modules()} <= RULES.keys() - ALONE
        alike.setdefault(form if is_known and "padding_mode" not in form else (name,), []).append(name)
    return tuple(map(tuple, alike.values()))


def outputs(networks: ByName, forms: Sequence[Sequence[str]], inputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """name -> what its network makes of its input (batch, ...). `forms`: as given by the function of that name."""
    found: dict[str, Any] = {}
    for form in forms:
        names = [name for name in form if name in inputs]
        values = [inputs[name] for name in names]
        if len(names) > 1 and _pays(values):
            is_shared = all(value is values[0] for value in values)
            x = values[0][None] if is_shared else torch.stack(values, 1).transpose(0, 1)
            result = run([networks[name] for name in names], x)
            found |= zip(names, zip(*result, strict=True) if isinstance(result, tuple) else result, strict=True)
        else:
            found |= {name: networks[name](inputs[name]) for name in names}
    return {name: found[name] for name in inputs}


def convolutions_together(device: torch.device) -> bool:
    """Whether convolutions, too, are one operation: grouped ones, in mixed precision. Else each network has its own.

    On an H200 (docs/performance.md) this takes a third off a step in bfloat16, and costs nothing where eight runs share
    the card; in float32 it takes an eighth off a run alone, and doubles the time of small networks where eight do.
    """
    return torch.is_autocast_enabled(device.type)


def _pays(values: Sequence[Tensor]) -> bool:
    is_alike = len({value.shape for value in values}) == 1
    return is_alike and not waiting.is_free(values[0].device)


def run(layers: Sequence[Any], x: Tensor) -> Any:
    """The outputs of networks of the same form at x (network, batch, ...), or at x (1, batch, ...) of all of them."""
    return RULES[type(layers[0])](layers, x)


def _each(layers: Sequence[Any], part: str, x: Tensor) -> Any:
    return run([getattr(layer, part) for layer in layers], x)


def _chain(layers: Sequence[nn.Sequential], x: Tensor) -> Any:
    for parts in zip(*layers, strict=True):
        x = run(parts, x)
    return x


def _linear(layers: Sequence[nn.Linear], x: Tensor) -> Tensor:
    weight, bias = torch.stack([layer.weight for layer in layers]), _biases(layers)
    if len(x) == 1:
        flat = functional.linear(x[0], weight.flatten(0, 1), bias)
        return flat.unflatten(-1, (len(layers), -1)).movedim(-2, 0)
    if bias is None:
        return torch.bmm(weight, x.mT).mT
    return torch.baddbmm(bias.view(len(layers), -1, 1), weight, x.mT).mT  # so gradients are laid out as weights are


def _biases(layers: Sequence[Any]) -> Tensor | None:
    return None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])


def _convolution(layers: Sequence[Any], x: Tensor) -> Tensor:
    first, count = layers[0], len(layers)
    x = x.expand(count, *x.shape[1:])
    if not convolutions_together(x.device):
        images = [layer(image).movedim(1, -1) for layer, image in zip(layers, x, strict=True)]
        return torch.stack(images).movedim(-1, 2)  # channels stay innermost
    how = torch.cat([layer.weight for layer in layers]), _biases(layers), first.stride, first.padding
    groups = count * first.groups
    if isinstance(first, nn.ConvTranspose2d):
        spread = functional.conv_transpose2d(_merged(x), *how, first.output_padding, groups, first.dilation)
        return _parted(spread, count)
    return _parted(functional.conv2d(_merged(x), *how, first.dilation, groups), count)


def _merged(x: Tensor) -> Tensor:
    """(network, batch, channel, ...) -> (batch, network * channel, ...); no copy of what `_parted` gave."""
    return x.transpose(0, 1).flatten(1, 2)


def _parted(x: Tensor, count: int) -> Tensor:
    return x.unflatten(1, (count, -1)).transpose(0, 1)


def _by_channel(layers: Sequence[nn.Module], x: Tensor) -> Tensor:
    if not convolutions_together(x.device):
        return layers[0](x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return _parted(layers[0](_merged(x)), len(x))


def _channels_last(layers: Sequence[ChannelsLast], x: Tensor) -> Tensor:
    return x if convolutions_together(x.device) else x.movedim(2, -1).contiguous().movedim(-1, 2)


def _beside(layers: Sequence[TwoTrunks], x: Tensor) -> tuple[Tensor, Tensor]:
    first, second = _each(layers, "first", x), _each(layers, "second", x)
    mean, logvar = (torch.cat(parts, -1) for parts in zip(first, second, strict=True))
    return mean, logvar


def _scaled(layers: Sequence[LearnedScale], x: Tensor) -> Tensor:
    raw = torch.stack([layer.log_scale for layer in layers])
    location = _each(layers, "decoder", x).to(raw.dtype)[:, :, None]
    learned = LearnedScale.bounded(raw).view(len(layers), 1, -1, *location.shape[3:])
    return torch.cat([location, learned.expand(-1, location.shape[1], *learned.shape[2:])], 2)


RULES: dict[type[nn.Module], Callable[[Sequence[Any], Tensor], Any]] = {
    nn.Sequential: _chain,
    nn.Linear: _linear,
    **dict.fromkeys((nn.Conv2d, nn.ConvTranspose2d, OddUpsampling), _convolution),
    **dict.fromkeys((nn.AvgPool2d, nn.Upsample), _by_channel),
    nn.ReLU: lambda layers, x: torch.relu(x),
    nn.LeakyReLU: lambda layers, x: functional.leaky_relu(x, layers[0].negative_slope),
    nn.Identity: lambda layers, x: x,
    nn.Flatten: lambda layers, x: x.flatten(layers[0].start_dim + 1),
    nn.Unflatten: lambda layers, x: x.unflatten(layers[0].dim + 1, layers[0].unflattened_size),
    ChannelsLast: _channels_last,
    **dict.fromkeys((FillGaps, Log1p), lambda layers, x: layers[0](x)),
    Block: lambda layers, x: _each(layers, "shortcut", x) + 0.1 * _each(layers, "residual", x),
    GaussianHead: lambda layers, x: (_each(layers, "mean", x), _each(layers, "logvar", x)),
    LearnedScale: _scaled,
    TwoTrunks: _beside,
}
