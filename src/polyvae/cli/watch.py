"""The command that shows what the runs of a store are doing."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from rich.console import Group
from rich.live import Live
from rich.text import Text

from polyvae import escapes
from polyvae.cli.common import STORE, Store, Terminal, show, table_of
from polyvae.errors import InputError
from polyvae.runs.record import duration
from polyvae.runs.store import RunStore
from polyvae.runs.watching import Sight, sights

BLOCKS = "▁▂▃▄▅▆▇█"
CURVE, BAR = 8, 6  # characters
ENDED = 10  # finished runs that are listed, the latest ones


def watch(*, store: Store = STORE, once: bool = False, seconds: float = 2.0) -> None:
    """Watch the runs of a store: progress, loss, time left, failures. Reads files only and never disturbs a run.

    In a pipe it prints one table and ends. Runs that a sweep has not begun are not in the store yet, so they are not
    shown; the sweep counts them.

    Args:
        once: Print one table and end.
        seconds: Seconds from one look to the next.
    """
    if not 0.1 <= seconds <= 3600:
        raise InputError(f"--seconds is {seconds:g}; it must be from 0.1 to 3600")
    place, terminal, ended = RunStore(store), Terminal(), {}
    if once or not terminal.is_redrawn:
        show(_shown(sights(place), store))
        return
    with suppress(KeyboardInterrupt), Live(console=terminal, auto_refresh=False, transient=False) as view:
        while True:
            view.update(_shown(sights(place, ended), store), refresh=True)
            time.sleep(seconds)


def _shown(seen: Sequence[Sight], store: Path) -> Group:
    """What is under way, then what failed, then the runs that finished last; what to know of them; and how many are."""
    ended = [sight for sight in seen if sight.state == "done"]
    listed = [sight for sight in seen if sight.state != "done"] + ended[:ENDED]
    table = table_of("run", "state", "training", "loss", "", "time")
    for column in table.columns[1:]:  # on a narrow terminal the long ids are folded, and nothing else
        column.no_wrap = True
    for sight in listed:
        last = f"{sight.losses[-1]:,.1f}" if sight.losses else ""
        left = "" if sight.left is None else f"{duration(sight.left)} left"
        took = "" if sight.took is None else f"took {duration(sight.took)}"
        table.add_row(sight.run_id, sight.state, _progress(sight), last, sparkline(sight.losses), left or took)
    counts = Counter(sight.state for sight in seen)
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    rest = f" (the {ENDED} latest are shown)" if len(ended) > ENDED else ""
    lines = [f"{sight.run_id}: {sight.note}" for sight in listed if sight.note]
    return Group(table, *(Text(escapes.terminal(line)) for line in (*lines, f"{store}: {said or 'no runs yet'}{rest}")))


def _progress(sight: Sight) -> str:
    """A bar and the share of the steps, or the step alone."""
    if sight.step is None:
        return ""
    if not sight.steps:
        return f"step {sight.step:,}"
    share = min(1.0, sight.step / sight.steps)
    full = round(BAR * share)
    return f"{'█' * full}{'░' * (BAR - full)} {share:.0%}"


def sparkline(values: Sequence[float], width: int = CURVE) -> str:
    """A curve in one line of text, from its lowest value to its highest; each character is the mean of its share."""
    size = min(width, len(values))
    cuts = [round(i * len(values) / size) for i in range(size + 1)] if size else [0]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts)]
    if not means or max(means) == min(means):
        return BLOCKS[0] * len(means)
    low, span = min(means), max(means) - min(means)
    return "".join(BLOCKS[round((value - low) / span * (len(BLOCKS) - 1))] for value in means)
