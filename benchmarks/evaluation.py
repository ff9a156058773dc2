"""How long does it take to score a model? `make bench` runs this; also alone: python benchmarks/evaluation.py.

A MoPoE-VAE with five modalities, the conv net, latent 512, on 10,000 test tuples of full MNIST (with --data-dir; else
the embedded 2,000): everything that a run scores by default. `peer_evaluation.py` times MultiVae's coherence evaluator
on the same networks, with classifiers of the published shape. Weights are untrained: they do not change the work.
"""

import argparse
import os
import resource
import time

import torch

from polyvae import MultimodalVAE, datasets, networks, subsets
from polyvae.judges.digits import judge_for
from polyvae.metrics import Evaluation
from polyvae.metrics.scoring import METRICS, Scoring, metric_names

LATENT = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", default=os.environ.get("POLYVAE_DATA"))
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pass-only", action="store_true", help="only the shared pass; prints its seconds")
    parser.add_argument("--rows", type=int, help="test tuples (default: all)")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    torch.manual_seed(0)
    train, test = (
        datasets.load("polymnist", split=split, data_dir=chosen.data_dir, size=chosen.rows)
        for split in ("train", "test")
    )
    sampler = datasets.sampler("polymnist", data_dir=chosen.data_dir)
    assert sampler is not None
    judge = judge_for(sampler, test)
    built = {m.name: networks.build("conv", m, LATENT) for m in test.modalities}
    model = MultimodalVAE(test.modalities, built, subsets.mopoe(test.names), LATENT)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    scoring = Scoring(model, Evaluation(test, train, judge), metric_names("default"))
    started = time.perf_counter()
    count = len(scoring.readings.trial.rows)
    seconds = time.perf_counter() - started
    if chosen.pass_only:
        print(seconds)
        return
    print(f"  one pass, 31 subsets x 5 targets: {seconds:.1f} s for {count:,} tuples", flush=True)
    for name in metric_names("default"):
        if name in ("imputation", "captions", "objective"):  # no table, no text, no run here
            continue
        part = time.perf_counter()
        METRICS[name].measure(scoring)
        print(f"  {name}: {time.perf_counter() - part:.1f} s", flush=True)
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"  in all: {time.perf_counter() - started:.0f} s, {added:,.0f} MiB added (goal for 10,000: 240 s, 3,072 MiB)"
    )


if __name__ == "__main__":
    main()
