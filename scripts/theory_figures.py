"""The figures and tables of docs/theory.md: python scripts/theory_figures.py [NAME ...].

`rate_distortion` trains twelve small models on `symbols`, `dial` the eleven runs of the experiment `dial`, both into
--store; `floors` reads docs/results/records; everything else is closed form.
"""

import argparse
import time
from collections import Counter
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import polyvae as pv
from polyvae import keys, theory
from polyvae.audits.laws import law_named, law_of
from polyvae.paper.experiments import configs_of
from polyvae.report import figures
from polyvae.report.drawing import floors as report_floors
from polyvae.report.reading import read_runs
from polyvae.report.style import INK, METHODS, MUTED, drawing, save
from polyvae.runs.plan import make_plans
from polyvae.runs.store import RunStore
from polyvae.sweeps.sweep import sweep
from polyvae.theory.generators import noisy_copies

IMAGES = Path(__file__).parent.parent / "docs" / "images"
RECORDS = Path(__file__).parent.parent / "docs" / "results" / "records"
TITLES = ("Fréchet distance", "leave-one-out coherence", "diversity (real: 1)")
GAP_BETA = 0.2  # of the beta gap lines that are drawn
BETAS = (0.05, 0.2, 0.5, 1.0)
PLAIN = {"mmvae": pv.subsets.mmvae, "mopoe": pv.subsets.mopoe, "mvae": pv.subsets.mvae}


def diverse(count: int) -> theory.DiscreteLaw:
    """A fair bit that every modality shows, and a private fair bit each."""
    table = np.zeros((4,) * count)
    for shared in (0, 1):
        table[(slice(2 * shared, 2 * shared + 2),) * count] = 0.5 / 2**count
    return theory.DiscreteLaw(table, tuple(f"m{i}" for i in range(count)))


def redundant(count: int) -> theory.DiscreteLaw:
    """m0 is a coarse view of m1 (four values); all further modalities are copies of m1."""
    table = np.zeros((2,) + (4,) * (count - 1))
    for value in range(4):
        table[(value // 2, *(value,) * (count - 1))] = 0.25
    return theory.DiscreteLaw(table, tuple(f"m{i}" for i in range(count)))


def corollary_2() -> None:
    with drawing():
        figure = Figure(figsize=(7.2, 2.8))
        panels = figure.subplots(1, 2)
        titles = ("New modalities bring their own information", "New modalities are copies")
        for axes, law, title in zip(panels, (diverse, redundant), titles, strict=True):
            for name in ("mmvae", "mopoe"):
                counts = range(2, 7)
                deltas = [theory.discrepancy(law(m), PLAIN[name](law(m).names)) for m in counts]
                look = METHODS[name]
                axes.plot(counts, deltas, color=look.colour, marker=look.marker, label=look.name)
            axes.axhline(0, color=METHODS["mvae"].colour, label="MVAE")
            axes.set(xlabel="modalities", title=title, ylim=(-0.05, None), xticks=range(2, 7))
        panels[0].set_ylabel("Delta in nats")
        panels[0].legend()
    save(figure, IMAGES, "theory_corollary2")


def rate_distortion(store: Path) -> None:
    law = law_named("symbols")
    h = law.entropies.joint
    with drawing():
        figure = Figure(figsize=(7.2, 3.2))
        axes = figure.subplots()
        rates = np.linspace(0, h * 1.15, 50)
        axes.plot(rates, np.maximum(h - rates, 0), color=INK, linestyle=":", label="D + R = H(X) (line 2)")
        for name, make in PLAIN.items():
            look, S = METHODS[name], make(law.names)
            delta = theory.discrepancy(law, S)
            points = []
            for beta in BETAS:
                config = pv.RunConfig(
                    dataset="symbols", network="mlp", latent_dim=8, epochs=150, learning_rate=2e-3, schedule="cosine",
                    method=name, beta=beta, metrics="none", threads=1,
                )  # fmt: skip
                found = pv.audit(pv.run(config, store))
                points.append((found.measured.rate, found.measured.distortion))
                print(
                    f"{name:6} beta {beta:4}: R {points[-1][0]:6.3f}  D {points[-1][1]:6.3f}  Delta {delta:.3f}  "
                    f"E log p - L_S {found.log_evidence - found.objective:6.3f}  eq. 4 slack {found.eq4_slack:6.3f}"
                )
            axes.plot(*zip(*points, strict=True), color=look.colour, marker=look.marker, linestyle="", label=look.name)
            if delta > 0:
                axes.axhline(delta, color=look.colour, linewidth=1, linestyle="--")
                corner = (h - delta, delta)  # all lines D + beta R = beta gap meet here
                axes.axline(corner, slope=-GAP_BETA, color=look.colour, linewidth=0.8, linestyle="-.", alpha=0.8)
                axes.text(0, delta, f"floor Delta, {look.name}", color=look.colour, va="bottom")
        axes.set(xlabel="rate R in nats", ylabel="distortion D in nats", ylim=(-0.3, h + 0.5))
        axes.legend(loc="upper right")
    save(figure, IMAGES, "theory_rate_distortion")


def diversity() -> None:
    """Spread of what a given subset leaves open: the encoder that L_S likes best, against the truth."""
    law = law_named("toy", modalities=5)
    counts, kept, gaps = range(1, 5), [], []
    for count in counts:
        given = list(range(count))
        missing = law.stacked([4])
        narrow, true = (
            np.trace(missing @ covariance @ missing.T)
            for covariance in (law.optimal_encoder(given)[1], law.posterior(given)[1])
        )
        kept.append(float(np.sqrt(narrow / true)))
        gaps.append(law.encoder_gap(given))
    for count, share, gap in zip(counts, kept, gaps, strict=True):
        print(f"given {count} of 5: samples keep {share:.1%} of the true spread; L_S falls short by {gap:.3f} nats")
    with drawing():
        figure = Figure(figsize=(4.2, 2.6))
        axes = figure.subplots()
        axes.plot(counts, kept, color=METHODS["mopoe"].colour, marker="o")
        axes.axhline(1, color=MUTED, linestyle="--")
        axes.set(
            xlabel="observed modalities of 5", ylabel="sd of samples / true sd", ylim=(0, 1.08), xticks=list(counts)
        )
    save(figure, IMAGES, "theory_diversity")


def floors() -> None:
    """Recorded distortion of the CPU-scale runs over the floors that `polyvae theory floors` put into their records."""
    groups, _ = read_runs(RunStore(RECORDS))
    for group in groups:
        by_modality = figures.floors(group)
        for modality, curves in by_modality.items():
            for label, found in curves.items():
                for beta, reached, floor in found:
                    numbers = f"{reached:,.0f} | {floor:,.0f} | {reached - floor:,.0f}"
                    print(f"| {group.title} | {label} | {beta:g} | {modality} | {numbers} |")
        if by_modality and group.runs[0].config.dataset == "polymnist" and len(group.modalities) == 3:
            save(report_floors(by_modality, group), IMAGES, "theory_floors")


def dial(store: Path, data_dir: str | None) -> None:
    """Quality, coherence and diversity against Delta in nats, by share of the singles and by crop positions."""
    configs = [config.with_(data_dir=data_dir) for config in configs_of("dial")]
    done = {record.run_id: record for record in sweep(configs, RunStore(store))}
    found = []
    for plan in make_plans(configs):
        metrics = done[plan.run_id].metrics
        delta = theory.discrepancy(law_of(plan.sampler), plan.mixture)
        numbers = [
            np.mean([metrics[keys.Seen("digits", m).key()] for m in ("m0", "m1", "m2")]),
            metrics[keys.LEAVE_ONE_OUT],
            metrics[keys.of(keys.DIVERSITY, "digits", "mean")],
        ]
        share = 1 - sum(t.weight for t in plan.mixture.terms if len(t.given) == 3)
        found.append((share, plan.config.crop_range, delta, numbers))
        positions = "all" if plan.config.crop_range is None else plan.config.crop_range**2
        print(f"| {share:g} | {positions} | {delta:.2f} | " + " | ".join(f"{n:,.3g}" for n in numbers) + " |")
    whole = [point for point in found if point[1] is None]
    dials = (
        ("share of the singles, 0 to 1, all crops", METHODS["mopoe"], whole),
        ("crop positions 1, 4, 64, all, singles alone", METHODS["mmvae"], [point for point in found if point[0] == 1]),
    )
    with drawing():
        figure = Figure(figsize=(7.2, 2.8))
        for i, (axes, title) in enumerate(zip(figure.subplots(1, 3), TITLES, strict=True)):
            for label, look, points in dials:
                x, y = zip(*sorted((delta, numbers[i]) for _, _, delta, numbers in points), strict=True)
                axes.plot(x, y, color=look.colour, marker=look.marker, label=label if i == 0 else None)
            axes.set(xlabel="Delta in nats", title=title, ylim=(0, None))
        figure.legend(loc="outside upper left", ncols=2)
    save(figure, IMAGES, "theory_dial")


def coverage() -> None:
    """Counts for two values a modality; a network each for twelve, too many cells to count."""
    for symbols, cases in ((2, 120), (12, 24)):
        _coverage(symbols, cases)
    for noise in (0.0005, 0.005, 0.1, 0.5):
        _coverage_of_copies(noise)


def _coverage(symbols: int, cases: int) -> None:
    hits: Counter = Counter()
    kinds = list(theory.GENERATORS)
    for case in range(cases):
        kind = kinds[case % len(kinds)]
        law = theory.generator(kind, 3, symbols, seed=case)
        rows = law.draw(1500, np.random.default_rng([case, 1]))
        arrays = {name: values.astype(float) for name, values in rows.items()}
        found = pv.estimate(arrays, bins=2 * symbols + 1, seed=case)  # enough to keep every value
        for method in ("mmvae", "mopoe"):
            truth = theory.discrepancy(law, PLAIN[method](law.names))
            lower, upper = found.delta[method]
            hits[kind] += lower.value - 1e-9 <= truth <= upper.value + 1e-9
    for kind in kinds:
        print(f"| {kind}, {symbols} values | {hits[kind]} of {2 * cases // len(kinds)} |")


def _coverage_of_copies(noise: float, cases: int = 40) -> None:
    """From nearly redundant to independent: misses below and above, and the mean interval of MMVAE's Delta."""
    law = noisy_copies(2, 2, noise)
    for rows in (200, 1000, 5000):
        below, above, ends = 0, 0, []
        for case in range(cases):
            drawn = law.draw(rows, np.random.default_rng([case, 2]))
            found = pv.estimate({name: values.astype(float) for name, values in drawn.items()}, seed=case)
            for method in ("mmvae", "mopoe"):
                truth = theory.discrepancy(law, PLAIN[method](law.names))
                lower, upper = found.delta[method]
                below, above = below + (truth < lower.value - 1e-9), above + (truth > upper.value + 1e-9)
            ends.append([end.value for end in found.delta["mmvae"]])
        low, high = np.mean(ends, 0)
        truth = theory.discrepancy(law, PLAIN["mmvae"](law.names))
        print(f"| {noise:.2%} | {rows:,} | {truth:.3f} | {low:.3f} to {high:.3f} | {below} | {above} | {2 * cases} |")


def times() -> None:
    for count in (16, 20):
        table = np.random.default_rng(0).dirichlet(np.ones(2**count)).reshape((2,) * count)
        started = time.perf_counter()
        theory.entropies(table)
        print(f"entropies of {count} binary modalities: {time.perf_counter() - started:.2f} s")


def sizes() -> None:
    for name in ("polymnist", "translated_polymnist", "repeated_polymnist"):
        law = law_named(name, modalities=5)
        for method in ("mmvae", "mopoe"):
            S = PLAIN[method](law.names)
            unseen = {t.given: law.unseen_pixels(t.given) for t in S.terms}
            gap = theory.factorised_floor(S, unseen, law)[1]
            floor = theory.factorised_floor(S, unseen, law, 0)[0]
            print(f"| {name} | {method} | {law.entropies.joint:.1f} | {theory.discrepancy(law, S):.1f} | {gap:,.0f} |"
                  f" {floor:,.0f} |")  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="which of them; default: all")
    parser.add_argument("--store", type=Path, default=Path("runs/theory"))
    parser.add_argument("--data-dir", help="folder with mnist/, for `dial`; default: the embedded digits")
    arguments = parser.parse_args()
    makers = {
        "corollary_2": corollary_2,
        "diversity": diversity,
        "sizes": sizes,
        "coverage": coverage,
        "times": times,
        "floors": floors,
        "rate_distortion": lambda: rate_distortion(arguments.store),
        "dial": lambda: dial(arguments.store, arguments.data_dir),
    }
    for name in arguments.names or makers:
        makers[name]()
