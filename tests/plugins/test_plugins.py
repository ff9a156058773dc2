"""A user's own file adds methods, models, data sets, networks, likelihoods, metrics and extractors to the commands."""

import json
import shutil
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import metadata
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

import polyvae as pv
from polyvae import plugins, registry
from polyvae.cli import main
from polyvae.registry import Origin, Registry, entries_from
from polyvae.runs.plan import make_plan, make_plans

HERE = Path(__file__).parent
RINGS = ("--dataset", "rings", "--method", "pairs", "--network", "linear", "--epochs", "2", "--latent-dim", "2")
SYMBOLS = ("--dataset", "symbols", "--modalities", "3", "--train-size", "300", "--test-size", "60", "--epochs", "1")


@contextmanager
def nothing_kept():
    """As in a process of its own: what is registered inside is gone afterwards."""
    before = [(table, dict(table), dict(table.origins)) for table in registry.REGISTRIES]
    loaded = dict(plugins._loaded)
    try:
        yield
    finally:
        for table, entries, origins in before:
            for place, content in ((table, entries), (table.origins, origins), (plugins._loaded, loaded)):
                place.clear()
                place.update(content)


def polyvae(*words, fails=False):
    """What a command prints on both streams; it must succeed, or fail with one readable message."""
    shown, status = StringIO(), 0
    with nothing_kept(), redirect_stdout(shown), redirect_stderr(shown):
        try:
            main([str(word) for word in words])
        except SystemExit as exit_:
            status = exit_.code or 0
    assert status == (2 if fails else 0), shown.getvalue()
    assert "Traceback" not in shown.getvalue()
    return shown.getvalue()


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    return Path(shutil.copy(HERE / "one_of_each.py", tmp_path_factory.mktemp("mine")))


@pytest.fixture(scope="module")
def rings(plugin, tmp_path_factory):
    """The store of a run that uses everything of the plug-in."""
    store = tmp_path_factory.mktemp("store")
    more = (
        "--data-options",
        "radius=2.5",
        "--metrics",
        "bound,coherence,centre,broken,frechet_quadrants",
        "--store",
        store,
    )
    polyvae("run", "--plugin", plugin, *RINGS, *more)
    return store


def test_one_of_each_kind_is_trained_and_scored(rings, plugin):
    (record,) = pv.RunStore(rings).records()
    assert {"centre/place", "frechet/quadrants/unconditional/picture", "bound/loss"} <= set(record.metrics)
    assert "coherence/leave_one_out" in record.metrics or "coherence" in record.notes, "a judge of its labels"
    assert "ZeroDivisionError" in record.notes["broken"], "a fault of a plug-in's metric costs no run"
    assert record.resolved.likelihoods["place"]["kind"] == "heavy_tails"
    assert set(record.resolved.networks.values()) == {"linear"}
    assert list(record.resolved.plugins.values()) == ["one_of_each.py"]
    model = json.loads((rings / record.run_id / "model.json").read_text())
    assert model["modalities"][1]["likelihood"] == {"kind": "heavy_tails", "freedom": 3.0}


def test_finished_runs_are_used_with_the_plugin(rings, plugin, tmp_path):
    (record,) = pv.RunStore(rings).records()
    shown = polyvae("evaluate", record.run_id, "--plugin", plugin, "--metrics", "kid", "--store", rings)
    assert "kid/" in shown
    out = tmp_path / "samples.npz"
    polyvae("generate", record.run_id, "--plugin", plugin, "--count", "5", "--out", out, "--store", rings)
    assert np.load(out)["place"].shape == (5, 2)
    assert "pairs" in polyvae("records", "--store", rings), "records are read without the plug-in"
    polyvae("report", "--store", rings, "--out", tmp_path / "report")
    assert "rings" in (tmp_path / "report" / "index.html").read_text()


def test_without_the_plugin_one_line_says_what_is_missing(rings):
    (record,) = pv.RunStore(rings).records()
    shown = polyvae("generate", record.run_id, "--count", "5", "--store", rings, fails=True)
    assert "heavy_tails" in shown
    assert "--plugin" in shown


@pytest.mark.slow
def test_a_sweep_hands_the_plugin_to_its_workers(plugin, tmp_path):
    experiment = tmp_path / "two.py"
    experiment.write_text(
        "from polyvae import RunConfig\n"
        "def configs():\n"
        "    base = RunConfig(dataset='rings', method='pairs', network='linear', epochs=1, latent_dim=2)\n"
        "    return [base.with_(seed=seed) for seed in (0, 1)]\n"
    )
    polyvae("sweep", experiment, "--plugin", plugin, "--store", tmp_path / "runs", "--workers", "1")
    assert [record.is_done for record in pv.RunStore(tmp_path / "runs").records()] == [True, True]


def test_tables_and_help_show_what_is_added(plugin):
    assert "pairs" in polyvae("methods", "--plugin", plugin)
    metrics = polyvae("metrics", f"--plugin={plugin}")
    assert "centre" in metrics
    assert "frechet_quadrants" in metrics
    assert "rings" in polyvae("data", "list", "--plugin", plugin)
    for words in (("--help",), ("run", "--help")):
        shown = " ".join(polyvae("--plugin", plugin, *words).replace("│", " ").split())
        assert "one_of_each.py adds" in shown
        assert "likelihood heavy_tails" in shown


def test_the_content_of_the_file_enters_the_run_id(plugin, rings, tmp_path):
    (record,) = pv.RunStore(rings).records()
    changed = tmp_path / plugin.name
    changed.write_text(plugin.read_text() + "\n# another version\n")
    shown = polyvae("evaluate", record.run_id, "--plugin", changed, "--metrics", "kid", "--store", rings, fails=True)
    assert "plug-in" in shown


def test_mmvae_plus_is_a_plugin_of_at_most_120_lines(tmp_path):
    plugin, store = HERE / "mmvae_plus.py", tmp_path / "runs"
    assert len(plugin.read_text().splitlines()) <= 120
    more = ("--method", "mmvae_plus_private", "--method-options", "private_dim=3", "--latent-dim", "4")
    polyvae("run", "--plugin", plugin, *SYMBOLS, *more, "--store", store)
    (record,) = pv.RunStore(store).records()
    assert record.metrics["objective/loss"] > 0
    assert "coherence/leave_one_out" in record.metrics or "coherence" in record.notes
    assert "log_likelihood" in record.notes, "it has no joint posterior"
    blueprint = json.loads((store / record.run_id / "model.json").read_text())
    assert (blueprint["kind"], blueprint["options"]) == ("mmvae_plus_private", {"private_dim": 3})
    polyvae("report", "--store", store, "--out", tmp_path / "report")
    assert "mmvae_plus_private" in (tmp_path / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("import polyvae as pv\nraise ValueError('no luck')", "ValueError: no luck"),
        ("import polyvae as pv\npv.methods.register(pv.methods.METHODS['mvae'])", "there is a method 'mvae' already"),
        ("def broken(:", "SyntaxError"),
    ],
    ids=["raises", "taken", "syntax"],
)
def test_a_file_that_cannot_be_loaded_is_named(content, message, tmp_path):
    (tmp_path / "mine.py").write_text(content)
    shown = polyvae("methods", "--plugin", tmp_path / "mine.py", fails=True)
    assert "mine.py" in shown
    assert message in shown


def test_a_missing_file_and_a_missing_value_are_named(tmp_path):
    assert "no such file" in polyvae("methods", "--plugin", tmp_path / "nowhere.py", fails=True)
    assert "--plugin needs a Python file" in polyvae("methods", "--plugin", fails=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dim=3", "no option 'dim' of method 'mmvae_plus_private'; choose one of private_dim"),
        ("private_dim=x", "must be int"),
    ],
)
def test_bad_method_options_are_refused(text, message):
    more = ("--plugin", HERE / "mmvae_plus.py", "--method", "mmvae_plus_private", "--method-options", text)
    assert message in polyvae("run", *SYMBOLS, *more, fails=True)


def test_an_entry_belongs_to_the_file_that_registered_it(monkeypatch):
    monkeypatch.setattr(registry, "REGISTRIES", [])
    table = Registry("thing", {"ours": 1})
    for version in ("a", "b"):  # a file that is loaded again after a change replaces its own entry
        with entries_from(Origin("mine.py", version)):
            table.register("yours", version)
    assert table.origins_of(["ours", "yours"]) == {"b": "mine.py"}
    with pytest.raises(pv.InputError, match=r"'yours' already by mine\.py"), entries_from(Origin("other.py", "c")):
        table.register("yours", 2)
    with pytest.raises(pv.InputError, match=r"'yours' already by mine\.py"):
        table.register("yours", 2)


MMVAE_PLUS = ("--plugin", HERE / "mmvae_plus.py", "--method", "mmvae_plus_private", "--latent-dim", "4")


def test_a_model_of_its_own_takes_likelihoods_with_a_learned_scale(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "mine.npz", a=rng.standard_normal((60, 3)), b=rng.standard_normal((60, 2)))
    data = ("--dataset", "arrays", "--data", tmp_path / "mine.npz", "--metrics", "imputation,objective")
    polyvae("run", *MMVAE_PLUS, *data, "--epochs", "1", "--store", tmp_path / "runs")
    (record,) = pv.RunStore(tmp_path / "runs").records()
    assert record.resolved.likelihoods["a"] == {"kind": "normal", "scale": None}
    assert record.metrics["imputation/b/a/rmse"] > 0
    assert record.resolved.prior is None, "the model brings its own"


@pytest.mark.parametrize("words", [("--prior", "gmm"), ("--posterior", "laplace"), ("--allocation", "exact")])
def test_a_model_of_its_own_leaves_no_choice_of_prior_or_posterior(words):
    assert f"{words[0]}: method mmvae_plus_private" in polyvae("run", *SYMBOLS, *MMVAE_PLUS, *words, fails=True)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("name='a', model='nowhere'", "unknown kind of model 'nowhere'"),
        ("name='a', model='unfinished'", "needs its own objective"),
        ("name='a', options=NoDefault", "needs a default"),
        (
            "name='a', model='unfinished', stages=(pv.methods.Stage(objective=lambda model, batch, S: 1),)",
            "called as objective(model, batch, S, beta=..., weights=..., generator=...), which",
        ),
        (
            "name='a', model='unfinished', stages=(pv.methods.Stage(objective=lambda *a, **k: 0),)",
            "does not define prior_codes",
        ),
        ("name='a/b c'", "method 'a/b c': rename it"),
        ("name='a', recipe=lambda names: 1", "called as recipe(names, options), which it does not take (too many"),
        ("name='a', recipe=lambda names, options: [1]", "a recipe returned list for m0, m1, m2; it must return Terms("),
        ("name='a', recipe=lambda names, options: of('m9')", "a recipe names 'm9' for a row that has m0, m1, m2"),
        ("name='a', recipe=lambda names, options: of('m0', targets=('m9',))", "a recipe names 'm9' for a row that has"),
        (
            "name='a', stages=(pv.methods.Stage(objective=lambda m, b, s, *, beta: 1),)",
            "generator=..., allocation=...), which",
        ),
    ],
)
def test_a_method_that_cannot_work_is_refused_before_training(method, message, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import polyvae as pv\nfrom dataclasses import dataclass, replace\n"
        "@dataclass(frozen=True)\nclass NoDefault:\n    size: int\n"
        "class Unfinished(pv.models.TrainableModel):\n    pass\n"
        "pv.models.register('unfinished', Unfinished)\n"
        "from polyvae.objectives import Draw, Q, Terms\n"
        "def of(name, **how):\n    return Terms((Draw(Q((name,)), **how),), ())\n"
        f"pv.methods.register(replace(pv.methods.METHODS['mmvae'], {method}))\n"
    )
    words = ("run", "--plugin", tmp_path / "mine.py", *SYMBOLS, "--method", "a", "--store", tmp_path / "runs")
    assert message in polyvae(*words, fails=True)


def test_data_of_a_plugin_are_known_by_their_content(plugin, tmp_path):
    """A file that a loader reads may change under its name."""
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\nimport torch\nimport polyvae as pv\n"
        "def load(options, *, split, size, seed):\n"
        "    values = {'m': torch.full((20, 2), float(Path(__file__).with_name('level.txt').read_text()))}\n"
        "    spec = pv.Modality('m', (2,), pv.likelihoods.Normal(1.0))\n"
        "    return pv.MultimodalDataset('levels', (spec,), values, torch.ones(20, 1, dtype=torch.bool))\n"
        "pv.datasets.register('levels', pv.datasets.Entry(load, 'one number'))\n"
    )
    words = ("--plugin", tmp_path / "mine.py", "--dataset", "levels", "--epochs", "1", "--metrics", "none")
    for level in ("1", "7"):
        (tmp_path / "level.txt").write_text(level)
        polyvae("run", *words, "--method", "unimodal", "--latent-dim", "2", "--store", tmp_path / "runs")
    assert len(pv.RunStore(tmp_path / "runs").records()) == 2


def test_options_in_any_spelling_are_one_run():
    with nothing_kept():
        plugins.load(HERE / "mmvae_plus.py")
        config = pv.RunConfig(dataset="symbols", modalities=3, train_size=90, test_size=30, method="mmvae_plus_private")
        texts = (None, "private_dim=4", " private_dim = 4 ")  # 4 is the default
        assert len({make_plan(config.with_(method_options=text)).run_id for text in texts}) == 1
        assert make_plan(config.with_(method_options="private_dim=5")).config.method_options == "private_dim=5"


def test_plans_made_together_agree_on_options():
    with nothing_kept():
        plugins.load(HERE / "mmvae_plus.py")
        config = pv.RunConfig(dataset="symbols", modalities=3, train_size=90, test_size=30, method="mmvae_plus_private")
        configs = [config.with_(method_options=text, seed=seed) for text in (None, "private_dim=4") for seed in (0, 1)]
        assert [plan.run_id for plan in make_plans(configs)] == [make_plan(config).run_id for config in configs]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("torch.nn.Linear(m.shape[0], z), torch.nn.Linear(z, m.shape[0])", "the encoder of 'm0' gives"),
        ("Two(m.shape[0], z), torch.nn.Linear(z, m.shape[0] + 1)", "the decoder of 'm0' gives (2, 5) for 2 rows"),
        ("Two(m.shape[0] + 1, z), torch.nn.Linear(z, m.shape[0])", "network 'ours' of 'm0' fail on two rows"),
    ],
    ids=["one output", "width", "input"],
)
def test_networks_of_a_plugin_are_tried_on_two_rows(pair, message, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nimport polyvae as pv\n"
        "class Two(torch.nn.Module):\n"
        "    def __init__(self, width, z):\n        super().__init__()\n        self.f = torch.nn.Linear(width, 2*z)\n"
        "    def forward(self, x):\n        return self.f(x).chunk(2, -1)\n"
        f"pv.networks.register('ours', lambda m, z: ({pair}))\n"
    )
    words = ("--dataset", "toy", "--modalities", "2", "--network", "ours", "--latent-dim", "3", "--epochs", "1")
    assert message in polyvae("run", "--plugin", tmp_path / "mine.py", *words, fails=True)


def test_two_files_of_one_name_both_enter_the_run_id(tmp_path):
    table = Registry("thing", {})
    for folder in ("one", "two"):
        with entries_from(Origin(str(tmp_path / folder / "mine.py"), folder)):
            table.register(folder, 1)
    assert table.origins_of(["one", "two"]) == {"one": "mine.py", "two": "mine.py"}


def test_an_installed_plugin_is_known_by_its_package(tmp_path, monkeypatch):
    """Also what `__init__` registers; a package that cannot be imported is one error."""
    package = tmp_path / "our_plugin"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import polyvae as pv\npv.networks.register('ours', pv.networks.NETWORKS['mlp'])\n"
    )
    (package / "more.py").write_text("")
    entry = metadata.EntryPoint("ours", "our_plugin.more", plugins.GROUP)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins.metadata, "entry_points", lambda group: [entry])
    with nothing_kept():
        plugins.load_installed()
        assert list(pv.networks.NETWORKS.origins_of(["ours"]).values()) == ["our_plugin.more"]
    monkeypatch.setattr(
        plugins.metadata, "entry_points", lambda group: [metadata.EntryPoint("x", "nowhere.at_all", group)]
    )
    assert "installed plug-in 'x'" in polyvae("methods", fails=True)


def test_pseudo_inputs_need_as_many_rows():
    config = pv.RunConfig(dataset="toy", modalities=2, train_size=30, test_size=20, method="mopoe", prior="vamp")
    with pytest.raises(pv.InputError, match="--prior-components 30"):
        make_plan(config)
