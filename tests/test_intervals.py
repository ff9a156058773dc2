"""Intervals hold what they say, whatever the number of draws, the law, and how wrong the model is."""

import pytest
import torch
from torch.distributions import Exponential, Laplace, Normal

from polyvae.intervals import Calibration, factors, interval, widened

ROWS = 100_000


def held(truth, low, high):
    return float(((low <= truth) & (truth <= high)).double().mean())


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize("draws", [9, 10, 15, 20, 50, 200])
@pytest.mark.parametrize("law", [Normal(3.0, 2.0), Laplace(0.0, 1.0), Exponential(1.0)])
def test_from_nine_draws_on_any_law_is_held(law, draws):
    found = interval(law.sample((draws, ROWS // 2)))
    assert held(law.sample((ROWS // 2,)), *found) == pytest.approx(0.8, abs=0.007)


@pytest.mark.parametrize("draws", [2, 3, 5, 8])
def test_from_two_draws_on_a_normal_law_is_held(draws):
    law = Normal(3.0, 2.0)
    assert held(law.sample((ROWS,)), *interval(law.sample((draws, ROWS)))) == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize("rows", [4, 5, 9, 30])
def test_rows_of_any_number_widen_a_wrong_interval_to_the_right_one(rows):
    """Each feature is calibrated by rows of its own; the interval is far too narrow, and off to one side."""
    law = Laplace(1.0, 3.0)
    low, high = torch.full((rows, ROWS), -0.5), torch.full((rows, ROWS), 0.5)
    factor = factors(law.sample((rows, ROWS)), low, high)
    error = 0.005 if rows in (4, 9) else 0.02  # between whole ranks it is interpolated
    assert held(law.sample((ROWS,)), *widened(low[:1], high[:1], factor)) == pytest.approx(0.8, abs=error)


def test_gaps_are_no_rows_and_too_few_rows_change_nothing():
    truth = torch.randn(40, 3)
    low, high = -torch.ones(40, 3), torch.ones(40, 3)
    truth[10:, 1] = torch.nan
    truth[3:, 2] = torch.nan
    found = factors(truth, low, high)
    torch.testing.assert_close(found[1:2], factors(truth[:10, 1:2], low[:10, :1], high[:10, :1]))
    assert found[2] == 1


def test_an_interval_of_no_width_is_left_as_it_is():
    zero = torch.zeros(10, 1)
    assert factors(torch.ones(10, 1), zero, zero) == 1


def test_a_pattern_that_was_not_calibrated_takes_the_nearest():
    known = Calibration({("a",): {"c": (2.0,)}, ("a", "b", "d"): {"c": (3.0,)}, ("c",): {"a": (4.0,)}})
    assert known.of(("a",), "c") == known.of((), "c") == 2
    assert known.of(("a", "d"), "c") in (2, 3)
    assert known.of(("b", "d"), "c") == 3
    assert known.of(("a",), "b") is None
    assert Calibration.from_json(known.to_json()) == known
