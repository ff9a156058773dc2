"""What makes a training step faster, and what does not: each lever in alternation with its baseline.

    python benchmarks/levers.py [--only NAME ...] [--threads N]

Ratios are medians over rounds with their range; below 1 the lever pays.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import conv2d, pad, pixel_shuffle

from polyvae import Batch, Modality, MultimodalVAE, likelihoods, networks, objectives, subsets
from polyvae.networks.heads import ChannelsLast

LATENT = 512
Step = Callable[[], object]


def compare(baseline: Step, lever: Step, rounds: int = 7, inner: int = 1) -> None:
    for _ in range(2):
        baseline(), lever()
    times = [(_seconds(baseline, inner), _seconds(lever, inner)) for _ in range(rounds)]
    ratios = [b / a for a, b in times]
    before, after = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"    {before:.1f} -> {after:.1f} ms, ratio {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f} to {max(ratios):.3f})",
        flush=True,
    )


def _seconds(step: Step, count: int) -> float:
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def model_of(method: Callable[..., subsets.SubsetMixture] = subsets.mopoe, count: int = 5, latent: int = LATENT):
    torch.manual_seed(0)
    specs = [Modality(f"m{i}", (3, 28, 28), likelihoods.Laplace(0.75)) for i in range(count)]
    built = {m.name: networks.build("conv", m, latent) for m in specs}
    return MultimodalVAE(specs, built, method([m.name for m in specs]), latent)


def batch_of(model: MultimodalVAE, rows: int, present: Tensor | None = None) -> Batch:
    return Batch({name: torch.rand(rows, 3, 28, 28) for name in model.names}, present)


def step_of(model: MultimodalVAE, batch: Batch, precision: str = "fp32", **options: object) -> Step:
    optimiser = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            bound = objectives.elbo(model, batch, model.mixture, **options)
        optimiser.zero_grad()
        bound.loss.backward()
        optimiser.step()

    return step


def replaced(model: nn.Module, kind: type[nn.Module], make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """The model with every part of `kind` exchanged."""
    for part in list(model.modules()):
        for name, child in list(part.named_children()):
            if type(child) is kind:
                setattr(part, name, make(child))
    return model


def channels_last() -> None:
    plain = replaced(model_of(), ChannelsLast, lambda part: nn.Identity())
    batch = batch_of(plain, 256)
    compare(step_of(plain, batch), step_of(model_of(), batch))


def in_place() -> None:
    copies = replaced(model_of(), nn.ReLU, lambda part: nn.ReLU())
    batch = batch_of(copies, 256)
    compare(step_of(copies, batch), step_of(model_of(), batch))


def pixel_shuffled() -> None:
    """The last layer, stride 2, as a convolution of 2x2 that makes four times the channels."""
    batch = batch_of(model_of(), 256)
    other = model_of()
    for decoder in other.decoders.values():
        decoder[-1] = _Shuffled(decoder[-1])
    compare(step_of(model_of(), batch), step_of(other, batch))


class _Shuffled(nn.Module):
    """ConvTranspose2d(inward, outward, 3, 2, 1, output_padding=1): output 2y + a reads row y, and y + 1 if a is 1."""

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, images: Tensor) -> Tensor:
        weight = self.layer.weight.transpose(0, 1)
        outward, inward = weight.shape[:2]
        kernel = weight.new_zeros(outward, 2, 2, inward, 2, 2)
        taps = {0: [(0, 1)], 1: [(0, 2), (1, 0)]}
        for a, b in ((a, b) for a in taps for b in taps):
            for row, ky in taps[a]:
                for column, kx in taps[b]:
                    kernel[:, a, b, :, row, column] = weight[:, :, ky, kx]
        bias = self.layer.bias.repeat_interleave(4)
        return pixel_shuffle(conv2d(pad(images, (0, 1, 0, 1)), kernel.view(4 * outward, inward, 2, 2), bias), 2)


def adam(**options: bool) -> Callable[[], None]:
    """The optimiser's own step; the baseline is the plain loop over parameters."""

    def lever() -> None:
        steps = []
        for flags in ({"foreach": False}, options):
            parameters = [nn.Parameter(value.detach().clone()) for value in model_of().parameters()]
            for value in parameters:
                value.grad = torch.rand_like(value)
            steps.append(torch.optim.Adam(parameters, lr=5e-4, **flags).step)
        compare(*steps)

    return lever


def bf16() -> None:
    model = model_of()
    batch = batch_of(model, 256)
    compare(step_of(model, batch), step_of(model_of(), batch, "bf16"), rounds=5)


def compiled() -> None:
    model, other = model_of(subsets.mvae), model_of(subsets.mvae)
    batch = batch_of(model, 256)
    for network in (*other.encoders.values(), *other.decoders.values()):
        network.compile()
    step = step_of(other, batch)
    print(f"    the first step, with compilation, takes {_seconds(step, 1):.0f} s")
    compare(step_of(model, batch), step, rounds=5)


def stacked_encode() -> None:
    """Five encoders, forward and backward, as grouped convolutions and batched products."""
    model = model_of(subsets.mvae)
    images = torch.rand(5, 256, 3, 28, 28)
    bodies = list(model.encoders.values())
    convolutions = [[part for part in body if isinstance(part, nn.Conv2d)] for body in bodies]
    grouped = nn.Sequential(
        *(
            part
            for layer in convolutions[0]
            for part in (nn.Conv2d(5 * layer.in_channels, 5 * layer.out_channels, 3, 2, 1, groups=5), nn.ReLU(True))
        )
    )
    hidden, out = (nn.Parameter(0.02 * torch.randn(5, *shape)) for shape in ((2048, LATENT), (LATENT, 2 * LATENT)))

    def loop() -> None:
        sum(mean.sum() + logvar.sum() for mean, logvar in map(_call, bodies, images)).backward()

    def stacked() -> None:
        wide = images.transpose(0, 1).reshape(256, 15, 28, 28).contiguous(memory_format=torch.channels_last)
        features = grouped(wide).reshape(256, 5, 2048).transpose(0, 1)
        ((features @ hidden).relu() @ out).sum().backward()

    compare(loop, stacked)


def _call(module: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    return module(images)


def stacked_sweep(network: str, shape: tuple[int, ...], count: int = 8, rows: int = 64) -> Callable[[], None]:
    """Models of a sweep (other seeds), one modality, trained one after the other or all in one batched step."""

    def lever() -> None:
        modality = Modality("m0", shape, likelihoods.Normal(1.0))
        models = [nn.ModuleList(networks.build(network, modality, 16)) for _ in range(count)]
        for model in models:
            replaced(model, ChannelsLast, lambda part: nn.Identity())  # vmap cannot ask how images are laid out
        values, standard = torch.rand(rows, *shape), torch.randn(rows, 16)

        def loss(model: nn.Module, parameters: dict[str, Tensor]) -> Tensor:
            parts = [{k[2:]: v for k, v in parameters.items() if k.startswith(f"{i}.")} for i in (0, 1)]
            mean, logvar = functional_call(model[0], parts[0], values)
            decoded = functional_call(model[1], parts[1], mean + (0.5 * logvar).exp() * standard)
            kl = 0.5 * (logvar.exp() + mean.square() - 1 - logvar).sum(-1).mean()
            return (decoded - values).square().flatten(1).sum(-1).mean() + kl

        adams = [torch.optim.Adam(model.parameters(), fused=True) for model in models]
        together, _ = stack_module_state(models)
        joint = torch.optim.Adam(together.values(), fused=True)

        def one_by_one() -> None:
            for model, optimiser in zip(models, adams, strict=True):
                optimiser.zero_grad()
                loss(model, dict(model.named_parameters())).backward()
                optimiser.step()

        def at_once() -> None:
            joint.zero_grad()
            vmap(lambda parameters: loss(models[0], parameters))(together).sum().backward()
            joint.step()

        compare(one_by_one, at_once, inner=3)

    return lever


def allocation() -> None:
    model, other = model_of(), model_of()
    batch = batch_of(model, 64)
    compare(step_of(model, batch, allocation="exact"), step_of(other, batch), rounds=3)


def missing() -> None:
    """Half of the modalities absent: rows without one are neither encoded nor decoded."""
    model = model_of()
    present = torch.rand(256, 5) < 0.5
    present[:, 0] |= ~present.any(-1)
    full, half = batch_of(model, 256), batch_of(model, 256, present)
    compare(step_of(model, full), step_of(model_of(), half))


LEVERS: dict[str, tuple[str, Callable[[], None]]] = {
    "channels_last": ("conv, channels innermost against outermost", channels_last),
    "in_place": ("conv, activations in place against copies", in_place),
    "pixel_shuffle": ("conv, last layer as convolution + pixel shuffle", pixel_shuffled),
    "adam_foreach": ("Adam's step alone, foreach against plain", adam(foreach=True)),
    "adam_fused": ("Adam's step alone, fused against plain", adam(fused=True)),
    "bf16": ("conv, bf16 against fp32", bf16),
    "compile": ("conv, MVAE, networks by torch.compile against eager", compiled),
    "stacked_encode": ("five encoders as one grouped network against a loop", stacked_encode),
    "sweep_mlp": ("8 small mlps of a sweep in one vmap against one by one", stacked_sweep("mlp", (20,))),
    "sweep_conv": ("8 conv nets of a sweep in one vmap against one by one", stacked_sweep("conv", (3, 28, 28))),
    "systematic": ("MoPoE, batch 64, systematic against exact", allocation),
    "missing": ("MoPoE, half of the values missing against all present", missing),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", choices=LEVERS, default=list(LEVERS))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for name in chosen.only:
        summary, lever = LEVERS[name]
        print(f"  {name}: {summary}", flush=True)
        lever()


if __name__ == "__main__":
    main()
