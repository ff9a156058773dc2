"""What torch is asked to do."""

from collections import Counter

from torch.utils._python_dispatch import TorchDispatchMode

VIEWS = {"view", "_unsafe_view", "t", "transpose", "permute", "expand", "unsqueeze", "squeeze", "select", "slice"}
VIEWS |= {
    "unbind",
    "split",
    "split_with_sizes",
    "detach",
    "alias",
    "_reshape_alias",
    "as_strided",
    "empty",
    "empty_like",
}
VIEWS |= {"narrow", "new_empty", "new_empty_strided", "empty_strided"}


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
