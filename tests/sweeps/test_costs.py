"""What runs cost, by records and by the method table."""

import runpy
from pathlib import Path
from statistics import median

import pytest

from polyvae import RunStore
from polyvae.config import RunConfig
from polyvae.methods import METHODS
from polyvae.paper import experiments
from polyvae.sweeps import costs
from support.stores import measured

RESULTS = Path(__file__).parent.parent.parent / "docs" / "results"


def test_costs_are_those_of_runs_that_differ_in_seed_and_beta():
    small, large = RunConfig(epochs=10, modalities=2), RunConfig(epochs=30, modalities=4)
    records = [measured(small, 30.0), measured(small.with_(seed=1, beta=2.0), 50.0), measured(small, 900.0, "broken")]
    asked = [small.with_(seed=7), large]
    known, scaled = costs.estimate(asked, records)
    assert known == 40.0
    assert scaled == pytest.approx(40.0 * 3 * 2), "three times the epochs, twice the modalities"
    assert costs.estimate(asked, []) is None
    other = measured(RunConfig(dataset="toy", epochs=10), 0.5)
    assert costs.estimate(asked, [other]) is None, "seconds of small data say nothing of large ones"
    assert costs.estimate(asked, [*records, other]) == [known, scaled]


def test_the_longest_come_first_and_equal_ones_stay_in_order():
    short, long = RunConfig(epochs=10), RunConfig(epochs=30)
    listed = [short, long, short.with_(seed=1), long.with_(seed=1)]
    assert costs.longest_first(listed, []) == [listed[i] for i in (1, 3, 0, 2)]
    slow = [measured(short, 500.0), measured(long, 5.0)]
    assert costs.longest_first(listed, slow) == [listed[i] for i in (0, 2, 1, 3)], "measured times win"


def test_the_time_left_is_that_of_runs_without_a_record():
    listed = [RunConfig(seed=seed) for seed in range(4)]
    done = [measured(listed[0].with_(threads=1), 30.0), measured(listed[1], 50.0)]
    failed = measured(listed[2], 5.0, "failed")
    assert costs.left(listed, [*done, failed]) == 40.0, "a failed run is not waited for"
    assert costs.left(listed, [failed]) is None
    assert costs.left(listed[:3], [*done, failed]) == 0
    own = [RunConfig(method="custom", subsets=f"{name}.json") for name in "abc"]
    assert costs.left(own, [measured(own[0], 100.0)]) == 200.0, "files tell them apart, not their ids"


def test_costs_are_those_of_the_method_table():
    """At three modalities: what a step decodes, and each of several samples as half of one."""
    mvae = costs.work(RunConfig(method="mvae", modalities=3))
    work = {name: costs.work(RunConfig(method=name, modalities=3)) / mvae for name in METHODS}
    assert work["mopoe"] == work["mmvae"] == 1
    assert work["mvae_plus"] == 2
    assert work["mmvae_official"] == METHODS["mmvae_official"].samples * 3 / 2
    iwae = costs.work(RunConfig(method="mopoe", modalities=3, objective="iwae"))
    assert iwae / mvae == METHODS["mopoe"].samples / 2
    assert costs.work(RunConfig(method="mopoe", modalities=32)) > 0, "no table of 2^32 subsets"


def test_runs_of_methods_that_are_not_known_here_say_nothing_of_others():
    foreign, known = RunConfig(method="of_a_plug_in"), RunConfig(method="mvae")
    assert costs.estimate([known], [measured(foreign, 9.0)]) is None
    assert costs.estimate([known], [measured(foreign, 9.0), measured(known, 40.0)]) == [40.0]


def test_samples_drawn_from_one_modality_cost_a_share():
    config = RunConfig(method="mmvae_official", modalities=3, objective_samples=4)
    assert costs.work(config) == pytest.approx(3 * costs.work(config.with_(allocation="systematic")))


def test_before_any_run_costs_are_those_of_the_projects_own_records():
    short = experiments.configs_of("fig02_quality_vs_beta", "cpu")[0]
    other = short.with_(epochs=2 * short.epochs)
    there = costs.estimate_elsewhere([short, other, RunConfig(dataset="toy"), short.with_(network="resnet")])
    records = RunStore(RESULTS / "records").records()
    alike = [r for r in records if costs.kind(r.config) == costs.kind(short)]
    own = [r.total_seconds for r in alike if there.machine.startswith(r.environment["cpu"])]
    assert len(own) > 5
    assert there.seconds[0] == pytest.approx(median(own), abs=0.1)
    assert 1.5 < there.seconds[1] / there.seconds[0] < 3, "scaled by what a run decodes"
    assert there.seconds[2:] == [None, None], "neither the data nor the network was measured"
    assert there.is_measured == [True, False, False, False]


def test_the_table_of_measured_runs_is_the_one_that_its_command_writes(monkeypatch, tmp_path):
    script = runpy.run_path(str(RESULTS.parent.parent / "scripts" / "measured_costs.py"))
    monkeypatch.setitem(script["main"].__globals__, "MEASURED", tmp_path / "measured.json")
    script["main"]()
    assert (tmp_path / "measured.json").read_text() == costs.MEASURED.read_text(), (
        "run scripts/measured_costs.py: records came later"
    )
