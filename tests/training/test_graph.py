"""A step as a CUDA graph, on a stand-in for CUDA: what is captured, and what is done where nothing can be."""

import warnings
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from polyvae.training.graph import WAITS, WARM_UP, Replayed

ROWS = torch.arange(4)


class StandIn:
    """A generator that counts its seeds; while a capture has failed on its state, it cannot draw (as in torch 2.11)."""

    def __init__(self, device=None):
        self.device, self.state = SimpleNamespace(index=0), {"seed": 0, "is_capturing": False}

    def manual_seed(self, seed):
        self.state["seed"] = seed

    def initial_seed(self):
        return self.state["seed"]

    def graphsafe_get_state(self):
        found = StandIn()
        found.state = self.state
        return found

    def graphsafe_set_state(self, other):
        self.state = other.state

    def draw(self):
        assert not self.state["is_capturing"], "Offset increment outside graph capture encountered unexpectedly."
        return self.state["seed"]


class Card:
    """What `Replayed` asks of torch.cuda. `end`: raised where a capture ends."""

    def __init__(self, monkeypatch):
        self.mode, self.end, self.torchs, self.captured = 0, None, StandIn(), []
        parts = {
            "CUDAGraph": self.new_graph,
            "graph": self.capture,
            "current_stream": lambda device: "stream",
            "default_generators": [self.torchs],
            "get_sync_debug_mode": lambda: self.mode,
            "set_sync_debug_mode": self.set_mode,
        }
        for name, part in parts.items():
            monkeypatch.setattr(torch.cuda, name, part)
        monkeypatch.setattr("polyvae.training.graph.Generator", StandIn)

    def set_mode(self, mode):
        self.mode = mode

    def new_graph(self):
        states = []
        return SimpleNamespace(states=states, register_generator_state=states.append, replay=lambda: None)

    @contextmanager
    def capture(self, graph, stream, capture_error_mode):
        used = [self.torchs.state, *(generator.state for generator in graph.states)]
        for state in used:
            state["is_capturing"] = True
        self.captured.append(graph)
        try:
            yield
        finally:
            if self.end is not None:
                raise self.end
            for state in used:
                state["is_capturing"] = False

    def wait(self):
        if self.mode == "warn":
            warnings.warn(WAITS, stacklevel=1)


@pytest.fixture
def card(monkeypatch):
    return Card(monkeypatch)


def taken(step, count=WARM_UP + 2):
    replayed = Replayed(step, StandIn())
    for seed in range(count):
        replayed.generator.manual_seed(seed)
        replayed(ROWS)
    return replayed


def test_a_step_that_waits_is_not_captured(card):
    calls = []
    replayed = taken(lambda rows: (calls.append(1), card.wait(), rows)[-1])
    assert "test_graph.py" in replayed.reason
    assert (card.captured, len(calls), card.mode) == ([], WARM_UP + 2, 0)


def test_a_step_is_captured_once_and_replayed(card):
    calls = []
    replayed = taken(lambda rows: (calls.append(1), rows)[-1])
    assert (replayed.reason, len(card.captured), len(calls)) == ("", 1, WARM_UP + 1)
    assert replayed.own.initial_seed() == WARM_UP + 1  # what stands in for torch's generator is seeded alike


def test_after_a_capture_that_failed_steps_and_other_runs_go_on(card):
    """The reason is what went wrong first, and random numbers are still a function of the step."""
    drawn = []
    replayed = Replayed(lambda rows: failing(rows), StandIn())

    def failing(rows):
        if replayed.generator.state["is_capturing"]:
            card.end = RuntimeError("operation failed due to a previous error during capture")
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        drawn.append((replayed.generator.draw(), card.torchs.draw()))
        return rows

    for seed in range(WARM_UP + 2):
        replayed.generator.manual_seed(seed)
        replayed(ROWS)
    assert replayed.reason == "operation not permitted when stream is capturing"
    assert drawn == [(seed, 0) for seed in range(WARM_UP + 2)]


def test_no_memory_for_the_graph_is_no_reason_to_go_on_without(card):
    left = [WARM_UP]

    def step(rows):
        if not left[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        left[0] -= 1
        return rows

    card.end = None
    with pytest.raises(torch.OutOfMemoryError):
        taken(step)
