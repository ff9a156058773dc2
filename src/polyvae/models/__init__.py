"""Models: the contract that everything speaks to, and the joint VAE of the family."""

from polyvae.models.contract import Codes, JointModel, Model, NotDefined, is_joint, joint, mixture_of
from polyvae.models.joint import MultimodalVAE

__all__ = ["Codes", "JointModel", "Model", "MultimodalVAE", "NotDefined", "is_joint", "joint", "mixture_of"]
