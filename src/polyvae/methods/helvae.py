"""HELVAE (Vo & Valera 2026): experts pooled by Hellinger distance, a Normal law in place of the product.

For a row with modalities X, q_X the Normal law with the moments of (sum_m sqrt q_m)^2 (`fusions.hellinger`), maximised:

    E_{q_X} sum_m log p(x_m | z) - beta KL(q_X || p)

No prior expert, no sub-sampling. `mohelvae` has the S of MoPoE, all subsets, with this rule. At test time it is the
same rule for any subset. A pair of experts counts by its overlap over all dimensions, which falls exponentially with
their number (.99 each, at 512: .006), so in many dimensions the rule gives the moments of the mixture of experts.
"""

from dataclasses import replace

from polyvae import subsets
from polyvae.methods.method import Method

HELVAE = Method(
    "helvae",
    subsets.whole,
    "one Normal posterior with the moments of the Hellinger pool of experts",
    "Vo & Valera 2026",
    model="hellinger",
)
ROWS = (
    HELVAE,
    replace(HELVAE, name="mohelvae", mixture=subsets.every, summary="mopoe with the rule of helvae for every subset"),
)
