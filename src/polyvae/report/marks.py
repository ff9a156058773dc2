"""What stands behind the marks of a figure: the page's script shows it on hover, and filters by it."""

from collections.abc import Iterable
from typing import Any

from polyvae.report.runs import Run

MOST_SEEDS = 12  # named on hover


class Marks:
    """Gives every mark an id and keeps what it shows: text, method, beta."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}

    def runs(self, runs: Iterable[Run], text: str) -> str:
        """The id of a mark that stands for these runs."""
        members = list(runs)
        first = members[0]
        settings = {k: v for k, v in first.config.changed.items() if k not in ("metrics", "data_dir", "seed")}
        lines = [f"{name.replace('_', ' ')} {value}" for name, value in settings.items()]
        seeds = [f"seed {run.config.seed}: {run.run_id}" for run in members[:MOST_SEEDS]]
        seeds += [f"and {len(members) - MOST_SEEDS:,} more seeds"] * (len(members) > MOST_SEEDS)
        return self._add(first.config.method, f"{first.config.beta:g}", [text, ", ".join(lines), *seeds])

    def line(self, method: str) -> str:
        """The id of a line or band of a method."""
        return self._add(method, "", [])

    def _add(self, method: str, beta: str, text: list[str]) -> str:
        name = f"mark-{len(self.known)}"
        self.known[name] = {"method": method, "beta": beta, "text": text}
        return name
