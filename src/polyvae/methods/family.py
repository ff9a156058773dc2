"""The family L_S (paper, Definition 3 and eq. 2): S, a set of subsets A with weights w_A, says what is trained.

For a row with modalities X, q_A the product of the experts of A, and of N(0, I) where S says so, maximised:

    sum_A w_A { E_{q_A} sum_m log p(x_m | z) - beta KL(q_A || p) }

Members differ in S alone; in MVAE+ (eq. 84) a term predicts just what it encodes. `mmvae_official` and `unimodal_dreg`
have the looser bound of K draws in its place, with the published gradient (`objectives.dreg_looser_official`):

    sum_A w_A E log 1/K sum_k p(X | z_k) [ p(z_k) / sum_B w_B q_B(z_k) ]^beta,    z_k ~ q_A
"""

from dataclasses import replace

from polyvae import subsets
from polyvae.methods.method import Method, Stage
from polyvae.methods.mvae_plus_random import elbo_with_random_subsets
from polyvae.posteriors import Family

MMVAE_OFFICIAL = Method(
    "mmvae_official",
    subsets.mmvae,
    "as mmvae, trained as the published code does",
    "Shi et al. 2019",
    objective="dreg_looser_official",
    samples=30,  # of the published README
    allocation="exact",
    prior="learned_laplace",
    family=Family("laplace", "softmax"),
)
ROWS = (
    Method("unimodal", subsets.mmvae, "one modality alone: S = {{1}}", "Kingma & Welling 2014", is_single=True),
    Method("mvae", subsets.mvae, "product of all experts: S = {all}", "Wu & Goodman 2018, without sub-sampling"),
    Method("mvae_plus", subsets.mvae_plus, "MVAE with ELBO sub-sampling: L(x) + sum L(x_i)", "eq. 84"),
    Method(
        "mvae_plus_random",
        subsets.mvae_plus,
        "mvae_plus and 2 random subsets per step, each predicting itself",
        "Wu & Goodman 2018, eq. 5",
        (Stage(objective=elbo_with_random_subsets),),
    ),
    Method("mmvae", subsets.mmvae, "mixture of single experts: S = {{1}, ..., {M}}", "Shi et al. 2019, ELBO form"),
    Method("mopoe", subsets.mopoe, "mixture of products: S = all 2^M - 1 subsets", "Sutter et al. 2021"),
    MMVAE_OFFICIAL,
    replace(
        MMVAE_OFFICIAL,
        name="unimodal_dreg",
        summary="one modality alone, trained as mmvae_official",
        source="Daunhawer et al. 2022, figure 12",
        is_single=True,
    ),
)
OWN_S = Method("custom", None, "your own S: --subsets FILE.json", "Daunhawer et al. 2022, Definition 2")
