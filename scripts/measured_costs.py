"""What runs of docs/results took on a CPU, as the table from which a dry run estimates where nothing has run yet.

    python scripts/measured_costs.py    # writes src/polyvae/sweeps/measured.json

One row per kind of run (runs that differ in seed and beta alone): the settings that are not defaults, the median of the
seconds, and of how many runs.
"""

from collections import defaultdict
from pathlib import Path
from statistics import median, mode

from polyvae import RunStore, files
from polyvae.runs.record import Record
from polyvae.sweeps.costs import MEASURED, kind

STORES = ("records", "methods", "translated", "normal")
RESULTS = Path(__file__).parent.parent / "docs" / "results"


def table(records: list[Record]) -> dict:
    """The content of measured.json: the runs of the kind of machine that made the most of them, which it names."""
    machine = mode(map(machine_of, records))
    runs = defaultdict(list)
    for record in records:
        if machine_of(record) == machine:
            runs[kind(record.config)].append(record)
    rows = []
    for _, alike in sorted(runs.items()):
        given = alike[0].config.changed
        settings = {name: given[name] for name in sorted(given) if name not in ("beta", "data_dir", "metrics", "seed")}
        rows.append(
            {"settings": settings, "seconds": round(median(r.total_seconds for r in alike), 1), "runs": len(alike)}
        )
    return {"machine": machine, "rows": rows}


def machine_of(record: Record) -> str:
    facts = record.environment
    torch = facts["versions"]["torch"].partition("+")[0]
    threads = "one thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    return f"{facts['cpu']}, {facts['cores']} cores, {threads} per run, torch {torch}, beside other work"


def main() -> None:
    records = [record for name in STORES for record in RunStore(RESULTS / name).records()]
    files.write_json(MEASURED, table([r for r in records if r.is_done and r.environment["device"] == "cpu"]))


if __name__ == "__main__":
    main()
