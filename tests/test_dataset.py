"""Rows of a data set."""

import numpy as np
import scipy.linalg
import scipy.stats

from polyvae.dataset import chosen_rows


def test_chosen_rows_are_a_fair_choice():
    rows = chosen_rows(40, 10, seed=0)
    assert rows == sorted(set(rows))
    assert len(rows) == 10
    often = np.bincount(np.concatenate([chosen_rows(40, 10, seed) for seed in range(400)]), minlength=40)
    assert scipy.stats.chisquare(often).pvalue > 1e-3
