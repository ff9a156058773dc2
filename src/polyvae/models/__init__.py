"""Models: the contract that everything speaks to, the joint VAE of the family, and the table of kinds of model.

A kind is a function from a `Blueprint` to a module that keeps the contract; a new one is registered under its name,
which model.json keeps, so that a trained model can be loaded.
"""

from collections.abc import Callable

from polyvae.models.blueprint import JOINT, OWN, Blueprint, ModelFile, Networks, Pair
from polyvae.models.contract import Codes, JointModel, Model, NotDefined, code_draws, is_joint, joint, mixture_of
from polyvae.models.generation import TrainableModel, generate
from polyvae.models.vae import MultimodalVAE
from polyvae.registry import Registry

Build = Callable[[Blueprint], TrainableModel]
MODELS: Registry[Build] = Registry("kind of model", {JOINT: MultimodalVAE.of})
register = MODELS.register


def build(blueprint: Blueprint) -> TrainableModel:
    """The untrained model. Raises InputError for a kind that no plug-in at hand has registered."""
    return MODELS.named(blueprint.kind)(blueprint)


__all__ = [
    "JOINT",
    "MODELS",
    "OWN",
    "Blueprint",
    "Build",
    "Codes",
    "JointModel",
    "Model",
    "ModelFile",
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
