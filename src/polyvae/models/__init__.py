"""Models: the contract that everything speaks to, the joint VAE of the family, and the table of kinds of model.

A kind is a `TrainableModel` under a name, which model.json keeps, so that a trained model can be loaded.
"""

from polyvae.models.blueprint import OWN, Blueprint, Networks, Pair
from polyvae.models.contract import Codes, JointModel, Model, NotDefined, code_draws, is_joint, joint, mixture_of
from polyvae.models.generation import TrainableModel, generate
from polyvae.models.vae import MultimodalVAE
from polyvae.registry import Registry

MODELS: Registry[type[TrainableModel]] = Registry("kind of model", {"joint": MultimodalVAE})
register = MODELS.register


def build(blueprint: Blueprint) -> TrainableModel:
    """The untrained model. Raises InputError for a kind that no plug-in at hand has registered."""
    return MODELS.named(blueprint.kind).of(blueprint)


__all__ = [
    "MODELS",
    "OWN",
    "Blueprint",
    "Codes",
    "JointModel",
    "Model",
    "MultimodalVAE",
    "Networks",
    "NotDefined",
    "Pair",
    "TrainableModel",
    "build",
    "code_draws",
    "generate",
    "is_joint",
    "joint",
    "mixture_of",
    "register",
]
