"""Elements, some of which are missing."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from polyvae.errors import InputError


class _WithGaps(Independent):
    """Elements, some of which are missing (NaN): those are not scored."""

    def log_prob(self, value: Tensor) -> Tensor:
        known = ~value.isnan()
        each = self.base_dist.log_prob(torch.where(known, value, self.base_dist.mean.detach()))
        return torch.where(known, each, 0.0).sum(tuple(range(-self.reinterpreted_batch_ndims, 0)))


def with_gaps(law: Distribution) -> Distribution:
    """The law of values, some of which are NaN. Raises InputError where elements cannot be scored one by one."""
    if not isinstance(law, Independent) or law.reinterpreted_batch_ndims != len(law.event_shape):
        raise InputError(f"{type(law).__name__} cannot score a table with single missing values; choose normal")
    return _WithGaps(law.base_dist, law.reinterpreted_batch_ndims, validate_args=False)
