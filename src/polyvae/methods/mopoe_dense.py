"""MoPoE over experts whose dimensions may be correlated: ours, unpublished. The default for tables.

For a row with modalities X, the mean over all non-empty subsets A of them, maximised:

    mean_A { E_{q_A} sum_m log p(x_m | z) - beta KL(q_A || p) }

q_A is the product of the prior and of experts with full precision matrices, D_m(x) R_m R_m' D_m(x), R_m learned and the
same for all rows (`fusions.dense`), and of it the mean and the variances in each dimension. A product of diagonal
experts counts what several views share once per view. This one does not: with linear networks it holds
the posterior of factor analysis given any subset. A model with `linear_mlp` networks starts there
(`models.linear_start`), with .01 added to the precision of every expert, so that none is 0. "systematic" has one subset
per row, "exact" all of them.
"""

from polyvae import subsets
from polyvae.methods.method import Method

ROWS = (
    Method(
        "mopoe_dense",
        subsets.every,
        "mopoe with experts whose dimensions are correlated, for tables",
        "ours, unpublished; docs/methods.md",
        model="dense",
    ),
)
