"""Certified generators of discrete data: rows and their truth together."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from polyvae.errors import InputError, choices
from polyvae.theory.information import Entropies, check_names, check_table, entropies

MOST_AXES = 32  # of an array in any NumPy


@dataclass(frozen=True, eq=False)
class DiscreteLaw:
    """A joint table p(x_1, ..., x_M) over named modalities.

    Raises InputError unless it is a distribution, with one name per axis.
    """

    table: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", check_table(self.table))
        check_names(self.table, self.names)

    @cached_property
    def entropies(self) -> Entropies:
        return entropies(self.table, self.names)

    def draw(self, rows: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """name -> Int64 (row,): independent rows of the law."""
        cumulative = self.table.ravel().cumsum()
        cell = np.searchsorted(cumulative, rng.random(rows) * cumulative[-1], side="right")
        places = np.unravel_index(np.minimum(cell, self.table.size - 1), self.table.shape)
        return dict(zip(self.names, places, strict=True))


def product(marginals: Iterable[np.ndarray], factor: float = 1.0) -> np.ndarray:
    """`factor` times the outer product of the marginals (symbol,): one axis for each."""
    return reduce(np.multiply.outer, marginals, np.full((), factor))


def _named(table: np.ndarray) -> DiscreteLaw:
    return DiscreteLaw(table, tuple(f"m{i}" for i in range(table.ndim)))


def random_law(modalities: int, symbols: int, rng: np.random.Generator) -> DiscreteLaw:
    """Every table equally likely (flat Dirichlet)."""
    return _named(rng.dirichlet(np.ones(symbols**modalities)).reshape((symbols,) * modalities))


def independent(modalities: int, symbols: int, rng: np.random.Generator) -> DiscreteLaw:
    """Independent modalities, each with random probabilities: I(X_A; X_B) = 0."""
    return _named(product(rng.dirichlet(np.ones(symbols)) for _ in range(modalities)))


def shared(modalities: int, symbols: int, rng: np.random.Generator) -> DiscreteLaw:
    """Copies of one variable: Delta = 0 for every S."""
    table = np.zeros((symbols,) * modalities)
    table[(np.arange(symbols),) * modalities] = rng.dirichlet(np.ones(symbols))
    return _named(table)


def noisy_copies(modalities: int, symbols: int, noise: float) -> DiscreteLaw:
    """Copies of one uniform variable, each replaced by another value with probability `noise`, in [0, 1]."""
    channel = np.full((symbols, symbols), noise / (symbols - 1))
    np.fill_diagonal(channel, 1 - noise)
    return _named(np.sum([product([row] * modalities, 1 / symbols) for row in channel], axis=0))


def common_cause(modalities: int, symbols: int, rng: np.random.Generator, private: int = 2) -> DiscreteLaw:
    """Y of `symbols` values is read off every modality, which adds its own private part of `private` values.

    Modality m shows Y and a part drawn from probabilities of its own, given Y: PolyMNIST in small.
    """
    cause = rng.dirichlet(np.full(symbols, 5.0))
    table = np.zeros((symbols * private,) * modalities)
    for value in range(symbols):
        place = slice(value * private, (value + 1) * private)
        parts = (rng.dirichlet(np.full(private, 5.0)) for _ in range(modalities))
        table[(place,) * modalities] = product(parts, cause[value])
    return _named(table)


def noisy_cause(modalities: int, symbols: int, rng: np.random.Generator) -> DiscreteLaw:
    """Modalities independent given Y, each a random channel of it: no modality reveals Y."""
    cause = rng.dirichlet(np.ones(symbols))
    channels = [rng.dirichlet(np.full(symbols, 0.5), symbols) for _ in range(modalities)]
    table = np.zeros((symbols,) * modalities)
    for value in range(symbols):
        table += product((channel[value] for channel in channels), cause[value])
    return _named(table)


def xor(modalities: int, symbols: int, rng: np.random.Generator) -> DiscreteLaw:
    """The last modality is the sum of the others modulo `symbols`: only all others together determine a modality."""
    if modalities < 2:
        raise InputError(f"xor needs at least 2 modalities, got {modalities}")
    chances = rng.dirichlet(np.full(symbols, 5.0), modalities - 1)
    table = np.zeros((symbols,) * modalities)
    for cell in np.ndindex(*(symbols,) * (modalities - 1)):
        table[(*cell, sum(cell) % symbols)] = np.prod([chances[i][value] for i, value in enumerate(cell)])
    return _named(table)


GENERATORS: dict[str, Callable[..., DiscreteLaw]] = {
    "random": random_law,
    "independent": independent,
    "shared": shared,
    "common_cause": common_cause,
    "noisy_cause": noisy_cause,
    "xor": xor,
}


def generator(kind: str, modalities: int = 3, symbols: int = 2, seed: int = 0) -> DiscreteLaw:
    """The certified law of that kind. Raises InputError for an unknown kind or sizes below 1 or beyond 10^7 cells."""
    if kind not in GENERATORS:
        raise InputError(f"unknown generator {kind!r}; {choices(kind, GENERATORS)}")
    if modalities < 1 or symbols < 1 or seed < 0:
        sizes = f"{modalities}, {symbols}, {seed}"
        raise InputError(f"a generator needs modalities and symbols >= 1 and seed >= 0, got {sizes}")
    if modalities > MOST_AXES or (2 * symbols if kind == "common_cause" else symbols) ** modalities > 10**7:
        raise InputError(
            f"{modalities} modalities of {symbols} symbols: a table has at most {MOST_AXES} axes and 10^7 cells"
        )
    return GENERATORS[kind](modalities, symbols, np.random.default_rng([seed, 7]))
