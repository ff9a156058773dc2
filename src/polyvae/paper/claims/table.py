"""The claims C1 to C18 of the paper, in its words, each with the function that measures it."""

from typing import NamedTuple

from polyvae.paper.claims.measures import (
    POLYMNIST,
    TRANSLATED,
    Measure,
    all_finite,
    coherence_over_beta,
    coherent,
    gap,
    given_helps,
    less_diverse,
    likelihood_ranks,
    mvae_keeps_up,
    none_has_both,
    official,
    on_birds,
    probe_falls,
    quality_says_nothing,
    repeated,
    rises,
    rises_less,
    subsampling_helps,
    translated_fails,
)


class Claim(NamedTuple):
    """A statement of the paper, and how it is measured."""

    name: str
    figure: str
    statement: str
    measure: Measure


CLAIMS = (
    Claim("C1", "2, 8", "MMVAE and MoPoE-VAE generate worse than unimodal VAEs.", gap((POLYMNIST, TRANSLATED))),
    Claim("C2", "2", "MVAE reaches the quality of unimodal VAEs.", mvae_keeps_up),
    Claim("C3", "2", "The gap shows on CUB too.", on_birds),
    Claim("C4", "3", "Quality falls with each modality for MMVAE and MoPoE-VAE.", rises((POLYMNIST, TRANSLATED))),
    Claim("C5", "3", "It falls less for MVAE than for MoPoE-VAE.", rises_less((POLYMNIST, TRANSLATED))),
    Claim("C6", "11", "The same holds when all modalities are of one kind.", repeated),
    Claim("C7", "4a", "MMVAE and MoPoE-VAE are more coherent than MVAE.", coherent),
    Claim("C8", "4a", "MVAE becomes more coherent as beta grows.", coherence_over_beta),
    Claim("C9", "4b", "On Translated PolyMNIST all lose coherence, though they can draw digits.", translated_fails),
    Claim("C10", "6", "A linear probe finds less on Translated PolyMNIST.", probe_falls),
    Claim("C11", "7", "Likelihoods rank methods as distances do; MVAE is less far ahead.", likelihood_ranks),
    Claim("C12", "7, 9", "What the inputs add to the likelihood is more for MoPoE-VAE than for MVAE.", given_helps),
    Claim("C13", "10", "Conditional samples of MMVAE and MoPoE-VAE lack diversity, MVAE's less.", less_diverse),
    Claim("C14", "12", "The official MMVAE shows the gap, and chance coherence on Translated.", official),
    Claim("C15", "13", "ELBO sub-sampling makes MVAE more coherent at equal quality.", subsampling_helps),
    Claim("C16", "2, 4, 7", "Quality and likelihood do not tell how coherent a model is.", quality_says_nothing),
    Claim("C17", "2, 4", "No model is both good and coherent on complex data.", none_has_both),
    Claim("C18", "2", "No run is unstable, as the paper's MVAE was at large beta.", all_finite),
)
