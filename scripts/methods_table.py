"""The table of docs/methods.md: `python scripts/methods_table.py`.

Reads the records of `polyvae sweep methods`, what `fit-prior` and `evaluate --prior gmm` added to them, and the times
and memory of a step that `python benchmarks/methods.py` measured. Each cell is the mean over seeds, with the least and
the most in brackets where they differ as printed.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from statistics import mean

from polyvae import RunStore
from polyvae.files import read_json
from polyvae.paper.experiments import configs_of
from polyvae.paper.experiments.methods import METHODS
from polyvae.runs.record import Record

Read = Callable[[Record], float | None]
KEPT = (Path("docs/results/records"), Path("docs/results/methods"))
PRESET = "cpu"
STEPS = KEPT[-1].parent / "steps.json"


def metric(key: str) -> Read:
    return lambda record: record.metrics.get(key)


def conditional_distance(record: Record) -> float | None:
    """Mean Fréchet distance of a modality drawn from another."""
    start = "frechet/digits/conditional/"
    values = [v for key, v in record.metrics.items() if key.startswith(start) and "+" not in key]
    return mean(values) if values else None


COLUMNS: dict[str, tuple[Read, str]] = {
    "1 input": (metric("coherence/by_inputs/1"), ".2f"),
    "2 inputs": (metric("coherence/by_inputs/2"), ".2f"),
    "joint kappa": (metric("coherence/joint_kappa"), ".2f"),
    "with gmm": (metric("prior/gmm/coherence/joint_kappa"), ".2f"),
    "Fréchet m0": (metric("frechet/digits/unconditional/m0"), ",.0f"),
    "m0, gmm": (metric("prior/gmm/frechet/digits/unconditional/m0"), ",.0f"),
    "given one": (conditional_distance, ",.0f"),
    "probe": (metric("linear_probe/joint"), ".2f"),
    "log-likelihood": (metric("log_likelihood/joint"), ",.0f"),
}


def _printed(value: float, style: str) -> str:
    text = format(value, style)
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def cell(values: Sequence[float | None], style: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    middle, low, high = (_printed(f(known), style) for f in (mean, min, max))
    return middle if low == high else f"{middle} ({low} to {high})"


@cache
def of_methods(stores: tuple[Path, ...], preset: str) -> dict[str, list[Record]]:
    """Method -> the runs of the experiment that these stores have, in its order."""
    wanted = {config.with_(data_dir=None) for config in configs_of("methods", preset)}
    found = (record for store in stores for record in RunStore(store).records())
    records = [record for record in found if record.config.with_(data_dir=None) in wanted]
    runs = {name: [record for record in records if record.config.method == name] for name in METHODS}
    return {name: of for name, of in runs.items() if of}


def table(stores: tuple[Path, ...] = KEPT, preset: str = PRESET) -> list[str]:
    """Without the columns of the benchmark where it has not been run."""
    steps = read_json(STEPS) if STEPS.is_file() else None
    heads = ["method", *COLUMNS, *([f"step of {steps['anchor']}'s", "MiB"] if steps else [])]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, runs in of_methods(stores, preset).items():
        cells = [cell([read(run) for run in runs], style) for read, style in COLUMNS.values()]
        if steps:
            step = steps["methods"][name]
            cells += [f"{step['ratio'][0]:.2f}", f"{step['mib']:,}"]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, nargs="+", default=KEPT, help="where records are")
    parser.add_argument("--preset", default=PRESET)
    chosen = parser.parse_args()
    print(*table(tuple(chosen.store), chosen.preset), sep="\n")


if __name__ == "__main__":
    main()
