"""Metric keys: what is built is what metrics write, and is read back."""

from pathlib import Path

from polyvae import RunStore, keys
from polyvae.keys import Seen

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "records"
NUMBERS = {
    *(keys.JOINT_COHERENCE, keys.KAPPA, keys.CHANCE, keys.LEAVE_ONE_OUT, keys.LINEAR_PROBE),
    *(keys.LOG_LIKELIHOOD, keys.BLIND, keys.LOSS, keys.DISTORTION, keys.RATE, keys.FLOOR, keys.DELTA),
}


def test_what_an_extractor_sees_is_read_back():
    seen = Seen("digits", "m1")
    assert seen.key() == "frechet/digits/unconditional/m1"
    assert (seen.key("kid"), seen.key(kind="floor")) == ("kid/digits/unconditional/m1", "frechet/digits/floor/m1")
    others = ["frechet/digits/conditional/m0/m1", "frechet/digits/samples", "kid/digits/unconditional/m0"]
    assert keys.seen([*others, seen.key(), seen.key(kind="floor")]) == [seen]


def test_inputs_are_joined_in_the_order_of_the_data():
    names = ("m0", "m1", "m2")
    assert keys.coherence(keys.all_but("m1", names), "m1") == "coherence/conditional/m0+m2/m1"
    assert keys.imputation(("m0",), "m2", "rmse") == "imputation/m0/m2/rmse"
    assert keys.captions("perplexity", keys.joined(names[:2]), "m2") == "captions/perplexity/m0+m1/m2"


def test_what_was_filled_in_is_read_back():
    filling = keys.Filling("m0+m1", "m2")
    assert filling.key() == keys.imputation(("m0", "m1"), "m2", "rmse")
    others = [filling.key("coverage"), keys.imputation_by("ridge", "m2"), "bound/loss", "imputation"]
    assert keys.fillings([*others, filling.key(), keys.imputation(("m2",), "rmse", "rmse")]) == [
        filling,
        keys.Filling("m2", "rmse"),
    ]
    assert filling.is_from_all_others(("m0", "m1", "m2"))
    assert not filling.is_from_all_others(("m0", "m1", "m2", "m3"))


def test_notes_are_about_modalities():
    assert keys.in_words(keys.imputation(("m0", "m1"), "m2", "rmse")) == "m2 from m0 and m1"
    assert keys.in_words(keys.of(keys.DATA, "m0")) == "m0"
    assert keys.in_words("bound/loss") == "bound/loss"


def test_below_a_stem_lies_what_follows_it():
    metrics = {"coherence/self/m0": 0.5, "coherence/self/m1": 0.7, "coherence/selfless": 1.0, "coherence/joint": 0.2}
    assert keys.below(keys.SELF_COHERENCE, metrics) == {"m0": 0.5, "m1": 0.7}
    assert keys.of(keys.SELF_COHERENCE, "m0") in metrics
    assert keys.stem("frechet/digits/unconditional/m0") == "frechet/digits/unconditional"
    assert keys.beginnings("coherence/self/m0") == ["coherence/self/m0", "coherence/self", "coherence"]


def test_named_keys_are_those_of_recorded_runs():
    recorded = {key: value for record in RunStore(RESULTS).records() for key, value in record.metrics.items()}
    assert set(recorded) >= NUMBERS
    for stem in (keys.SELF_COHERENCE, keys.CEILING, keys.BY_INPUTS, keys.PROBE_BY_EXAMPLES, keys.DIVERSITY):
        assert keys.below(stem, recorded)
    assert set(keys.interval(keys.LEAVE_ONE_OUT)) <= set(recorded)
    assert {keys.coherence(["m0", "m1"], "m2"), keys.of(keys.DIVERSITY, "digits", "mean")} <= set(recorded)
    assert keys.captions("real_3grams", "unconditional", "caption") in recorded
    assert Seen("digits", "m0") in keys.seen(recorded)
