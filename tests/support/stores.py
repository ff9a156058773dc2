"""Run folders in the record schema, without training."""

import io
import json
from base64 import b64encode
from itertools import permutations

import numpy as np
from PIL import Image

from polyvae.config import RunConfig
from polyvae.pictures.draws import given_sets
from polyvae.runs.record import Record, Resolved

# method -> (distance on m0, joint, kappa, leave-one-out, self, distortion, rate), shaped like the paper's figures.
PAPER = {
    "unimodal": (11.2, None, None, None, 0.93, 402.0, 9.1),
    "mvae": (12.4, 0.11, 0.07, 0.41, 0.88, 1290.0, 21.4),
    "mvae_plus": (17.9, 0.16, 0.10, 0.55, 0.86, 1310.0, 20.2),
    "mmvae": (41.3, 0.21, 0.17, 0.71, 0.84, 1480.0, 13.0),
    "mopoe": (33.8, 0.26, 0.22, 0.78, 0.86, 1442.0, 15.8),
}


def metrics_of(numbers, modalities):
    distance, joint, kappa, one_out, own, distortion, rate = numbers
    metrics = {"bound/distortion": distortion, "bound/rate": rate, "bound/loss": distortion + rate}
    for i, name in enumerate(modalities):
        metrics[f"frechet/digits/unconditional/{name}"] = distance + 2.5 * i
        metrics[f"frechet/digits/floor/{name}"] = 1.3
        metrics[f"coherence/ceiling/{name}"] = 0.97
        metrics[f"coherence/self/{name}"] = own - 0.02 * i
        metrics[f"bound/log_likelihood/{name}"] = -distortion / len(modalities)
    if joint is not None:
        metrics |= {"coherence/joint": joint, "coherence/joint_kappa": kappa, "coherence/leave_one_out": one_out}
        metrics |= {"coherence/leave_one_out_low": one_out - 0.02, "coherence/leave_one_out_high": one_out + 0.02}
        metrics |= {f"coherence/by_inputs/{k}": one_out - 0.1 * (2 - k) for k in (1, 2)}
        for i, (given, target) in enumerate(permutations(modalities, 2)):
            metrics[f"coherence/conditional/{given}/{target}"] = one_out - 0.1 + 0.02 * i
    return metrics


def history_of(metrics, modalities, epochs):
    decay = 1 + 1.5 * np.exp(-np.arange(epochs) / max(1, epochs / 8))
    return [
        {
            "stage": "joint",
            "epoch": epoch + 1,
            "step": 79 * (epoch + 1),
            "loss": metrics["bound/loss"] * factor,
            "distortion": metrics["bound/distortion"] * factor,
            "rate": metrics["bound/rate"] / factor,
            "log_likelihood": dict.fromkeys(modalities, -factor),
            "kl": metrics["bound/rate"],
            "seconds": 2.0,
        }
        for epoch, factor in enumerate(decay)
    ]


def picture(path, rows, columns, seed):
    """A grid of tiles, each in a colour of its own."""
    colours = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(colours.repeat(8, 0).repeat(8, 1)).save(path)


def put_draws(folder, names=("m0", "m1", "m2"), texts=(), columns=10, draws=4):
    """draws.json with pictures of 8 x 8 pixels, each in a colour of its own, and captions that say where they stand."""
    sets = given_sets(names)
    lines = {name: 1 + draws * sum(name not in given for given in sets) for name in names}
    images = {}
    for seed, name in enumerate(sorted(set(names) - set(texts))):
        shape = (lines[name], columns, 3)
        colours = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8).repeat(9, 0).repeat(9, 1)
        buffer = io.BytesIO()
        Image.fromarray(np.pad(colours, ((1, 0), (1, 0), (0, 0)))).save(buffer, format="WEBP")
        images[name] = b64encode(buffer.getvalue()).decode()
    said = {name: [[f"{name} {i} {j}" for j in range(columns)] for i in range(lines[name])] for name in texts}
    given = [list(names) for names in sets]
    content = {"columns": columns, "draws": draws, "given": given, "images": images, "texts": said}
    (folder / "draws.json").write_text(json.dumps(content))


def add_run(
    store,
    method="mopoe",
    numbers=None,
    *,
    error=None,
    metrics=None,
    notes=None,
    epochs=12,
    samples=False,
    likelihoods=None,
    **fields,
):
    """Writes one run folder in the record schema and returns its run id."""
    only = {"only": "m0"} if method == "unimodal" else {}
    config = RunConfig(**({"modalities": 3, "epochs": epochs, "train_size": 20_000} | only | fields), method=method)
    modalities = ("m0",) if method == "unimodal" else tuple(f"m{i}" for i in range(config.modalities or 5))
    run_id = config.run_id()
    folder = store.begin(run_id, config)
    if metrics is None:
        metrics = {} if error else metrics_of(numbers or PAPER[method], modalities)
    record = Record(
        run_id=run_id,
        config=config,
        status="failed" if error else "done",
        error=error,
        metrics=metrics,
        notes=({"coherence": "it needs two modalities"} if method == "unimodal" else {}) | (notes or {}),
        seconds={"data": 1.0, "train": 24.0, "evaluate": 6.0},
        environment={
            "versions": {"polyvae": "0.1.0", "torch": "2.6.0"},
            "device": "cpu",
            "threads": 2,
            "cpu": "Test CPU",
        },
        resolved=Resolved(
            modalities=modalities,
            latent_dim=64,
            networks=dict.fromkeys(modalities, "conv"),
            likelihoods=likelihoods or {name: {"kind": "laplace", "scale": 0.75} for name in modalities},
            parameters=1_000_000,
            train_rows=20_000,
            test_rows=2_000,
            steps=948,
            is_bound=method != "mvae_plus",
        ),
    )
    if not error and "bound/loss" in metrics:
        lines = history_of(metrics, modalities, epochs)
        (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if samples:
        picture(folder / "samples/unconditional.png", len(modalities), 10, 1)
        picture(folder / "samples/reconstruction.png", 2 * len(modalities), 10, 2)
        for given, target in permutations(modalities, 2):
            picture(folder / f"samples/conditional_{given}_{target}.png", 11, 10, 3)
    store.finish(record)
    return run_id


def put(store, status="done", metrics=None, **changes):
    config = RunConfig(**changes)
    record = Record(
        run_id=config.run_id(),
        config=config,
        status=status,
        error=None if status == "done" else "loss is not finite",
        metrics=metrics or {},
        seconds={"train": 3.0, "evaluate": 1.5},
    )
    store.finish(record)
    return record.run_id


def measured(config, seconds, error=None):
    return Record(
        run_id=config.run_id(),
        config=config,
        status="failed" if error else "done",
        error=error,
        seconds={"train": seconds - 1.0, "evaluate": 1.0},
    )
