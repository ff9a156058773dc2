"""Rows of a data set."""

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch

from polyvae import datasets
from polyvae.dataset import chosen_rows


def test_chosen_rows_are_a_fair_choice():
    rows = chosen_rows(40, 10, seed=0)
    assert rows == sorted(set(rows))
    assert len(rows) == 10
    often = np.bincount(np.concatenate([chosen_rows(40, 10, seed) for seed in range(400)]), minlength=40)
    assert scipy.stats.chisquare(often).pvalue > 1e-3


def test_no_rows_are_a_batch_and_a_mask_is_not_read_as_numbers_of_rows():
    rows = datasets.load("toy", split="test", size=4)
    assert len(rows.batch([]).present) == len(rows.rows([])) == 0
    mask = torch.tensor([False, True, True, False])
    torch.testing.assert_close(rows.rows(mask).present, rows.present[1:3])
    with pytest.raises(RuntimeError, match="int"):
        rows.batch(mask)
