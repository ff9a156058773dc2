"""All methods side by side on PolyMNIST, with equal networks, data and steps."""

from polyvae.config import RunConfig
from polyvae.paper.experiments.common import SEEDS, budget, with_methods

METHODS = (
    *("unimodal", "mvae", "mvae_plus", "mmvae", "mopoe"),
    *("mvtcae", "mvtcae_over_messages", "mvtcae_contrast", "crmvae", "mmjsd", "mmvm"),
    *("jmvae", "telbo", "jnf", "jnf_dcca"),
    *("helvae", "mohelvae", "hoelder", "code_vae", "gpoe", "masked"),
    *("mmvae_plus", "cmvae", "mmvae_plusplus", "dmvae", "mopoe_style", "hoelder_plus", "hoelder_plusplus"),
    *("idmvae", "contrastive_plus", "mld", "aligned_flows"),
)
# Published weights of the KL on PolyMNIST, or those of MultiVae's study of it; others: 1.
PUBLISHED = dict.fromkeys(
    ("mvae_plus", "mopoe", "mvtcae", "mvtcae_over_messages", "mvtcae_contrast", "mmvae_plus", "cmvae", "idmvae"), 2.5
)
PUBLISHED |= {"code_vae": 2.5, "crmvae": 0.1}
# At larger ones few methods learn a digit within the steps of `cpu`. CRMVAE has twice as much of it as others.
SHORT = dict.fromkeys(METHODS, 0.3) | {"crmvae": 0.1}
BETAS = {"cpu": SHORT, "gpu_small": SHORT, "gpu": PUBLISHED, "paper": PUBLISHED}
# Each modality has a code of its own: with 32 dimensions each, all together have a few more than z elsewhere.
WITH_OWN_CODES = METHODS[METHODS.index("mmvae_plus") :]

# A fifth of the published chain, with larger steps: the published one takes hours on a CPU.
SHORT_CHAIN = dict.fromkeys(("jnf", "jnf_dcca"), "iterations=20,step_size=0.05")


def side_by_side(preset: str = "cpu") -> list[RunConfig]:
    """Every method at one budget: with three modalities at beta .3 (`cpu`, `gpu_small`), else at published betas.

    Variants of published code are left out; docs/methods.md measures them. 64 runs (`cpu`), of which 10 of figure 2.
    """
    base, betas = budget(preset), BETAS[preset]
    chains = SHORT_CHAIN if preset == "cpu" else {}
    return [
        run
        for seed in SEEDS[preset]
        for name in METHODS
        for run in with_methods(
            [
                base.with_(
                    beta=betas.get(name, 1.0),
                    seed=seed,
                    latent_dim=32 if name in WITH_OWN_CODES else base.latent_dim,
                    method_options=chains.get(name),
                )
            ],
            [name],
        )
    ]
