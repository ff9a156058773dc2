"""Networks by the names of modalities."""

from torch import nn


class ByName(nn.ModuleDict):
    """A `ModuleDict` whose keys may be any name, also those of its own attributes, such as type, keys or training: its
    modules are items, never attributes."""

    def add_module(self, name: str, module: nn.Module | None) -> None:
        if module is not None:
            self._modules[name] = module

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
