"""CRMVAE (Suzuki & Matsuo 2023): a product of experts, each of which also reconstructs its own modality.

For a row with M modalities X, q_X the product of their experts without prior expert, maximised:

    1 / (2 (M + 1)) sum_m { E_{q_X} log p(x_m | z) + E_{q_m} log p(x_m | z) }
        - beta / (M + 1) { KL(q_X || p) + sum_m KL(q_X || q_m) }

With M = 1 it is half the ELBO. The code of MultiVae, the only public one, sums it over the batch; here it is a mean, so
its step size at batch size B is B times this one.
"""

from polyvae import subsets
from polyvae.methods.method import Method
from polyvae.objectives import PRIOR, Divergence, Draw, Q, Terms


def recipe(names: tuple[str, ...], options: None = None) -> Terms:
    whole, share = Q(names), 1 / (len(names) + 1)
    own = (Draw(Q((name,)), share / 2, targets=(name,)) for name in names)
    apart = (Divergence(whole, Q((name,)), share) for name in names)
    return Terms((Draw(whole, share / 2), *own), (Divergence(whole, PRIOR, share), *apart))


ROWS = (
    Method(
        "crmvae",
        subsets.whole,
        "mvtcae with equal weights; each expert also predicts its own modality",
        "Suzuki & Matsuo 2023",
        recipe=recipe,
        is_bound=False,
    ),
)
