"""Advice: facts are certain or said to be unknown, rules name methods that are there, the ranking follows the facts."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import tyro

import polyvae as pv
from polyvae.advice.advise import advise
from polyvae.advice.facts import Facts, View, _reduced, measure
from polyvae.advice.rules import NOTES, NOTHING_SHARED, RULES, SETTINGS, Need
from polyvae.cli import runs
from polyvae.config import RunConfig
from polyvae.errors import InputError
from polyvae.methods import METHODS, file_of
from polyvae.runs.plan import make_plan

ROOT = Path(__file__).parent.parent
NEEDS = get_args(Need)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data_of(arrays):
    return pv.datasets.load("arrays", data=arrays)


def classes(rows, columns, noise=1.0, seed=0):
    """Views of 4 classes: copies of one where noise is 0, independent where it is 1."""
    rng = np.random.default_rng([seed, 1])
    shared, own = rng.integers(0, 4, rows), rng.integers(0, 4, (columns, rows))
    return {f"c{m}": np.where(rng.random(rows) < noise, own[m], shared) for m in range(columns)}


def tables(rows, columns, missing=0.0, seed=0):
    """Views of 6 features that share 2 numbers."""
    rng = np.random.default_rng([seed, 2])
    z = rng.standard_normal((rows, 2))
    views = {f"t{m}": z @ rng.standard_normal((2, 6)) + 0.3 * rng.standard_normal((rows, 6)) for m in range(columns)}
    masks = {f"{name}.mask": rng.random(rows) >= missing for name in views}
    masks["t0.mask"][:] = True
    return views | masks


def facts_of(*kinds, rows=2000, missing=0.0, shape=(200,)):
    """Facts as they were measured, with nothing known of what is shared."""
    views = tuple(View(f"m{m}", kind, shape, missing, 0.0) for m, kind in enumerate(kinds))
    return Facts(rows, rows, False, views, None, "not looked at")


def points(advice):
    return {choice.method: choice.points for choice in (*advice.choices, *advice.against)}


@pytest.mark.parametrize("row", [*RULES, *NOTHING_SHARED, *SETTINGS], ids=lambda row: row.reason)
def test_every_row_names_methods_and_sources_that_are_there(row):
    assert set(row.methods) <= set(METHODS)
    pages = re.findall(r"[\w/]+\.(?:md|py)", row.source)
    assert pages or re.match("measured|published|polyvae methods|README", row.source)
    assert all((ROOT / page).is_file() for page in pages)
    if section := re.search(r"\.md, ([A-Z][\w ]+)", row.source):
        assert re.search(rf"^##+ {section[1]}", (ROOT / pages[0]).read_text(), re.M)


def test_every_setting_is_a_value_that_a_config_takes():
    for setting in SETTINGS:
        fields = {name.removeprefix("--").replace("-", "_"): value for name, value in setting.flags.items()}
        types = {name: type(getattr(RunConfig(), name)) for name in fields}
        types |= {"validation_fraction": float, "patience": int, "method_options": str}
        RunConfig(**{name: types[name](value) for name, value in fields.items()})


def test_methods_that_were_compared_have_rules():
    named = {name for rule in RULES for name in rule.methods}
    assert {"mvae", "mvae_plus", "mmvae", "mopoe", "mvtcae", "mvtcae_over_messages"} <= named
    assert {"crmvae", "jmvae", "jnf", "jnf_dcca", "mmjsd", "mmvm"} <= named


@pytest.mark.parametrize("need", NEEDS)
def test_independent_modalities_are_trained_alone(need):
    facts = measure(data_of(classes(3000, 2)))
    assert facts.sharing == "nothing"
    found = advise(facts, need)
    assert [choice.method for choice in found.choices] == ["unimodal"]
    assert {"mopoe", "mmvae", "mvtcae"} <= {choice.method for choice in found.against}
    assert found.commands[0].startswith("for name in c0 c1; do polyvae run")


def test_chance_is_not_taken_for_something_shared():
    verdicts = [measure(data_of(classes(400, 2, seed=seed))).sharing for seed in range(25)]
    assert verdicts.count("something") <= 1


def test_one_modality_that_shares_nothing_is_named():
    arrays = classes(3000, 2, 0.3) | {"alone": classes(3000, 1, seed=5)["c0"]}
    facts = measure(data_of(arrays))
    assert [facts.sharing_of(name) for name in facts.names] == ["something", "something", "nothing"]
    assert any(note.startswith("alone shares nothing") for note in advise(facts, "imputation").notes)


def test_redundant_modalities_are_seen_and_half_redundant_ones_are_not():
    copies, noisy = (measure(data_of(classes(3000, 3, noise))) for noise in (0.0, 0.5))
    assert copies.sharing == noisy.sharing == "something"
    assert copies.is_redundant
    assert not noisy.is_redundant
    assert points(advise(copies, "coherence"))["mopoe"] == points(advise(noisy, "coherence"))["mopoe"] + 1


def test_what_is_known_is_within_its_interval():
    """Of a modality of 4 classes, given a copy of which a share is drawn anew."""
    share = 0.5 + 0.5 / 4  # of rows where both agree, each being drawn anew with probability 1 - sqrt(.5)
    noise = 1 - np.sqrt(0.5)
    law = np.array([share, *[(1 - share) / 3] * 3])
    truth = np.log(4) + (law * np.log(law)).sum()
    held = 0
    for seed in range(20):
        bounds = pv.estimate(classes(1000, 2, noise, seed), seed=seed)
        low, high = bounds.known["c0"]
        held += low.value <= truth <= high.value
        assert bounds.alone["c0"].lower.value <= np.log(4) + 1e-9
    assert held >= 18


def test_labels_do_not_decide_whether_something_is_shared():
    """Given a label that says nothing, modalities would be independent by assumption."""
    arrays = classes(2000, 2, 0.0)
    labels = np.random.default_rng(3).integers(0, 2, 2000)
    plain, labelled = (pv.estimate(a).known["c0"] for a in (arrays, arrays | {"label": labels}))
    assert labelled.upper.value == pytest.approx(plain.upper.value, abs=0.01)
    assert plain.upper.value > 1.3


def test_of_a_part_of_the_features_only_that_they_share_is_told():
    views = {name: values[:, None].astype(float) for name, values in classes(500, 2, 0.0).items()}
    facts = measure(data_of(views))
    assert facts.sharing == "something"
    assert set(facts.delta) == {"mvae", "mmvae", "mopoe"}
    part = measure(data_of(views | {"c0": np.repeat(views["c0"], 130, 1)}))
    assert part.reduced == ("one in 2 features of c0",)
    assert part.sharing == "something"
    assert not part.delta
    assert not part.is_redundant


def test_a_wide_table_is_made_smaller_whether_or_not_its_columns_have_names():
    wide = data_of({"a": np.random.default_rng(0).standard_normal((300, 150))} | classes(300, 1))
    names = tuple(f"gene {i}" for i in range(150))
    named = wide.with_modalities([replace(wide.modalities[0], feature_names=names), wide.modalities[1]])
    (plain, plain_reduced), (seen, reduced) = map(_reduced, (wide, named))
    assert seen.fingerprint == plain.fingerprint
    assert reduced == plain_reduced == ("one in 2 features of a",)


def test_pictures_and_texts_and_classes_are_told_apart():
    facts = measure(data_of(mixed(90)))
    assert [view.kind for view in facts.views] == ["image", "text", "classes", "table"]
    assert facts.bounds is None
    assert "72 rows are complete" in facts.unmeasured
    found = advise(facts, "coherence")
    assert any("sentences" in note for note in found.notes)
    assert any("anywhere in a picture" in note for note in found.notes)
    first = found.choices[0]
    assert first.flags[first.flags.index("--latent-dim") + 1] == "48"
    assert "--latent-dim 96" not in " ".join(first.settings), "a later setting replaced it"


def mixed(rows):
    rng = np.random.default_rng(0)
    return {
        "photo": rng.integers(0, 256, (rows, 3, 8, 8), dtype=np.uint8),
        "words": np.array([f"a bird is {'red' if row % 2 else 'blue'} here {row}" for row in range(rows)]),
        "kind": rng.integers(0, 3, rows),
        "genes": rng.standard_normal((rows, 4)),
    }


def test_of_two_modalities_none_can_be_left_out():
    for count, is_told in ((2, False), (3, True)):
        facts = measure(data_of(tables(250, count, missing=0.9)))
        assert ("--only" in facts.unmeasured) == is_told


def test_the_page_says_which_methods_have_no_rule():
    page = " ".join((ROOT / "docs" / "choosing.md").read_text().split())
    listed = re.search(r"\*\*Without a rule\*\*: (.*?)\. ", page)[1]
    named = {name for rule in RULES for name in rule.methods}
    ours = {name for name in METHODS if file_of(METHODS[name])}
    assert set(re.findall(r"`(\w+)`", listed)) == ours - named - {"unimodal"}


def test_gaps_change_what_is_said_of_mvae():
    whole, half = (advise(facts_of(*["table"] * 3, missing=missing), "imputation") for missing in (0.0, 0.4))
    assert points(whole)["mvae"] < 0 < points(half)["mvae"]
    assert [choice.method for choice in whole.choices[:2]] == ["mopoe_dense", "mopoe"]
    assert [choice.method for choice in half.choices[:2]] == ["mopoe_dense", "mopoe"]
    facts = measure(data_of(tables(500, 3, missing=0.4)))
    assert facts.lacking == pytest.approx(0.4 * 2 / 3, abs=0.04)
    assert facts.views[1].missing == pytest.approx(0.4, abs=0.06)
    assert facts.complete == pytest.approx(0.36 * facts.rows, rel=0.2)


@pytest.mark.parametrize("count", [12, 20])
def test_many_modalities(count):
    facts = measure(data_of(tables(100, count)))
    assert f"not {count}" in facts.unmeasured
    found = advise(facts, "speed")
    assert [choice.method for choice in found.choices][:2] == ["mmvae", "mopoe"]
    assert any("systematic" in note for note in found.notes)
    encoded = count * 2 ** (count - 1) / (2**count - 1)
    assert found.choices[1].cost == pytest.approx((encoded + count) / (1 + count))


def test_what_a_set_hides_counts_against_it():
    facts = measure(data_of(classes(3000, 3, 0.5)))
    assert facts.is_costly("mmvae")
    assert not facts.is_cheap("mmvae")
    assert not facts.is_costly("mvae")
    against = next(choice for choice in advise(facts, "likelihoods").against if choice.method == "mmvae")
    assert any(f"at least {facts.delta['mmvae'].lower.value:.2f} nats" in reason for reason in against.reasons)
    none = replace(facts, bounds=None)
    assert not none.is_costly("mmvae")
    assert none.sharing == "unknown"


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize("kinds", [("table",) * 2, ("table",) * 5, ("image",) * 3, ("image", "text"), ("classes",) * 4])
def test_there_is_advice_for_every_need_whatever_is_known(need, kinds):
    shape = (3, 28, 28) if "image" in kinds else (30,)
    found = advise(facts_of(*kinds, shape=shape), need)
    assert 1 <= len(found.choices) <= 5
    assert [c.points for c in found.choices] == sorted((c.points for c in found.choices), reverse=True)
    assert min(c.cost for c in found.choices) == 1
    assert all(c.reasons for c in (*found.choices, *found.against))
    for method in ("mvae", "unimodal"):
        assert sum(f"--method {method} " in f"{command} ".replace(";", " ") for command in found.commands) == 1


def test_notes_are_said_where_they_hold():
    facts = facts_of("table", "table")
    for note in NOTES:
        assert isinstance(note.holds(facts, "imputation"), bool)
    odd = replace(facts, views=(replace(facts.views[0], gaps=0.02), replace(facts.views[1], shape=(2,))))
    notes = " ".join(advise(odd, "imputation").notes)
    assert "100 times" in notes
    assert "up to 2.0%" in notes


@pytest.mark.parametrize("need", NEEDS)
@pytest.mark.parametrize("kind", ["table", pytest.param("image", marks=pytest.mark.slow)])
def test_the_commands_can_be_run(kind, need, tmp_path):
    """What is printed plans: flags and settings are those of `polyvae run`, whatever the method."""
    pictures = {f"m{m}": np.random.default_rng(m).random((80, 3, 28, 28)) for m in range(2)}
    arrays = tables(80, 2) if kind == "table" else pictures
    np.savez(tmp_path / "mine.npz", **arrays)
    found = advise(measure(data_of(arrays)), need, ["--dataset", "arrays", "--data", str(tmp_path / "mine.npz")])
    trained = [command.split()[2:] for command in found.commands if command.startswith("polyvae run")]
    assert len(trained) >= 2
    for words in trained:
        flags = tyro.cli(runs.Flags, args=words, config=(tyro.conf.OmitArgPrefixes,))
        assert make_plan(flags.config()).mixture.names == tuple(name for name in arrays if "." not in name)


def test_the_shell_loop_over_modalities_takes_any_name():
    facts = facts_of("table", "table")
    odd = replace(facts, views=(replace(facts.views[0], name="two words"), facts.views[1]))
    loop = next(command for command in advise(odd, "speed").commands if command.startswith("for name"))
    said = subprocess.check_output(["sh", "-c", loop.replace("polyvae", "printf '%s\\n'")], text=True)
    assert [line for line in said.splitlines() if line in odd.names] == list(odd.names)


def test_advice_and_run_agree_on_tables(tmp_path):
    """The first command names the data alone, and is a run of the method that comes first, at the settings of `run`."""
    file = str(tmp_path / "mine.npz")
    np.savez(file, **tables(80, 3))
    found = advise(measure(data_of(tables(80, 3))), "imputation", ["--data", file])
    assert found.first[0] == f"polyvae run --data {file}"
    assert make_plan(RunConfig(data=file, metrics="none")).method.name == found.choices[0].method == "mopoe_dense"
    assert not found.choices[0].settings
    many = advise(facts_of(*["table"] * 11), "imputation", ["--data", file])
    assert many.choices[0].method == "mopoe"
    assert many.first[0] == f"polyvae run --data {file} --method mopoe"


def test_too_little_is_refused():
    with pytest.raises(InputError, match="one modality, t0"):
        measure(data_of({"t0": tables(100, 1)["t0"]}))
    with pytest.raises(InputError, match="16 training rows; advice needs at least 50"):
        measure(data_of(tables(20, 2)))
