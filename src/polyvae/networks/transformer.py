"""A small transformer for text: every position attends to all others. It decodes all words at once, as the likelihood
(independent words given z) asks for."""

import torch
from torch import Tensor, nn

from polyvae.modality import Modality
from polyvae.networks.heads import Embedding, GaussianHead, words_of
from polyvae.text import PADDING

FEATURES, HEADS, HIDDEN, LAYERS = 128, 4, 256, 2


def build(modality: Modality, latent_dim: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder for text of any length. Raises InputError for other modalities."""
    words, length = len(words_of(modality, "transformer")), modality.shape[0]
    return _Encoder(words, length, latent_dim), _Decoder(words, length, latent_dim)


class _Encoder(nn.Module):
    """Mean over the words of what the last layer makes of them; padding is ignored."""

    def __init__(self, words: int, length: int, latent_dim: int) -> None:
        super().__init__()
        self.embedding, self.positions = Embedding(words, FEATURES), _positions(length)
        self.layers, self.head = _layers(), GaussianHead(FEATURES, latent_dim)

    def forward(self, values: Tensor) -> tuple[Tensor, Tensor]:
        is_padding = values.argmax(-1) == PADDING
        is_padding[:, 0] = False  # a model may write nothing at all
        features = self.layers(self.embedding(values) + self.positions, src_key_padding_mask=is_padding)
        weight = (~is_padding).to(features.dtype)[..., None]
        return self.head((features * weight).sum(1) / weight.sum(1).clamp(min=1))


class _Decoder(nn.Module):
    """Each position reads the whole latent code by weights of its own, then looks at the other positions."""

    def __init__(self, words: int, length: int, latent_dim: int) -> None:
        super().__init__()
        self.start = nn.Sequential(nn.Linear(latent_dim, length * FEATURES), nn.Unflatten(1, (length, FEATURES)))
        self.positions, self.layers, self.logits = _positions(length), _layers(), nn.Linear(FEATURES, words)

    def forward(self, z: Tensor) -> Tensor:
        return self.logits(self.layers(self.start(z) + self.positions))


def _positions(length: int) -> nn.Parameter:
    return nn.Parameter(0.1 * torch.randn(length, FEATURES))


def _layers() -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(FEATURES, HEADS, HIDDEN, dropout=0.0, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(FEATURES), enable_nested_tensor=False)
