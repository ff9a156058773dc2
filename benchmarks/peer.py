"""Worker: MultiVae's training step, the same networks, loss and optimiser. Runs in MultiVae's own environment.

Flags in `worker.py`; of `mmvae` and `mmvae_official` alike it has the importance-weighted objective, with K samples.

MultiVae imports torchvision for its data sets and metrics, which a training step does not touch: a stand-in module
lets it import beside a build of torch that PyPI's torchvision does not fit.
"""

import sys
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

for name in ("", ".transforms", ".datasets", ".datasets.utils", ".utils", ".models"):
    sys.modules[f"torchvision{name}"] = MagicMock(__spec__=ModuleSpec(f"torchvision{name}", None))

import resource  # noqa: E402

import torch  # noqa: E402
from multivae.data.datasets.base import DatasetOutput  # noqa: E402
from multivae.models import (  # noqa: E402
    JNF,
    MMVAE,
    MVAE,
    MVTCAE,
    JNFConfig,
    MMVAEConfig,
    MMVAEPlus,
    MMVAEPlusConfig,
    MoPoE,
    MoPoEConfig,
    MVAEConfig,
    MVTCAEConfig,
)
from multivae.models.base import BaseDecoder, BaseEncoder, ModelOutput  # noqa: E402
from torch import nn  # noqa: E402
from worker import flags, serve  # noqa: E402

chosen = flags()
modalities, latent, rows = chosen.modalities, chosen.latent, chosen.rows
torch.set_num_threads(chosen.threads)
torch.manual_seed(0)
names = [f"m{i}" for i in range(modalities)]
narrow, middle, wide = (16, 32, 64) if chosen.network == "conv_half" else (32, 64, 128)


class Block(nn.Module):
    """The residual block of the paper's network."""

    def __init__(self, inward: int, outward: int) -> None:
        super().__init__()
        hidden = min(inward, outward)
        self.residual = nn.Sequential(
            *(nn.LeakyReLU(0.2), nn.Conv2d(inward, hidden, 3, padding=1)),
            *(nn.LeakyReLU(0.2), nn.Conv2d(hidden, outward, 3, padding=1)),
        )
        self.shortcut = nn.Identity() if inward == outward else nn.Conv2d(inward, outward, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.shortcut(x) + 0.1 * self.residual(x)


def encoder_body() -> tuple[nn.Sequential, int]:
    """Layers, and the width of what they give."""
    if chosen.network == "resnet":
        layers = (nn.Conv2d(3, 64, 3, padding=1), Block(64, 64), nn.AvgPool2d(3, 2, 1), Block(64, 128))
        return nn.Sequential(*layers, nn.AvgPool2d(3, 2, 1), Block(128, 256), nn.Flatten()), 256 * 49
    return nn.Sequential(
        *(nn.Conv2d(3, narrow, 3, 2, 1), nn.ReLU(), nn.Conv2d(narrow, middle, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(middle, wide, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16 * wide, latent), nn.ReLU()),
    ), latent


def decoder_body(latent: int) -> nn.Sequential:
    if chosen.network == "resnet":
        return nn.Sequential(
            *(nn.Linear(latent, 256 * 49), nn.Unflatten(1, (256, 7, 7)), Block(256, 128), nn.Upsample(scale_factor=2)),
            *(Block(128, 64), nn.Upsample(scale_factor=2), Block(64, 64)),
            *(nn.LeakyReLU(0.2), nn.Conv2d(64, 3, 3, padding=1)),
        )
    return nn.Sequential(
        *(nn.Linear(latent, 16 * wide), nn.ReLU(), nn.Unflatten(1, (wide, 4, 4))),
        *(nn.ConvTranspose2d(wide, middle, 3, 2, 1), nn.ReLU()),
        *(nn.ConvTranspose2d(middle, narrow, 3, 2, 1, output_padding=1), nn.ReLU()),
        nn.ConvTranspose2d(narrow, 3, 3, 2, 1, output_padding=1),
    )


class Encoder(BaseEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.latent_dim = latent
        self.body, width = encoder_body()
        self.mean, self.logvar = nn.Linear(width, latent), nn.Linear(width, latent)

    def forward(self, x: torch.Tensor) -> ModelOutput:
        features = self.body(x)
        return ModelOutput(embedding=self.mean(features), log_covariance=self.logvar(features))


class Encoder2(Encoder):
    """For MMVAE+: a private code of as many dimensions as the shared one."""

    def __init__(self) -> None:
        super().__init__()
        self.style_dim = latent
        width = self.mean.in_features
        self.style_mean, self.style_logvar = nn.Linear(width, latent), nn.Linear(width, latent)

    def forward(self, x: torch.Tensor) -> ModelOutput:
        features = self.body(x)
        return ModelOutput(
            embedding=self.mean(features),
            log_covariance=self.logvar(features),
            style_embedding=self.style_mean(features),
            style_log_covariance=self.style_logvar(features),
        )


class Decoder(BaseDecoder):
    def __init__(self, width: int = latent) -> None:
        super().__init__()
        self.latent_dim = width
        self.body = decoder_body(width)

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.body(z))


shared = {
    "n_modalities": modalities,
    "latent_dim": latent,
    "input_dims": dict.fromkeys(names, (3, 28, 28)),
    "decoders_dist": dict.fromkeys(names, "laplace"),
    "decoder_dist_params": {name: {"scale": 0.75} for name in names},
    "uses_likelihood_rescaling": False,
    "beta": 1.0,
}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
is_private = chosen.method == "mmvae_plus"
encoders = {name: Encoder2() if is_private else Encoder() for name in names}
networks = encoders, {name: Decoder(2 * latent if is_private else latent) for name in names}
more = {}
if chosen.method == "mopoe":
    model = MoPoE(MoPoEConfig(**shared), *networks)
elif chosen.method == "mvtcae":
    model = MVTCAE(MVTCAEConfig(**shared, alpha=5 / 6), *networks)
elif is_private:
    model = MMVAEPlus(MMVAEPlusConfig(**shared, K=1, modalities_specific_dim=latent, loss="iwae_looser"), *networks)
elif chosen.method == "jnf":  # its second stage: the flows
    model, more = JNF(JNFConfig(**shared, warmup=1), *networks), {"epoch": 2}
elif chosen.method in ("mmvae", "mmvae_official"):
    model = MMVAE(MMVAEConfig(**shared, K=chosen.samples, loss="dreg_looser"), *networks)
else:
    model = MVAE(MVAEConfig(**shared, use_subsampling=False, warmup=0), *networks)
model.to(chosen.device)
optimiser = torch.optim.Adam(model.parameters(), lr=5e-4, fused=True)
batch = DatasetOutput(data={name: torch.rand(rows, 3, 28, 28, device=chosen.device) for name in names})


def step() -> None:
    loss = model(batch, **more).loss
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if chosen.device != "cpu":
        torch.cuda.synchronize()


serve(step, chosen.warm_up)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)  # MiB that training added
