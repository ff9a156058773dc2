"""The Python of docs/theory.md runs and prints what the page says."""

import doctest
from pathlib import Path


def test_the_counterexamples_of_the_page():
    page = Path(__file__).parents[2] / "docs" / "theory.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 10
    assert result.failed == 0
