"""How methods look, and how a matplotlib figure becomes a file and an inline SVG that follows light and dark mode."""

import io
import re
import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle

from polyvae import escapes, files
from polyvae.paper.names import METHODS as NAMES

DASH = "\N{EN DASH}"  # for a value that is not there

# Drawn in these colours; inside the page each becomes the CSS variable of its name.
INK, MUTED, GRID, PAPER = "#1c1e22", "#666d78", "#e2e5ea", "#fdfdfc"
VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)"}

RC: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "axes.unicode_minus": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "lines.linewidth": 1.6,
    "svg.fonttype": "none",
    "svg.hashsalt": "polyvae",
}


class Look(NamedTuple):
    """Display name, colour (Okabe and Ito's colour-blind-safe palette) and marker of a method."""

    name: str
    colour: str
    marker: str


METHODS = {
    method: Look(NAMES[method].full, colour, marker)
    for method, colour, marker in (
        ("unimodal", "#7b818c", "d"),
        ("mvae", "#0072b2", "o"),
        ("mvae_plus", "#56b4e9", "s"),
        ("mmvae", "#e69f00", "^"),
        ("mopoe", "#009e73", "D"),
        ("mmvae_official", "#d55e00", "v"),
        ("unimodal_dreg", "#444b57", "d"),
        ("mvae_plus_random", "#cc79a7", "s"),
        ("mvtcae", "#cc79a7", "P"),
        ("mvtcae_over_messages", "#cc79a7", "X"),
        ("mvtcae_contrast", "#cc79a7", "*"),
        ("crmvae", "#a6761d", "P"),
        ("jmvae", "#0072b2", "X"),
        ("telbo", "#0072b2", "P"),
        ("jnf", "#009e73", "P"),
        ("jnf_dcca", "#009e73", "*"),
        ("jnf_contrast", "#009e73", "h"),
        ("mmjsd", "#e69f00", "X"),
        ("mmjsd_official", "#d55e00", "X"),
        ("idmvae", "#d55e00", "P"),
        ("idmvae_official", "#d55e00", "h"),
        ("contrastive_plus", "#cc79a7", "h"),
        ("mmvm", "#009e73", "X"),
        ("mmvm_official", "#56b4e9", "X"),
        ("helvae", "#0072b2", "v"),
        ("mopoe_dense", "#56b4e9", "D"),
        ("mohelvae", "#009e73", "v"),
        ("hoelder", "#e69f00", "v"),
        ("hoelder_plus", "#56b4e9", "h"),
        ("hoelder_plusplus", "#0072b2", "h"),
        ("code_vae", "#d55e00", "D"),
        ("code_vae_official", "#cc79a7", "D"),
        ("gpoe", "#56b4e9", "v"),
        ("masked", "#a6761d", "v"),
        ("masked_attention", "#a6761d", "X"),
        ("mmvae_plus", "#e69f00", "*"),
        ("mmvae_plus_elbo", "#a6761d", "*"),
        ("mmvae_plus_iwae", "#a6761d", "h"),
        ("mmvae_plus_dreg", "#a6761d", "D"),
        ("cmvae", "#009e73", "*"),
        ("mmvae_plusplus", "#d55e00", "*"),
        ("dmvae", "#0072b2", "*"),
        ("dmvae_official", "#56b4e9", "*"),
        ("mopoe_style", "#cc79a7", "*"),
        ("mld", "#444b57", "*"),
        ("aligned_flows", "#d55e00", "*"),
    )
}
OTHERS = [(colour, marker) for marker in "XvhpP*" for colour in ("#d55e00", "#cc79a7", "#a6761d")]


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """A look for each method, in the order of the legend; names that are not known share the rest of the palette."""
    present = set(methods)
    known = {name: look for name, look in METHODS.items() if name in present}
    unknown = sorted(present - set(METHODS))
    return known | {name: Look(escapes.label(name), *OTHERS[i % len(OTHERS)]) for i, name in enumerate(unknown)}


def marker_path(marker: str) -> str:
    """The marker as SVG path data inside the square from -1 to 1, for legends in HTML."""
    shape = MarkerStyle(marker)
    path = shape.get_path().transformed(shape.get_transform())
    points = np.asarray(path.to_polygons(closed_only=True)[0])
    points = points / np.abs(points).max()
    return "M" + "L".join(f"{x:.2f} {-y:.2f}" for x, y in points) + "Z"


@contextmanager
def drawing() -> Generator[None]:
    """Our style. A letter that the font lacks is a box in the PNG file, and a letter in the page.

    Labels that leave no room for a figure overlap it.
    """
    with matplotlib.rc_context(RC), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "constrained_layout not applied", UserWarning)
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        yield


@contextmanager
def canvas(size: tuple[float, float]) -> Generator[tuple[Figure, Axes]]:
    """A figure of this size in inches with one pair of axes, for as long as it is drawn."""
    with drawing():
        figure = Figure(figsize=size)
        yield figure, figure.add_subplot()


def save(figure: Figure, folder: Path, name: str) -> str:
    """Writes `<name>.svg` and `<name>.png` below `folder`; returns the SVG for the page."""
    with drawing():
        text = _svg(figure)
        files.write_text(folder / f"{name}.svg", text)
        figure.set_layout_engine("none")  # both files have the layout of the first; it takes a quarter of the time
        with files.atomic(folder / f"{name}.png") as temporary:
            figure.savefig(temporary, format="png", dpi=200, facecolor="white")
    return inline(text, name)


def embedded(figure: Figure, name: str) -> str:
    """The SVG for the page, without a file."""
    with drawing():
        return inline(_svg(figure), name)


def inline(svg: str, name: str) -> str:
    """The <svg> element alone: ids made unique by `name`, colours as CSS variables, size left to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', svg, count=1, flags=re.S)
    return re.sub("<[^>]*>", lambda tag: _inlined(tag[0], name), svg)  # the text between tags stays as it is


def _inlined(tag: str, name: str) -> str:
    tag = re.sub(r"\bid=\"", f'id="{name}-', tag)
    tag = tag.replace('href="#', f'href="#{name}-').replace("url(#", f"url(#{name}-")
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, variable)
    return tag.replace("xlink:href", "href")


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return escapes.xml(buffer.getvalue()).replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans', sans-serif")
