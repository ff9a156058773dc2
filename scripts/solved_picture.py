"""docs/images/translated.png, from the runs of `polyvae sweep translated_solved`: `python scripts/solved_picture.py`.

A row per method, its run of seed 0: pictures of m0 given m1, of m2 given m0, and joint samples, as the run left them.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from polyvae import RunStore, files, keys
from polyvae.paper.experiments import configs_of
from polyvae.pictures.pages import BAND_GAP, ENLARGE, GAP
from polyvae.report.style import INK, METHODS, MUTED, drawing

OUT = Path(__file__).parent.parent / "docs" / "images" / "translated.png"
SHOWN = ("aligned_flows", "mopoe", "mmvae", "mvae")
PANELS = {
    "conditional_m1_m0": "m0 given m1 (first row)",
    "conditional_m0_m2": "m2 given m0 (first row)",
    "unconditional": "samples of all three",
}
SIDE, DRAWS = 28, 3


def top(path: Path) -> Image.Image:
    """The given row of a grid and its first draws; of joint samples all."""
    page = Image.open(path)
    height = GAP + (1 + DRAWS) * (SIDE + GAP) + BAND_GAP
    return page.crop((0, 0, page.width, min(page.height, ENLARGE * height)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("runs"), help="where the sweep kept its runs")
    parser.add_argument("--preset", default="cpu")
    chosen = parser.parse_args()
    store = RunStore(chosen.store)
    records = {record.config.with_(data_dir=None): record for record in store.records()}
    runs = {}  # of several runs of a method, the one that the experiment lists first
    for config in configs_of("translated_solved", chosen.preset):
        if config.with_(data_dir=None) in records:
            runs.setdefault(config.method, records[config.with_(data_dir=None)])
    with drawing():
        figure = Figure(figsize=(11, 1.75 * len(SHOWN)), layout="constrained")
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
