"""TELBO (Vedantam et al. 2018): an encoder of all modalities first, then one for each under the decoders it has made.

For a row with modalities X, q_X the encoder that reads them all, maximised one after the other, the second with joint
encoder and decoders as they are:

    1.  E_{q_X} sum_m log p(x_m | z) - beta KL(q_X || p)
    2.  sum_m { E_{q_m} log p(x_m | z) - beta KL(q_m || p) }

Likelihoods have the modalities' weights in both; the paper's may differ between them. At test time: all modalities,
q_X; one, q_m; others, A, p^(1 - |A|) prod q_m, which the paper does not mention (`models.fusing`).
"""

from polyvae import subsets
from polyvae.methods.method import Method, Stage, parameters_of
from polyvae.models import JOINT_EXPERT
from polyvae.objectives import PRIOR, Divergence, Draw, OfTerms, Q, Terms, alone


def joint(names: tuple[str, ...], options: object = None) -> Terms:
    """The ELBO of the joint encoder."""
    whole = Q((JOINT_EXPERT,))
    return Terms((Draw(whole),), (Divergence(whole, PRIOR),))


JOINTLY = Stage("joint", share=0.75, parameters=parameters_of("joint", "decoders", "prior"))
ROWS = (
    Method(
        "telbo",
        subsets.whole,
        "a joint encoder first, then one for each modality with fixed decoders",
        "Vedantam et al. 2018",
        model="joint_encoder",
        recipe=joint,
        stages=(JOINTLY, Stage("single", OfTerms(alone), 0.25, parameters_of("encoders"))),
    ),
)
