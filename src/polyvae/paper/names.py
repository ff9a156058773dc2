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
    "mmjsd": Name("mmJSD", "mmJSD"),
    "mmjsd_official": Name("official mmJSD", "mmJSD, official"),
    "mmvm": Name("MMVM", "MMVM"),
    "mmvm_official": Name("official MMVM", "MMVM, official"),
    "aligned_flows": Name("aligned flows", "aligned flows"),
}
DATASETS = {
    "polymnist": Name("PolyMNIST", "PolyMNIST"),
    "translated_polymnist": Name("Translated", "Translated PolyMNIST"),
    "repeated_polymnist": Name("Repeated", "Repeated PolyMNIST"),
    "cub": Name("CUB", "CUB"),
}
ALONE = ("unimodal", "unimodal_dreg")  # of one modality
OFFICIAL = ("mmvae_official", "unimodal_dreg")  # trained as the published code of MMVAE does (figure 12)
