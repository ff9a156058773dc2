"""Figure 13: MVAE with (MVAE+, eq. 84) and without ELBO sub-sampling, over beta, on PolyMNIST."""

from polyvae.config import RunConfig
from polyvae.paper.experiments import fig02_quality_vs_beta as fig02
from polyvae.paper.experiments.common import POLYMNIST


def configs(preset: str = "cpu") -> list[RunConfig]:
    """The MVAE and MVAE+ runs of figure 2, PolyMNIST: 20 runs (`cpu`), 42 (`paper`)."""
    wanted = ("mvae", "mvae_plus")
    return [run for run in fig02.configs(preset) if run.dataset == POLYMNIST and run.method in wanted]
