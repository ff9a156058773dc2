"""The experiments: their settings are the published ones, and their run ids stay what they are."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from polyvae import InputError
from polyvae.audits.laws import law_of
from polyvae.methods import METHODS
from polyvae.paper.experiments import EXPERIMENTS, configs_of
from polyvae.runs.plan import make_plans
from polyvae.theory import discrepancy

NORMAL = ("fig03_normal", "fig11_normal", "fig12_normal")
FOR_CLAIMS = ("fig02_more_seeds", "translated_more_seeds", "aligned_elsewhere", "aligned_half_size")
ONE_SIZE = (*NORMAL, *FOR_CLAIMS, "quick", "quick-long", "label-free", "quick_captions", "cub_captions", "dial")
PRESETS = [
    name
    for name in EXPERIMENTS
    if name not in (*ONE_SIZE, "methods", "translated_solved") and not name.endswith("_cub")
]
GOLDEN = {
    "fig02_quality_vs_beta": "99024df1709b",
    "fig03_quality_vs_modalities": "ec48dd3745b5",
    "fig04_coherence_vs_beta": "99024df1709b",
    "fig11_repeated_modalities": "75ab32141a32",
    "fig13_elbo_subsampling": "6c9c335ade47",
    "architecture": "21ca1f1116d8",
    "pairing": "988027599605",
    "fig12_official_mmvae": "a0e0aa4bcc28",
    "translated_official": "8295cee92725",
    "bounds": "673b2bf19b7c",
    "fig02_more_seeds": "c8d86dc36872",
    "translated_more_seeds": "a76c0b93e08c",
    "aligned_elsewhere": "c2501e8f74b5",
    "aligned_half_size": "be2d394fc370",
    "fig03_normal": "10e463789061",
    "fig11_normal": "bd15956a91ce",
    "fig12_normal": "bf244552b098",
}  # SHA-256 of the run ids of each list
DIAL = ["d2962e4140", "976b7c9aa9", "0d6648fac1", "0a07abf0c5", "15e0fe84d0"]
FIRST_TEST_DIGITS = "b813e98fe075750783a97741a997d45837405414d76c89cba71ac823a933560c"  # what the dial's data once were
FIGURE_2 = {run.run_id() for run in configs_of("fig02_quality_vs_beta", "cpu")}


@pytest.mark.parametrize("preset", ["cpu", "gpu_small", "gpu", "paper"])
@pytest.mark.parametrize("name", PRESETS)
def test_each_run_is_planned_once_and_all_runs_share_a_budget(name, preset):
    configs = configs_of(name, preset)
    assert len({config.run_id() for config in configs}) == len(configs)
    shared = ("batch_size", "learning_rate", "schedule", "latent_dim", "metrics", "likelihood_scale", "test_size")
    assert len({tuple(getattr(config, field) for field in shared) for config in configs}) == 1
    is_one_seed = preset == "gpu_small"  # then what is the same for all numbers of modalities is one run
    counts = Counter((c.method, c.only, c.dataset) for c in configs if not (is_one_seed and c.only))
    assert all(count > 1 for count in counts.values()), "every curve has more than one run"
    assert {c.only is None for c in configs if c.method == "unimodal"} <= {False}


@pytest.mark.parametrize("preset", ["cpu", "gpu_small", "gpu", "paper"])
def test_the_new_method_and_those_that_fail_differ_in_nothing_that_favours_it(preset):
    configs = configs_of("translated_solved", preset)
    assert len({config.run_id() for config in configs}) == len(configs)
    ours = [config for config in configs if config.method == "aligned_flows"]
    others = [config for config in configs if config.method != "aligned_flows" and config.likelihood == "normal"]
    free = {"method": "mvae", "epochs": 1, "seed": 0, "latent_dim": 1, "only": None, "method_options": None}
    assert len({config.with_(**free) for config in (*ours, *others)}) == 1
    assert configs[0] in ours
    assert sorted(config.seed for config in ours) == [0, 0, 0, 1, 2]
    assert len({config.epochs for config in others}) == len({config.epochs for config in ours}) == 1
    alone = {c.latent_dim // c.modalities for c in others if c.method == "unimodal"}
    assert {config.latent_dim for config in ours} == alone
    assert {c.only for c in configs if c.only} == {f"m{i}" for i in range(configs[0].modalities)}


@pytest.mark.parametrize("preset", ["cpu", "gpu_small", "gpu", "paper"])
def test_methods_side_by_side_share_all_but_beta_and_the_width_of_z(preset):
    configs = configs_of("methods", preset)
    assert len({config.run_id() for config in configs}) == len(configs)
    free = {"method": "mvae", "beta": 1.0, "seed": 0, "latent_dim": 1, "only": None, "method_options": None}
    assert len({config.with_(**free) for config in configs}) == 1
    left_out = set(METHODS) - {config.method for config in configs}
    variants = {"mvae_plus_random", "mmvae_plus_elbo", "mmvae_plus_iwae", "mmvae_plus_dreg", "masked_attention"}
    variants |= {"unimodal_dreg", "jnf_contrast", "mopoe_dense", "custom"}  # mopoe_dense is for tables
    assert left_out == variants | {name for name in METHODS if name.endswith("_official")}


@pytest.mark.slow
def test_the_dial_turns_delta_and_nothing_else():
    configs = configs_of("dial")
    assert len({config.with_(subsets=None, crop_range=None) for config in configs}) == 1
    plans = make_plans(configs)
    assert len({plan.run_id for plan in plans}) == len(configs)
    released = [plan.config.run_id(plan.identity | {"data": FIRST_TEST_DIGITS}) for plan in plans[:5]]
    assert [run_id.split("-")[-1] for run_id in released] == DIAL, "as released, when S was named by a file"
    assert not {plan.run_id for plan in plans} & set(released), "on other test digits they are other runs"
    laws = {plan.config.crop_range: law_of(plan.sampler) for plan in {p.config.crop_range: p for p in plans}.values()}
    deltas = [discrepancy(laws[plan.config.crop_range], plan.mixture) for plan in plans]
    share = np.array(deltas[:5])
    assert share == pytest.approx(np.array([0, 0.25, 0.5, 0.75, 1]) * share[-1])
    assert sorted(deltas[5::2]) == deltas[5::2]
    assert deltas[6::2] == pytest.approx([0, 0, 0])


def test_the_paper_preset_is_the_published_setting():
    configs = configs_of("fig02_quality_vs_beta", "paper")
    published = {3e-4, 3e-3, 0.3, 1, 3, 9}
    assert {config.beta for config in configs} == published | {0.03}
    assert {config.seed for config in configs} == {0, 1, 2}
    assert {(c.dataset, c.epochs) for c in configs} == {("polymnist", 500), ("translated_polymnist", 1000)}
    one = {(c.network, c.latent_dim, c.batch_size, c.learning_rate, c.schedule, c.modalities) for c in configs}
    assert one == {("resnet", 512, 256, 5e-4, "constant", 5)}
    assert {c.only for c in configs if c.method == "unimodal"} == {"m0", "m1", "m2", "m3", "m4"}


def test_presets_for_a_gpu_have_the_sizes_that_were_measured_there():
    small, large = (configs_of("fig02_quality_vs_beta", preset) for preset in ("gpu_small", "gpu"))
    assert len(small) == 50
    sizes = {(c.network, c.modalities, c.latent_dim, c.batch_size, c.epochs * (60_000 // c.batch_size)) for c in small}
    assert sizes == {("conv_half", 3, 96, 64, 29_984)}
    assert {(c.network, c.modalities, c.latent_dim, c.batch_size) for c in large} == {("conv", 5, 512, 256)}
    assert len({run.run_id() for run in small + large} | FIGURE_2) == 50 + 150 + 100, "other runs than those of cpu"


def test_figures_share_their_runs():
    for name, shared in (
        ("fig04_coherence_vs_beta", 100),
        ("fig13_elbo_subsampling", 20),
        ("fig03_quality_vs_modalities", 12),
        ("architecture", 8),
        ("pairing", 6),
        ("bounds", 4),
        ("fig02_more_seeds", 0),
    ):
        assert len(FIGURE_2 & {run.run_id() for run in configs_of(name)}) == shared, name


def test_more_seeds_are_the_same_runs_but_for_the_seed():
    once = {config.with_(seed=0) for config in configs_of("translated_solved", "cpu")}
    more = configs_of("translated_more_seeds")
    assert {config.with_(seed=0) for config in more} <= once
    assert Counter(config.seed for config in more) == {3: 4, 4: 4}


def test_half_size_differs_from_elsewhere_in_the_steps_of_contrast():
    short = {"epochs": 32, "method_options": configs_of("aligned_elsewhere")[0].method_options}
    assert {config.with_(**short) for config in configs_of("aligned_half_size")} <= set(configs_of("aligned_elsewhere"))


def test_elsewhere_differs_in_the_data_alone():
    solved, elsewhere = configs_of("translated_solved", "cpu"), configs_of("aligned_elsewhere")
    place = {"dataset": "translated_polymnist", "scale": 0.75, "metrics": ""}
    moved = {config.with_(**place) for config in elsewhere if config.method != "mvtcae"}
    assert moved <= {config.with_(metrics="") for config in solved}


@pytest.mark.parametrize("name", ["fig02_quality_vs_beta", "fig03_quality_vs_modalities", "fig11_repeated_modalities"])
def test_the_first_half_of_a_cpu_list_is_a_complete_seed(name):
    configs = configs_of(name, "cpu")
    half = configs[: len(configs) // 2]
    assert {config.seed for config in half} == {0}
    assert {c.with_(seed=1) for c in half} == set(configs[len(half) :])


def test_pairing_compares_equal_numbers_of_steps():
    steps = {config.epochs * ((config.train_size or 0) // config.batch_size) for config in configs_of("pairing", "cpu")}
    assert max(steps) - min(steps) < 30


def test_a_normal_likelihood_is_shown_on_the_runs_of_figure_11():
    changed = {"likelihood": "auto", "likelihood_scale": "auto", "learning_rate": 3e-3, "epochs": 3, "metrics": ""}
    once, now = configs_of("fig11_repeated_modalities"), configs_of("fig11_normal")
    plain = {config.with_(metrics="") for config in once if config.method != "unimodal"}
    assert plain == {config.with_(**changed) for config in now if config.seed < 2}


def test_run_ids_of_the_cpu_presets_never_change():
    """Committed results are found by them."""
    ids = {name: "".join(c.run_id() for c in configs_of(name)) for name in [*PRESETS, *NORMAL, *FOR_CLAIMS]}
    assert {name: hashlib.sha256(text.encode()).hexdigest()[:12] for name, text in ids.items()} == GOLDEN


def test_an_unknown_preset_is_named():
    with pytest.raises(InputError, match="choose one of cpu, gpu_small, gpu, paper"):
        configs_of("pairing", "large")
    with pytest.raises(InputError, match="quick has no presets"):
        configs_of("quick", "cpu")


def test_a_file_may_offer_presets(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from polyvae import RunConfig\ndef configs(preset='small'): return [RunConfig(dataset=preset)]\n")
    assert configs_of(str(path), "big")[0].dataset == "big"
    assert configs_of(str(path))[0].dataset == "small"
