"""Models: the contract that everything speaks to, the joint VAE of the family, and the table of kinds of model.

A kind is a `TrainableModel` under a name, which model.json keeps, so that a trained model can be loaded.
"""

from polyvae.errors import InputError
from polyvae.models.aligned import AlignedFlows
from polyvae.models.aligned import Options as AlignedOptions
from polyvae.models.blueprint import JOINT, OWN, Blueprint, ModelFile, Networks, Pair, without_numbers
from polyvae.models.contract import (
    Codes,
    JointModel,
    Model,
    NotDefined,
    at_level,
    code_draws,
    covariate_of,
    is_joint,
    joint,
    mixture_of,
)
from polyvae.models.flowing import ContrastOptions, FeatureOptions, FlowOptions, JointFlowVAE
from polyvae.models.fused import RULES, CodeVAE, FusedVAE, HoelderVAE
from polyvae.models.fusing import JOINT_EXPERT, JointEncoderVAE
from polyvae.models.generation import TrainableModel, generate
from polyvae.models.mld import LatentDiffusion
from polyvae.models.pooled import PooledVAE, ReadingVAE
from polyvae.models.private import PrivateVAE, ReferenceVAE
from polyvae.models.vae import MultimodalVAE
from polyvae.registry import Registry

MODELS: Registry[type[TrainableModel]] = Registry(
    "kind of model",
    {
        JOINT: MultimodalVAE,
        "joint_encoder": JointEncoderVAE,
        "joint_flows": JointFlowVAE,
        "mld": LatentDiffusion,
        "private": PrivateVAE,
        "private_reference": ReferenceVAE,
        "aligned_flows": AlignedFlows,
    }
    | dict.fromkeys(RULES, FusedVAE)
    | {"hoelder": HoelderVAE, "correlated": CodeVAE}
    | {"private_hoelder": PooledVAE, "private_hoelder_reading": ReadingVAE},
)
register = MODELS.register
ABSTRACT = ("prior_codes", "posterior_codes", "decode")


def build(blueprint: Blueprint) -> TrainableModel:
    """The untrained model.

    Raises InputError for a kind that no loaded plug-in has registered, and one that does not keep the contract.
    """
    kind = MODELS.named(blueprint.kind)
    if lacking := [name for name in ABSTRACT if getattr(kind, name) is getattr(Model, name)]:
        raise InputError(f"the kind of model {blueprint.kind!r} does not define {', '.join(lacking)}")
    model = kind.of(blueprint)
    if (
        model.names != (names := tuple(m.name for m in blueprint.modalities))
        or model.modalities != blueprint.modalities
    ):
        raise InputError(f"the kind of model {blueprint.kind!r} must set its names to {names}, and its modalities")
    return model


__all__ = [
    "JOINT",
    "JOINT_EXPERT",
    "MODELS",
    "OWN",
    "RULES",
    "AlignedFlows",
    "AlignedOptions",
    "Blueprint",
    "Codes",
    "ContrastOptions",
    "FeatureOptions",
    "FlowOptions",
    "JointModel",
    "LatentDiffusion",
    "Model",
    "ModelFile",
    "MultimodalVAE",
    "Networks",
    "NotDefined",
    "Pair",
    "TrainableModel",
    "at_level",
    "build",
    "code_draws",
    "covariate_of",
    "generate",
    "is_joint",
    "joint",
    "mixture_of",
    "register",
    "without_numbers",
]
