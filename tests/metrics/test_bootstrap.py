"""Intervals by bootstrap against standard errors."""

import numpy as np
import pytest

from polyvae.metrics.bootstrap import interval_of_mean


def test_interval_of_a_share_agrees_with_its_standard_error():
    scores = (np.arange(400) % 2).astype(float)[:, None]
    low, high = interval_of_mean(scores, seed=0)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / 20, rel=0.1)
    gaps = np.where(np.arange(400)[:, None] < 300, scores, np.nan)
    low, high = interval_of_mean(np.concatenate([gaps, gaps], -1), seed=0)
    assert (high - low) / 2 == pytest.approx(1.96 * 0.5 / np.sqrt(300), rel=0.1)
