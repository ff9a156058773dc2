"""Worker: MultiVae's coherence evaluator. Runs in MultiVae's own environment. Arguments: tuples, threads.

Prints seconds. Classifiers have the published shape (Sutter et al. 2021); weights and images are random.
"""

import sys
import time

tuples, threads = int(sys.argv[1]), sys.argv[2]
sys.argv[1:] = ["mopoe", "--rows", "2", "--threads", threads]

import worker  # noqa: E402

worker.serve = lambda step, warm_up: None  # `peer` builds the model and would serve training steps

import peer  # noqa: E402

model, names = peer.model, peer.names  # importing it first puts a stand-in for torchvision in place

import torch  # noqa: E402
from multivae.data.datasets.base import MultimodalBaseDataset  # noqa: E402
from multivae.metrics.coherences.coherences import CoherenceEvaluator  # noqa: E402
from multivae.metrics.coherences.coherences_config import CoherenceEvaluatorConfig  # noqa: E402
from torch import nn  # noqa: E402


def classifier() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 10, 4, 2, 1), nn.Dropout2d(0.5), nn.ReLU(), nn.Conv2d(10, 20, 4, 2, 1), nn.Dropout2d(0.5)),
        *(nn.ReLU(), nn.Flatten(), nn.Linear(980, 128), nn.Dropout(0.5), nn.ReLU(), nn.Linear(128, 10)),
    )


data = MultimodalBaseDataset({name: torch.rand(tuples, 3, 28, 28) for name in names}, torch.randint(10, (tuples,)))
config = CoherenceEvaluatorConfig(batch_size=500, num_classes=10, nb_samples_for_joint=tuples)
evaluator = CoherenceEvaluator(model, {name: classifier() for name in names}, data, eval_config=config)
started = time.perf_counter()
with torch.no_grad():
    evaluator.eval()
print(time.perf_counter() - started)
