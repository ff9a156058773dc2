"""The meaning, range and direction of the metrics; the page lists those that at least one run has."""

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
        "Distance between two Gaussians fitted to features of generated and of real data. The features come from "
        "the data set's own judge (digits, attributes, or judge for other labels) or from another network. It is "
        "called FID only with the Inception network.",
    ),
    Entry(
        "frechet/digits/floor/",
        "Floor",
        "0 and up",
        "The same distance between two sets of real data. No model can be expected to be below it.",
    ),
    Entry(
        keys.JOINT_COHERENCE,
        "Joint coherence",
        "0 to 1, higher is better",
        "Share of unconditional draws in which the judge sees the same class in every modality. Kappa corrects for "
        "agreement by chance: 0 is chance, 1 is perfect.",
    ),
    Entry(
        keys.LEAVE_ONE_OUT,
        "Leave-one-out coherence",
        "0 to 1, higher is better",
        "Share of samples of one modality, given all others, in which the judge sees the class of the input, averaged "
        "over modalities. With captions, it is the share of correct attributes. The interval is a bootstrap over test "
        "rows and does not cover other seeds.",
    ),
    Entry(
        keys.BY_INPUTS,
        "Coherence by number of inputs",
        "0 to 1, higher is better",
        "The same share when k modalities are given, averaged over all choices of inputs and targets.",
    ),
    Entry(
        keys.SELF_COHERENCE,
        "Self coherence",
        "0 to 1, higher is better",
        "The same share for a modality reconstructed from itself. It checks that the decoder shows the class at all.",
    ),
    Entry(keys.CEILING, "Ceiling", "0 to 1", "Accuracy of the judge on real data: the upper limit of coherence."),
    Entry(
        keys.DISTORTION,
        "Distortion",
        "nats, lower is better",
        "Negative expected log-likelihood of an example, summed over modalities. It depends on the likelihood scale b.",
    ),
    Entry(
        keys.FLOOR,
        "Distortion floor",
        "nats",
        "Lower bound of the distortion under any training, given what the subsets of S leave unseen (docs/theory.md, "
        "line 7).",
    ),
    Entry(keys.DELTA, "Delta", "nats, 0 and up", "Generative discrepancy of the data and S (paper, eq. 5)."),
    Entry(keys.RATE, "Rate", "nats, 0 and up", "Mean KL divergence of the posterior from the prior."),
    Entry(
        keys.LOSS,
        "-L_S",
        "nats, lower is better",
        "Distortion + beta times rate: the negative L_S of the method's S at the run's beta, for any training "
        "objective.",
    ),
    Entry(
        "objective/loss",
        "Objective",
        "nats, lower is better",
        "The run's own objective on test rows. Compare it only between runs with the same objective and beta.",
    ),
    Entry(
        f"{keys.REGULARISER}/",
        "Regulariser",
        "lower is better",
        "A term of the loss beside the bound, on test rows, without its weight. contrast: how badly the posteriors of "
        "two modalities of a row find each other in a batch, in nats; log(2 B - 1) for B rows is chance.",
    ),
    Entry(
        "label_free/",
        "Label-free coherence",
        "about 0 to 1, higher is better",
        "How much better a generated modality fits its own input than another row's, as judged by a critic trained "
        "on real tuples without labels. 0 is like shuffled pairs; 1 is like real pairs (against_real), or like the "
        "model's own reconstructions of true pairs (leave_one_out).",
    ),
    Entry(
        "captions/",
        "Caption quality",
        "",
        "Perplexity: a word of real text is as hard to guess as one of this many equally likely words; lower is "
        "better. real_: share of n-grams that occur in real training captions. distinct_: share of n-grams that "
        "differ; compare it with real captions. Lengths are in words.",
    ),
    Entry(
        "diversity/",
        "Diversity",
        "0 and up, 1 is right",
        "Mean feature distance between ten samples for one input, divided by that between real images of its class.",
    ),
    Entry(
        "precision/",
        "Precision, recall, density, coverage",
        "0 to 1 (density: 0 and up), higher is better",
        "Precision: share of samples within the manifold of real images. Recall: share of real images within the "
        "manifold of samples. Density: how many real neighbourhoods a sample lies in. Coverage: share of real "
        "neighbourhoods that hold a sample.",
    ),
    Entry("kid/", "Kernel distance (KID)", "about 0 and up, lower is better", "Unbiased, so it can be negative."),
    Entry(
        keys.LOG_LIKELIHOOD,
        "Log-likelihood",
        "nats, higher is better",
        "Importance-sampled estimate of the log-likelihood of an example, from draws of its own posterior. It is below "
        "the truth on average, and tighter with more samples.",
    ),
    Entry(
        keys.BLIND,
        "Blind log-likelihood",
        "nats, higher is better",
        "The same from draws that have not seen the example: how likely the example is to be generated. Also below the "
        "truth on average.",
    ),
    Entry(
        "log_likelihood/conditional/",
        "Conditional log-likelihood",
        "nats, higher is better",
        "How well modalities generated from the given ones fit the true ones.",
    ),
    Entry(
        "linear_probe/", "Linear probe", "0 to 1, higher is better", "Accuracy of a linear classifier on the latents."
    ),
    Entry(
        keys.SWAP_SHARED,
        "Swap, shared code",
        "0 to 1, higher is better",
        "Pictures are decoded from the shared code of one row and the private code of another. Share in which the "
        "judge sees the class of the first row: high if decoders take the class from the shared code.",
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
        "0 to 1; chance is best for the class in a private code and for the place in the shared code",
        "Accuracy of a linear classifier that reads the class (label), or the quadrant that shows it (place), from the "
        "shared or private code of one modality. Chance is the accuracy of always naming the most common one. Decoders "
        "of aligned flows read only private codes, which therefore hold the class.",
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
        "How far the mean and covariance of posterior draws are from those of the prior. A mismatch spoils prior "
        "samples.",
    ),
    Entry(
        "imputation/",
        "Imputation",
        "",
        "Tables and classes given all other modalities: error of the mean (in standard deviations; counts in "
        "counts, classes in probabilities), nats per feature, the share of values inside the 80 % interval, and for "
        "classes the share that is right. mean, ridge, knn and iterative are the errors of simpler methods.",
    ),
    Entry("ood/", "Out of distribution", "0 to 1", "Leave-one-out coherence with inputs unlike the training data."),
)


def glossary(metrics: Iterable[str]) -> list[Entry]:
    known = set(metrics)
    return [entry for entry in ENTRIES if any(key.startswith(entry.prefix) for key in known)]
