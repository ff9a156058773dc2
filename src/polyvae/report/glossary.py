"""What the metrics mean, with range and direction; the page lists those that some run has."""

from collections.abc import Iterable
from typing import NamedTuple

from polyvae import keys


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
        "set's own judge (digits, attributes, or judge for other labels) or another network; only with the Inception "
        "network is it called FID.",
    ),
    Entry(
        "frechet/digits/floor/",
        "Floor",
        "0 and up",
        "The same distance between two sets of real data: no model can be expected below it.",
    ),
    Entry(
        keys.JOINT_COHERENCE,
        "Joint coherence",
        "0 to 1, higher is better",
        "Share of unconditional draws in which the judge sees the same class in every modality. Kappa corrects it for "
        "agreement by chance: 0 is chance, 1 is perfect.",
    ),
    Entry(
        keys.LEAVE_ONE_OUT,
        "Leave-one-out coherence",
        "0 to 1, higher is better",
        "Share of samples of one modality, given all others, in which the judge sees the class of the input (with "
        "captions: share of attributes that come out right); mean over modalities. The interval is a bootstrap over "
        "test rows and says nothing about other seeds.",
    ),
    Entry(
        keys.BY_INPUTS,
        "Coherence by number of inputs",
        "0 to 1, higher is better",
        "The same share when k modalities are given, mean over all choices of inputs and targets.",
    ),
    Entry(
        keys.SELF_COHERENCE,
        "Self coherence",
        "0 to 1, higher is better",
        "The same share for a modality reconstructed from itself: a control that the decoder shows the class at all.",
    ),
    Entry(keys.CEILING, "Ceiling", "0 to 1", "Accuracy of the judge on real data: the upper limit of coherence."),
    Entry(
        keys.DISTORTION,
        "Distortion",
        "nats, lower is better",
        "Minus the expected log-likelihood of an example. Depends on the likelihood scale b; sums over modalities.",
    ),
    Entry(
        keys.FLOOR,
        "Distortion floor",
        "nats",
        "What no training gets the distortion below, given what the subsets of S leave unseen (docs/theory.md, "
        "line 7).",
    ),
    Entry(keys.DELTA, "Delta", "nats, 0 and up", "Generative discrepancy of the data and S (paper, eq. 5)."),
    Entry(keys.RATE, "Rate", "nats, 0 and up", "Mean KL divergence of the posterior from the prior."),
    Entry(
        keys.LOSS,
        "-L_S",
        "nats, lower is better",
        "Distortion + beta times rate: the negated L_S of the method's S at the run's beta, whatever was minimised.",
    ),
    Entry(
        "objective/loss",
        "Objective",
        "nats, lower is better",
        "The run's own objective on test rows. Comparable between runs of one objective and beta only.",
    ),
    Entry(
        f"{keys.REGULARISER}/",
        "Regulariser",
        "lower is better",
        "What a method asks of its encoders beside a bound, on test rows, before its weight. contrast: how badly the "
        "posteriors of two modalities of a row find each other in a batch, nats; log(2 B - 1) for B rows is chance.",
    ),
    Entry(
        "label_free/",
        "Label-free coherence",
        "about 0 to 1, higher is better",
        "How well a generated modality fits its own input rather than another row's, by a critic trained on real "
        "tuples without labels: 0 is like shuffled pairs; 1 is like real pairs (against_real), or like the "
        "model's own reconstructions of true pairs (leave_one_out).",
    ),
    Entry(
        "captions/",
        "Caption quality",
        "",
        "Perplexity: among how many equally likely words a word of real text would be as hard to guess, lower is "
        "better. Share of n-grams that occur in real training captions (real_), share of n-grams that differ "
        "(distinct_; compare with real captions), and lengths in words.",
    ),
    Entry(
        "diversity/",
        "Diversity",
        "0 and up, 1 is right",
        "Mean feature distance between ten samples for one input, over that between real images of its class.",
    ),
    Entry(
        "precision/",
        "Precision, recall, density, coverage",
        "0 to 1 (density: 0 and up), higher is better",
        "Share of samples within the real manifold; of real images within the samples'; how many real neighbourhoods a "
        "sample lies in; share of real neighbourhoods with a sample.",
    ),
    Entry("kid/", "Kernel distance (KID)", "about 0 and up, lower is better", "Unbiased; may be negative by noise."),
    Entry(
        keys.LOG_LIKELIHOOD,
        "Log-likelihood",
        "nats, higher is better",
        "Importance-sampled estimate of the log-likelihood of an example, from draws of its own posterior; from below, "
        "tighter with more samples.",
    ),
    Entry(
        keys.BLIND,
        "Blind log-likelihood",
        "nats, higher is better",
        "The same from draws that have not seen the example: how likely it is to be generated. From below.",
    ),
    Entry(
        "log_likelihood/conditional/",
        "Conditional log-likelihood",
        "nats, higher is better",
        "How well what is generated from the given modalities fits the true others.",
    ),
    Entry(
        "linear_probe/", "Linear probe", "0 to 1, higher is better", "Accuracy of a linear classifier on the latents."
    ),
    Entry(
        keys.SWAP_SHARED,
        "Swap, shared code",
        "0 to 1, higher is better",
        "Share of pictures decoded from the shared code of one row and the private code of another in which the judge "
        "sees the class of the first row: high if decoders take the class from the shared code.",
    ),
    Entry(
        keys.SWAP_PRIVATE,
        "Swap, private code",
        "0 to 1, lower is better",
        "Share of the same pictures in which the judge sees the class of the second row: high if the class hides in "
        "private codes.",
    ),
    Entry(
        f"{keys.CODE_PROBE}/",
        "Code probe",
        "0 to 1; the class in a private code and the place in the shared one: chance is best",
        "Accuracy of a linear classifier on the shared or private code of one modality, of the class (label) or of the "
        "quadrant that shows it (place); chance is that of always naming the commonest. Decoders of aligned flows read "
        "private codes alone, which therefore hold the class.",
    ),
    Entry(
        "latent/active_units/",
        "Active units",
        "0 to the latent dimension",
        "Latent dimensions whose posterior mean varies over the test rows by more than .01.",
    ),
    Entry(
        "latent/mismatch/",
        "Mismatch",
        "nats, lower is better",
        "How far the mean and covariance of posterior draws are from the prior's: what prior samples suffer from.",
    ),
    Entry(
        "imputation/",
        "Imputation",
        "",
        "Tables given all other modalities: error of the mean (in standard deviations; of counts in counts), nats a "
        "feature, and the share of values inside the 80 % interval. Under mean, ridge, knn "
        "and iterative: errors of simpler methods.",
    ),
    Entry("ood/", "Out of distribution", "0 to 1", "Leave-one-out coherence with inputs unlike the training data."),
)


def glossary(metrics: Iterable[str]) -> list[Entry]:
    known = set(metrics)
    return [entry for entry in ENTRIES if any(key.startswith(entry.prefix) for key in known)]
