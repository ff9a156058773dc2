"""The paper's Table 1 with measured values, for every method: `python scripts/table_1.py`, `--picture` draws it, too.

Reads the records of `polyvae sweep methods` as `methods_table.py` does: all methods at equal networks, data and steps.
Quality is the Fréchet distance of m0 less that of the unimodal VAE with the same seed, as in the paper's figure 2.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure
from methods_table import KEPT, PRESET, cell, metric, of_methods

from polyvae import files, keys
from polyvae.methods import METHODS, Method
from polyvae.objectives import Q
from polyvae.paper.claims.evidence import ENOUGH, content, difference
from polyvae.paper.names import METHODS as NAMES
from polyvae.report.style import INK, MUTED, drawing
from polyvae.runs.record import Record

OUT = Path(__file__).parent.parent / "docs" / "images" / "table_1.png"
SAID = {"mvae": "good, poor", "mmvae": "limited, good", "mopoe": "limited, good"}
HEADS = (
    "sub-samples modalities",
    "the paper: quality, coherence",
    "quality gap: distance of m0 above the unimodal VAE's",
    "coherence (leave one out)",
    "probe",
    "seeds",
)
MODALITIES = ("m0", "m1", "m2")
DISTANCE = "frechet/digits/unconditional/m0"
# Of methods whose objective is code, neither L_S nor a recipe of terms: what their formulas in docs/methods.md say.
OF_CODE = {
    **dict.fromkeys(("hoelder", "hoelder_plus", "hoelder_plusplus", "code_vae"), "yes"),
    **dict.fromkeys(("masked", "mld", "aligned_flows"), "no"),
}
COLOURS = {"yes": "#c2410c", "own codes": "#7c3aed", "no": "#0369a1"}


def sub_samples(method: Method) -> str:
    """Whether a code of some modalities has to predict others: yes, no, or "own codes", where it does and each target
    reads a private code of its own besides."""
    if method.is_single:
        return "-"
    if method.name in OF_CODE:
        return OF_CODE[method.name]
    if (recipe := method.terms_for({})) is None:
        assert method.mixture is not None
        terms = method.mixture(MODALITIES).terms
        return "yes" if any(set(term.target or MODALITIES) - set(term.given) for term in terms) else "no"
    crossing = [
        law
        for draw in recipe(MODALITIES).draws
        for law in ([draw.of] if isinstance(draw.of, Q) else [part for _, part in draw.of.parts])
        if set(law.given) <= set(MODALITIES) and set(draw.targets or MODALITIES) - set(law.given)
    ]
    if not crossing:
        return "no"
    return "own codes" if all(law.private == "all" for law in crossing) else "yes"


def gaps(runs: Iterable[Record], unimodal: Iterable[Record]) -> list[float]:
    """The distance less that of the unimodal VAE, for each seed that both have."""
    own, base = ({r.config.seed: r.metrics[DISTANCE] for r in of if DISTANCE in r.metrics} for of in (runs, unimodal))
    return list(difference(own, base).values())


def lines(by_method: dict[str, list[Record]]) -> list[str]:
    shown = [f"| method | {' | '.join(HEADS)} |", "|---" * (len(HEADS) + 1) + "|"]
    for name, runs in by_method.items():
        gap = cell(gaps(runs, by_method["unimodal"]), "+,.0f") if name != "unimodal" else "0"
        coherence, probe = (
            cell([metric(key)(r) for r in runs], ".2f") for key in (keys.LEAVE_ONE_OUT, keys.LINEAR_PROBE)
        )
        words = sub_samples(METHODS[name]), SAID.get(name, "-"), gap, coherence, probe, str(len(runs))
        shown.append(f"| `{name}` | {' | '.join(words)} |")
    return shown


def table() -> list[str]:
    return lines(of_methods(KEPT, PRESET))


def draw(by_method: dict[str, list[Record]]) -> None:
    """Gap over coherence: bottom right is where both are had."""
    places = {
        name: (mean(r.metrics[keys.LEAVE_ONE_OUT] for r in runs), mean(gaps(runs, by_method["unimodal"])))
        for name, runs in by_method.items()
        if name != "unimodal"
    }
    with drawing():
        figure = Figure(figsize=(8.5, 5.4), layout="constrained")
        axes = figure.subplots()
        for name, at in places.items():
            colour = COLOURS[sub_samples(METHODS[name])]
            face = colour if has_learned(by_method[name]) else "none"
            axes.scatter(*at, s=36, facecolor=face, edgecolor=colour, linewidth=1.2)
            offset, side = _beside(at, [other for other in places.values() if other != at])
            axes.annotate(
                NAMES[name].short, at, offset, textcoords="offset points", ha=side, va="center", fontsize=7.5, color=INK
            )
        axes.axhline(0, color=MUTED, linewidth=1, dashes=(4, 2))
        axes.text(0.9, 8, "as good as the unimodal VAE", ha="right", color=MUTED, fontsize=8)
        for label, colour in COLOURS.items():
            axes.scatter([], [], s=36, color=colour, label=f"sub-samples modalities: {label}")
        axes.scatter([], [], s=36, facecolor="none", edgecolor=MUTED, label="has hardly learned (probe below .5)")
        axes.legend(frameon=False, fontsize=8, loc="upper right")
        axes.set(xlim=(0.03, 0.91), ylim=(min(gap for _, gap in places.values()) - 40, 760))
        axes.set_xlabel("coherence: share of the right digit, given all other modalities (chance .1)")
        axes.set_ylabel("quality gap: Fréchet distance of m0 above\nthat of the unimodal VAE (lower is better)")
        with files.atomic(OUT) as temporary:
            figure.savefig(temporary, format="png", dpi=150, facecolor="white")


def has_learned(runs: Iterable[Record]) -> bool:
    """Also where no probe is defined, as without a joint posterior."""
    known = [value for value in map(content, runs) if value is not None]
    return not known or mean(known) >= ENOUGH


def _beside(at: tuple[float, float], others: Iterable[tuple[float, float]]) -> tuple[tuple[int, int], str]:
    """Where a label hides no other: offset in points, and which of its ends is there."""
    apart = [(x - at[0], y - at[1]) for x, y in others]
    if any(0 < dx < 0.12 and abs(dy) < 30 for dx, dy in apart):
        return (-6, 2), "right"
    return (6, -3 if any(abs(dx) < 0.03 and 0 < dy < 30 for dx, dy in apart) else 3), "left"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, nargs="+", default=KEPT, help="where records are")
    parser.add_argument("--picture", action="store_true", help=f"also write {OUT.name}")
    chosen = parser.parse_args()
    by_method = of_methods(tuple(chosen.store), PRESET)
    print(*lines(by_method), sep="\n")
    if chosen.picture:
        draw(by_method)


if __name__ == "__main__":
    main()
