"""What torch is asked to do."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode

VIEWS = {"view", "_unsafe_view", "t", "transpose", "permute", "expand", "unsqueeze", "squeeze", "select", "slice"}
VIEWS |= {"unbind", "split", "split_with_sizes", "detach", "alias", "_reshape_alias", "as_strided", "narrow"}
VIEWS |= {"empty", "empty_like", "new_empty", "new_empty_strided", "empty_strided"}
ASKING = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero", "equal", "bincount")
COPYING = "lift_fresh"  # of numbers of the host


class Operations(TorchDispatchMode):
    """Counts operations, each of which is a kernel or more; views and allocations are none."""

    def __init__(self):
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.name().split("::")[1].split(".")[0]
        if name not in VIEWS:
            self.names[name] += 1
        return function(*args, **(kwargs or {}))

    def count(self):
        return self.names.total()

    def asked(self):
        """Those that make a host wait for its device."""
        return [name for name in self.names.elements() if name.startswith(ASKING)]
