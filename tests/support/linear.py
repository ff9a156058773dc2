"""Linear networks, and a linear-Gaussian model whose likelihoods have closed forms."""

import torch
from torch import Tensor, nn

from polyvae import likelihoods, subsets
from polyvae.dataset import MultimodalDataset
from polyvae.modality import Modality
from polyvae.models.vae import MultimodalVAE

NAMES = ("a", "b", "c")
LATENT, FEATURES, SD = 2, 3, 0.7


class Encoder(nn.Module):
    """Mean and log variance, both linear in the values."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 2 * latent)

    def forward(self, values: Tensor) -> tuple[Tensor, ...]:
        return self.layer(values).chunk(2, -1)


class Exact(nn.Module):
    """The expert of x = W z + noise: with the prior expert, products of these are the true posteriors."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        precision = self.weight.square().sum(0) / SD**2
        return x.double() @ self.weight / SD**2 / precision, -precision.log().expand(len(x), -1)


def linear_model(make=subsets.mvae) -> MultimodalVAE:
    """Decoders x = W z with orthogonal columns, so that true posteriors are diagonal; float64."""
    torch.manual_seed(0)
    pairs = {}
    for name in NAMES:
        weight = torch.linalg.qr(torch.randn(FEATURES, LATENT, dtype=torch.float64))[0] * (0.5 + torch.rand(LATENT))
        decoder = nn.Linear(LATENT, FEATURES, bias=False).double()
        decoder.weight.data = weight
        pairs[name] = (Exact(weight), decoder)
    specs = [Modality(name, (FEATURES,), likelihoods.Normal(SD)) for name in NAMES]
    return MultimodalVAE(specs, pairs, make(NAMES), LATENT).double()


def covariance(model: MultimodalVAE, given=NAMES) -> Tensor:
    stacked = torch.cat([model.decoders[name].weight for name in given])
    return (stacked @ stacked.T + SD**2 * torch.eye(len(stacked))).detach()


def log_evidence(model: MultimodalVAE, values: dict[str, Tensor], given=NAMES) -> Tensor:
    law = torch.distributions.MultivariateNormal(torch.zeros(FEATURES * len(given)).double(), covariance(model, given))
    return law.log_prob(torch.cat([values[name].double() for name in given], -1))


def drawn(model: MultimodalVAE, rows: int, seed: int = 1) -> MultimodalDataset:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, LATENT, generator=generator, dtype=torch.float64)
    values = {
        name: (model.decoders[name](z).detach() + SD * torch.randn(rows, FEATURES, generator=generator)).float()
        for name in NAMES
    }
    return MultimodalDataset("linear", model.modalities, values, torch.ones(rows, 3, dtype=torch.bool))
