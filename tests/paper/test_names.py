"""The names of the paper's methods and data sets fit the tables of methods and data sets."""

from polyvae.datasets import DATASETS
from polyvae.methods import METHODS
from polyvae.paper import names


def test_every_name_is_that_of_a_method_or_data_set():
    assert set(names.METHODS) <= set(METHODS)
    assert set(names.DATASETS) <= set(DATASETS)


def test_methods_that_belong_together_are_those_of_the_method_table():
    assert set(names.ALONE) == {name for name in names.METHODS if METHODS[name].is_single}
    assert set(names.OFFICIAL) == {name for name in names.METHODS if METHODS[name].objective.endswith("_official")}
