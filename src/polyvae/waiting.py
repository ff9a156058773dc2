"""Whether a step may ask a device for a number."""

import torch


def is_free(device: torch.device) -> bool:
    """Whether reading a value from `device` costs nothing.

    The CPU has computed it already. An accelerator runs behind: reading makes Python wait for all that was asked of it,
    and a step that reads cannot be captured as one CUDA graph. So where reading is free, rows that need no work are
    left out by index; elsewhere they are computed too, and masked.
    """
    return device.type == "cpu"
