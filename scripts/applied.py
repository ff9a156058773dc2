"""The tables of docs/applied.md: `python scripts/applied.py errors [FOLDER]`, `codes` and `proteins` print them.

They are made from what `benchmarks/applied.py` has written to FOLDER, of the first three seeds: means with their
standard deviation. Default: the kept results.
"""

import sys
from collections.abc import Iterator
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from polyvae import files

KEPT = Path("docs/results/applied")
SEEDS = 3
TOLERATED = 1.02  # of the best simple method's error
SIMPLE = ("mean", "ridge", "knn", "iterative")
TITLES = {"cite_seq-covariate-batch": "cite_seq, `--covariate batch`"}
CODES = {
    "cite_seq": "at the defaults",
    "cite_seq-covariate-batch": "`--covariate batch`",
    "cite_seq-totalVI": "totalVI, given the batch",
    "cite_seq-components": "16 principal components of all views",
}

Results = list[dict[str, Any]]


@cache
def results(folder: Path = KEPT) -> dict[str, Results]:
    """Name of a set -> what each of the first seeds has found."""
    names = sorted({path.stem.rpartition("-")[0] for path in folder.glob("*.json")})
    paths = {name: [folder / f"{name}-{seed}.json" for seed in range(SEEDS)] for name in names}
    return {name: [files.read_json(path) for path in takewhile(Path.is_file, paths[name])] for name in names}


def cases(folder: Path = KEPT) -> Iterator[tuple[str, str, dict[str, list[float]], list[float]]]:
    """(set, given > filled in, errors of each method by seed, coverage by seed)."""
    for name, seeds in results(folder).items():
        for key, of_first in seeds[0].get("errors", {}).items():
            errors = {method: [seed["errors"][key][method] for seed in seeds] for method in of_first}
            yield TITLES.get(name, name), key, errors, [seed["coverage"][key] for seed in seeds]


def over_best_simple(errors: dict[str, list[float]]) -> float:
    """polyvae's mean error as a multiple of the least of the simple methods'."""
    return float(np.mean(errors["polyvae"]) / min(np.mean(errors[name]) for name in SIMPLE if name in errors))


def met() -> tuple[int, int]:
    """In how many cases the error is at most 2 % above that of the best simple method, and of how many."""
    over = [over_best_simple(errors) for _, _, errors, _ in cases()]
    return sum(ratio <= TOLERATED for ratio in over), len(over)


def errors(folder: Path = KEPT) -> list[str]:
    lines = ["| set | given > filled in | polyvae | mean | ridge | kNN | Iterative | over best simple | coverage |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    for name, key, of_methods, coverage in cases(folder):
        simple = [f"{np.mean(of_methods[m]):.3f}" if m in of_methods else "" for m in SIMPLE]
        over = f"{100 * (over_best_simple(of_methods) - 1):+.1f} %"
        lines.append(f"| {' | '.join([name, key, spread(of_methods['polyvae']), *simple, over, spread(coverage)])} |")
    return lines


def codes(folder: Path = KEPT) -> list[str]:
    lines = ["| `cite_seq` | ARI of six types | batch read from codes | base rate | CPU seconds |"]
    lines.append("|---|---|---|---|---|")
    for name, title in CODES.items():
        seeds = results(folder)[name]
        cells = [spread([seed[key] for seed in seeds]) for key in ("ari", "batch_accuracy", "base_rate")]
        seconds = f"{np.mean([seed['seconds'] for seed in seeds]):.0f}" if "seconds" in seeds[0] else ""
        lines.append(f"| {' | '.join([title, *cells, seconds])} |")
    return lines


def proteins(folder: Path = KEPT) -> list[str]:
    kept = results(folder)
    own = [seed["errors"]["rna > protein"] for seed in kept["cite_seq"]]
    found = {name: [seed[name] for seed in own] for name in ("polyvae", "ridge", "mean")}
    of_totalvi = kept["cite_seq-proteins-by-totalVI"]
    found |= {"totalVI": [seed["protein"] for seed in of_totalvi]}
    found |= {"totalVI, without its bias": [seed["without_bias"] for seed in of_totalvi]}
    lines = ["| `cite_seq`, rna > protein | error |", "|---|---|"]
    return lines + [f"| {name} | {spread(values)} |" for name, values in found.items()]


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


if __name__ == "__main__":
    table, *folders = sys.argv[1:]
    print("\n".join({"errors": errors, "codes": codes, "proteins": proteins}[table](*map(Path, folders))))
