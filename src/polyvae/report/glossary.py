"""What the metrics mean, with range and direction; the page lists those that some run has."""

from collections.abc import Iterable
from typing import NamedTuple


class Entry(NamedTuple):
    prefix: str
    name: str
    range: str
    text: str


ENTRIES = (
    Entry(
        "frechet/",
        "Fréchet distance",
        "0 and up, lower is better",
        "Distance between two Gaussians fitted to features of generated and of real data. Features come from the data "
        "set's own judge (digits) or another network; only with the Inception network would it be called FID.",
    ),
    Entry(
        "frechet/digits/floor/",
        "Floor",
        "0 and up",
        "The same distance between two sets of real data: no model can be expected below it.",
    ),
    Entry(
        "coherence/joint",
        "Joint coherence",
        "0 to 1, higher is better",
        "Share of unconditional draws in which the judge sees the same class in every modality. Kappa corrects it for "
        "agreement by chance: 0 is chance, 1 is perfect.",
    ),
    Entry(
        "coherence/leave_one_out",
        "Leave-one-out coherence",
        "0 to 1, higher is better",
        "Share of samples of one modality, given all others, in which the judge sees the class of the input; mean over "
        "modalities. The interval is a bootstrap over test rows and says nothing about other seeds.",
    ),
    Entry(
        "coherence/by_inputs/",
        "Coherence by number of inputs",
        "0 to 1, higher is better",
        "The same share when k modalities are given, mean over all choices of inputs and targets.",
    ),
    Entry(
        "coherence/self/",
        "Self coherence",
        "0 to 1, higher is better",
        "The same share for a modality reconstructed from itself: a control that the decoder shows the class at all.",
    ),
    Entry(
        "coherence/ceiling/", "Ceiling", "0 to 1", "Accuracy of the judge on real data: the upper limit of coherence."
    ),
    Entry(
        "bound/distortion",
        "Distortion",
        "nats, lower is better",
        "Minus the expected log-likelihood of an example. Depends on the likelihood scale b; sums over modalities.",
    ),
    Entry("bound/rate", "Rate", "nats, 0 and up", "Mean KL divergence of the posterior from the prior."),
    Entry("bound/loss", "Loss", "nats, lower is better", "Distortion + beta times rate: what is minimised."),
    Entry(
        "log_likelihood/",
        "Log-likelihood",
        "nats, higher is better",
        "Importance-sampled estimate of the log-likelihood of an example; from below, tighter with more samples.",
    ),
    Entry(
        "linear_probe/", "Linear probe", "0 to 1, higher is better", "Accuracy of a linear classifier on the latents."
    ),
)


def glossary(metrics: Iterable[str]) -> list[Entry]:
    keys = set(metrics)
    return [entry for entry in ENTRIES if any(key.startswith(entry.prefix) for key in keys)]
