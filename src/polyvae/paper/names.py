"""What the paper's methods and data sets are called, in sentences and in titles, and which methods belong together."""

from typing import NamedTuple


class Name(NamedTuple):
    """short: in a sentence that compares several; full: in titles and legends."""

    short: str
    full: str


METHODS = {
    "unimodal": Name("unimodal", "Unimodal VAE"),
    "mvae": Name("MVAE", "MVAE"),
    "mvae_plus": Name("MVAE+", "MVAE+"),
    "mmvae": Name("MMVAE", "MMVAE"),
    "mopoe": Name("MoPoE", "MoPoE-VAE"),
    "mmvae_official": Name("official MMVAE", "MMVAE, official"),
    "unimodal_dreg": Name("unimodal", "Unimodal VAE, DReG"),
    "mvae_plus_random": Name("MVAE+, random subsets", "MVAE+, random subsets"),
    "mvtcae": Name("MVTCAE", "MVTCAE"),
    "mvtcae_over_messages": Name("MVTCAE, over messages", "MVTCAE, over messages"),
    "mvtcae_contrast": Name("MVTCAE, contrast", "MVTCAE, contrast"),
    "crmvae": Name("CRMVAE", "CRMVAE"),
    "jmvae": Name("JMVAE", "JMVAE"),
    "telbo": Name("TELBO", "TELBO"),
    "jnf": Name("JNF", "JNF"),
    "jnf_dcca": Name("JNF-DCCA", "JNF-DCCA"),
    "jnf_contrast": Name("JNF, contrast", "JNF, contrast"),
    "mmjsd": Name("mmJSD", "mmJSD"),
    "mmjsd_official": Name("official mmJSD", "mmJSD, official"),
    "idmvae": Name("IDMVAE", "IDMVAE"),
    "idmvae_official": Name("official IDMVAE", "IDMVAE, official"),
    "contrastive_plus": Name("contrastive+", "contrastive+"),
    "mmvm": Name("MMVM", "MMVM"),
    "mmvm_official": Name("official MMVM", "MMVM, official"),
    "helvae": Name("HELVAE", "HELVAE"),
    "mopoe_dense": Name("dense MoPoE", "dense MoPoE-VAE"),
    "mohelvae": Name("MoHELVAE", "MoHELVAE"),
    "hoelder": Name("Hölder", "Hölder mixture"),
    "hoelder_plus": Name("Hölder+", "Hölder+"),
    "hoelder_plusplus": Name("Hölder++", "Hölder++"),
    "code_vae": Name("CoDE", "CoDE-VAE"),
    "code_vae_official": Name("official CoDE", "CoDE-VAE, official"),
    "gpoe": Name("gPoE", "Generalised PoE"),
    "masked": Name("masked", "Masked bound"),
    "masked_attention": Name("masked, attention", "Masked bound, attention"),
    "mmvae_plus": Name("MMVAE+", "MMVAE+"),
    "mmvae_plus_elbo": Name("MMVAE+, one source", "MMVAE+, one source per row"),
    "mmvae_plus_iwae": Name("MMVAE+, IWAE", "MMVAE+, IWAE"),
    "mmvae_plus_dreg": Name("MMVAE+, DReG", "MMVAE+, DReG"),
    "cmvae": Name("CMVAE", "CMVAE"),
    "mmvae_plusplus": Name("MMVAE++", "MMVAE++"),
    "dmvae": Name("DMVAE", "DMVAE"),
    "dmvae_official": Name("official DMVAE", "DMVAE, official"),
    "mopoe_style": Name("MoPoE, styles", "MoPoE-VAE with styles"),
    "mld": Name("MLD", "MLD"),
    "aligned_flows": Name("aligned flows", "aligned flows"),
}
DATASETS = {
    "polymnist": Name("PolyMNIST", "PolyMNIST"),
    "translated_polymnist": Name("Translated", "Translated PolyMNIST"),
    "repeated_polymnist": Name("Repeated", "Repeated PolyMNIST"),
    "cub": Name("CUB", "CUB"),
}
FAMILY = ("unimodal", "mvae", "mvae_plus", "mmvae", "mopoe")  # the paper's own
ALONE = ("unimodal", "unimodal_dreg")  # of one modality
OFFICIAL = ("mmvae_official", "unimodal_dreg")  # trained as the published code of MMVAE does (figure 12)
