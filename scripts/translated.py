"""Table and picture of `polyvae sweep translated_solved`: `python scripts/translated.py --store DIR`.

The table of docs/results.md is printed: a row per setting, the mean over its seeds, with the least and the most in
brackets. The picture, docs/images/translated.png, has a row per method, its first run with pictures: those of m0 given
m1, of m2 given m0, and joint samples, as the run left them. Where a method has none, it is left as it is.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure
from methods_table import Read, cell, metric
from PIL import Image

from polyvae import RunConfig, RunStore, files, keys
from polyvae.paper.experiments import configs_of
from polyvae.pictures.pages import BAND_GAP, ENLARGE, GAP
from polyvae.report.style import INK, METHODS, MUTED, drawing
from polyvae.runs.record import Record

OUT = Path(__file__).parent.parent / "docs" / "images" / "translated.png"
SHOWN = ("aligned_flows", "mopoe", "mmvae", "mvae")
PANELS = {
    "conditional_m1_m0": "m0 given m1 (first row)",
    "conditional_m0_m2": "m2 given m0 (first row)",
    "unconditional": "samples of all three",
}
SIDE, DRAWS = 28, 3
KEPT = Path("docs/results/translated")


def mean_of(start: str) -> Read:
    """The mean over the modalities, of each of which a key below `start` is."""

    def read(record: Record) -> float | None:
        values = list(keys.below(start, record.metrics).values())
        return mean(values) if values else None

    return read


COLUMNS: dict[str, tuple[Read, str]] = {
    "digit drawn (own code)": (mean_of("coherence/self"), ".2f"),
    "1 input": (metric("coherence/by_inputs/1"), ".2f"),
    "2 inputs": (metric("coherence/by_inputs/2"), ".2f"),
    "joint": (metric("coherence/joint"), ".2f"),
    "joint kappa": (metric("coherence/joint_kappa"), ".2f"),
    "diversity": (metric("diversity/digits/mean"), ".2f"),
    "Fréchet": (mean_of("frechet/digits/unconditional"), ",.0f"),
    "minutes": (lambda record: record.total_seconds / 60, ".0f"),
}


def table(store: Path = KEPT, preset: str = "cpu") -> list[str]:
    return list(lines(runs_of(RunStore(store), preset)[0]))


def lines(settings: Mapping[str, list[Record]]) -> Iterable[str]:
    yield "| method | " + " | ".join(COLUMNS) + " |"
    yield "|---" * (len(COLUMNS) + 1) + "|"
    for name, runs in settings.items():
        cells = (cell([read(run) for run in runs], style) for read, style in COLUMNS.values())
        yield f"| {name} | " + " | ".join(cells) + " |"


def trained(config: RunConfig) -> RunConfig:
    """What a run was trained by, wherever its data were and whatever was scored."""
    return config.with_(data_dir=None, metrics="none")


def name_of(config: RunConfig) -> str:
    """The setting of a run, in which seeds do not differ."""
    name = f"`{config.method}`" + (f" ({config.only})" if config.only else "")
    if config.likelihood == "laplace":
        return f"{name}, Laplace"
    options = (config.method_options or "").split(",")
    best = ", best of 4 draws" * ("best_of=4" in options)
    return f"{name} at temperature .7{best}" if "draw_temperature=0.7" in options else name


def top(path: Path) -> Image.Image:
    """The given row of a grid and its first draws; of joint samples all."""
    page = Image.open(path)
    height = GAP + (1 + DRAWS) * (SIDE + GAP) + BAND_GAP
    return page.crop((0, 0, page.width, min(page.height, ENLARGE * height)))


def runs_of(store: RunStore, preset: str) -> tuple[dict[str, list[Record]], dict[str, Record]]:
    """Setting -> its runs; method -> of its runs with pictures the one that the experiment lists first."""
    records = {trained(record.config): record for record in store.records()}
    runs: dict[str, Record] = {}
    settings: dict[str, list[Record]] = defaultdict(list)
    for config in configs_of("translated_solved", preset):
        if record := records.get(trained(config)):
            if store.samples(record.run_id):
                runs.setdefault(config.method, record)
            settings[name_of(config)].append(record)
    return settings, runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("runs"), help="where the sweep kept its runs")
    parser.add_argument("--preset", default="cpu")
    chosen = parser.parse_args()
    store = RunStore(chosen.store)
    settings, runs = runs_of(store, chosen.preset)
    print(*lines(settings), sep="\n")
    if lacking := sorted({*SHOWN} - {*runs}):
        print(f"no picture: {chosen.store} has none of {', '.join(lacking)}")
        return
    draw(store, runs)


def draw(store: RunStore, runs: Mapping[str, Record]) -> None:
    with drawing():
        figure = Figure(figsize=(11, 1.45 * len(SHOWN)), layout="constrained")
        for axes, method in zip(figure.subplots(len(SHOWN), len(PANELS)), SHOWN, strict=True):
            record = runs[method]
            samples = store.samples(record.run_id)
            for axis, (kind, title) in zip(axes, PANELS.items(), strict=True):
                axis.imshow(top(samples[kind]), interpolation="nearest")
                axis.set_axis_off()
                if method == SHOWN[0]:
                    axis.set_title(title, color=MUTED, fontsize=9)
            name = f"{METHODS[method].name}\ncoherence {record.metrics[keys.LEAVE_ONE_OUT]:.2f}"
            axes[0].text(-0.03, 0.5, name, transform=axes[0].transAxes, ha="right", va="center", color=INK, fontsize=9)
        with files.atomic(OUT) as temporary:
            figure.savefig(temporary, format="png", dpi=150, facecolor="white")


if __name__ == "__main__":
    main()
