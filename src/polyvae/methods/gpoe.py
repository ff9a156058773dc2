"""Generalised product of experts (Cao & Fleet 2014), as the "weighted" VAE of multi-view-AE has it.

For a row with modalities X, maximised:

    E_{q_X} sum_m log p(x_m | z) - beta KL(q_X || p)

q_A, at test time too, is the normalised prod_m q_m^{a_m}: precision sum_m a_m L_m in every latent dimension. The a_m
are learned, not negative, one per modality and dimension, and sum to 1 over the members of A (a softmax over them).
"""

from polyvae import subsets
from polyvae.methods.method import Method

ROWS = (
    Method(
        "gpoe",
        subsets.whole,
        "product of experts, raised to learned powers that sum to 1",
        "Cao & Fleet 2014",
        model="weighted",
    ),
)
