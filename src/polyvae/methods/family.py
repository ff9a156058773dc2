"""The family L_S: S says which posteriors are trained (paper, Definition 3). And its published objectives."""

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
        "mvae_plus and 2 random subsets a step, each predicting itself",
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
