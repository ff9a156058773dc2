"""Text: tokens, vocabulary, likelihood up to the end token, and a round trip through data and files."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.distributions import Categorical as TorchCategorical

import polyvae as pv
from polyvae import InputError, Modality, likelihoods
from polyvae.cli import main
from polyvae.dataset import MultimodalDataset
from polyvae.datasets.own.new_rows import load_like
from polyvae.modality import check_suits, text_modality
from polyvae.pictures.pages import TEXT_SIZE
from polyvae.text import PADDING, SPECIALS, UNKNOWN, Vocabulary, detokenise, tokenise

WORDS = st.lists(st.from_regex(r"[a-zA-Z]{1,8}(-[a-z]{1,4})?", fullmatch=True), min_size=1, max_size=12)


def test_tokens_are_words_and_punctuation():
    assert tokenise("This bird's grey-brown, with (short) legs.") == [
        *("This", "bird's", "grey-brown", ",", "with", "(", "short", ")", "legs", ".")
    ]
    assert detokenise(["a", "bird", ",", "small", "."]) == "a bird, small."


@settings(max_examples=50, deadline=None)
@given(WORDS, st.sampled_from([" ", ", ", "; ", "  "]))
def test_detokenised_tokens_keep_their_words(words, separator):
    caption = separator.join(words) + "."
    assert tokenise(detokenise(tokenise(caption))) == tokenise(caption)
    assert [token for token in tokenise(caption) if token[0].isalpha()] == words


def test_vocabulary_rule_on_an_example_by_hand():
    captions = ["a red bird .", "a red wing .", "a red bird .", "a red Bird ."]
    assert Vocabulary.of(captions, length=6).words == (*SPECIALS, "a", "red", ".")  # bird: 2 times, Bird: once
    words = Vocabulary.of(captions, length=6, least=2)
    assert words.words == (*SPECIALS, "a", "red", "bird", ".")
    ids = words.encode(["a red bird .", "a green bird", "", "a a a a a a a"])
    assert ids.tolist() == [
        [3, 4, 5, 6, 2, PADDING],
        [3, UNKNOWN, 5, 2, PADDING, PADDING],
        [2, *[PADDING] * 5],
        [3, 3, 3, 3, 3, 2],
    ]
    assert words.decode(ids) == ["a red bird.", "a <exc> bird", "", "a a a a a"]
    assert torch.equal(words.inverse(words(ids)), ids.long())


def test_a_vocabulary_must_be_one():
    for words in (("a", "b", "c"), (*SPECIALS, "a", "a")):
        with pytest.raises(InputError, match="vocabulary"):
            Vocabulary(words)


def test_text_is_scored_to_its_end_and_categorical_scores_padding_too():
    torch.manual_seed(0)
    words = Vocabulary((*SPECIALS, *"abcd"), 6)
    assert words.tokens(words.encode(["a <eos> b"]))[0] == ["a", SPECIALS[UNKNOWN], "b"], (
        "what a user wrote ends no caption"
    )
    ids = torch.tensor([[3, 4, 2, 1, 1, 1], [3, 3, 3, 3, 3, 2], [2, 1, 1, 1, 1, 1]])
    logits = torch.randn(3, 6, 7, dtype=torch.float64)
    each = TorchCategorical(logits=logits).log_prob(ids)
    kept = torch.tensor([[1, 1, 1, 0, 0, 0], [1] * 6, [1, 0, 0, 0, 0, 0]])
    value = words(ids).double()
    torch.testing.assert_close(likelihoods.Text()(logits, 2).log_prob(value), (each * kept).sum(-1))
    torch.testing.assert_close(likelihoods.Categorical()(logits, 2).log_prob(value), each.sum(-1))


def test_probabilities_of_all_texts_sum_to_one():
    torch.manual_seed(0)
    words = Vocabulary((*SPECIALS, "a"), 4)
    texts = set()
    for ids in product(range(4), repeat=4):  # after the end there is only padding
        end = ids.index(2) if 2 in ids else 3
        texts.add((*ids[: end + 1], *[PADDING] * (3 - end)))
    law = likelihoods.Text()(torch.randn(1, 4, 4, dtype=torch.float64), 2)
    scores = law.log_prob(words(torch.tensor(sorted(texts))).double())
    assert float(scores.exp().sum()) == pytest.approx(1)


def test_text_takes_any_leading_axes_and_draws_words():
    torch.manual_seed(0)
    law = likelihoods.Text()(torch.tensor([0.0, 0, 0, 50]).expand(2, 5, 3, 4), 2)
    assert law.batch_shape == (2, 5)
    assert law.mean.shape == law.sample().shape == (2, 5, 3, 4)
    assert law.sample().argmax(-1).eq(3).all()


def test_text_goes_through_a_data_set_and_json():
    words = Vocabulary((*SPECIALS, "a", "b"), 5)
    spec = text_modality("caption", words)
    assert Modality.from_json(spec.to_json()) == spec
    captions = [["a", "b"], ["b b", "a a"], ["a b a", ""]]
    variants = torch.stack([words.encode(row) for row in captions])
    data = MultimodalDataset(
        "x", (spec,), {"caption": variants[:, 0]}, torch.ones(3, 1, dtype=torch.bool), variants={"caption": variants}
    )
    batch = data.batch([2, 0])
    assert batch.values["caption"].shape == (2, 5, 5)
    assert words.decode(spec.to_original(batch.values["caption"])) == ["a b a", "a"]
    assert words.decode(data.rows([1, 0]).at_epoch(1).values["caption"]) == ["a a", "b"]
    assert torch.equal(data.at_epoch(2).values["caption"], data.values["caption"])
    assert data.fingerprint != MultimodalDataset("x", (spec,), data.values, data.present).fingerprint
    with pytest.raises(InputError, match="int16"):
        MultimodalDataset("x", (spec,), {"caption": torch.zeros(3, 5)}, data.present)
    with pytest.raises(InputError, match="its vocabulary"):
        Modality("caption", (4, 5), likelihoods.Text(), transform=words)


def test_likelihoods_of_text_are_for_text():
    spec, table = text_modality("caption", Vocabulary((*SPECIALS, "a"), 5)), Modality("t", (2,), likelihoods.Normal())
    check_suits(likelihoods.Categorical(), spec, torch.zeros(1, 5))
    with pytest.raises(InputError, match="'caption' is text"):
        check_suits(likelihoods.Laplace(), spec, torch.zeros(1, 5))
    with pytest.raises(InputError, match="'t' is not text"):
        check_suits(likelihoods.Text(), table, torch.zeros(1, 2))


def test_own_captions_are_text_through_run_impute_and_back(tmp_path):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 2, 60)
    captions = np.array([f"a {'red' if k else 'blue'} bird , number {i % 3} and {i % 7} ." for i, k in enumerate(kind)])
    arrays = {"table": kind[:, None] + 0.1 * rng.standard_normal((60, 2)), "caption": captions}
    np.savez(tmp_path / "mine.npz", **arrays)
    config = pv.RunConfig(
        dataset="arrays", data=str(tmp_path / "mine.npz"), method="mvae", latent_dim=2, epochs=1, network="mlp",
        metrics="bound,captions", threads=1,
    )  # fmt: skip
    store = str(tmp_path / "runs")
    result = pv.run(config, store)
    assert "captions/perplexity/table/caption" in result.metrics
    words = result.load().modalities[1].vocabulary
    assert {"red", "blue", "bird", "number", "."} <= set(words.words)
    out = tmp_path / "out.npz"
    np.savez(tmp_path / "part.npz", table=arrays["table"][:4])
    main(["impute", result.run_id, "--data", str(tmp_path / "part.npz"), "--out", str(out), "--store", store])
    with np.load(out, allow_pickle=False) as made:
        assert made["caption"].shape == (4,)
        assert made["caption.draws"].shape == (4, 50)
        assert words.decode(torch.from_numpy(made["caption.ids"])) == made["caption"].tolist()
    again = load_like(out, result.load().modalities)
    assert again.present.tolist() == [[True, False]] * 4
    main(["generate", result.run_id, "--count", "3", "--out", str(out), "--store", store])
    with np.load(out, allow_pickle=False) as made:
        assert made["caption"].dtype.kind == "U"
        assert made["caption.ids"].shape == (3, 32)
    with Image.open(out.with_suffix(".png")) as page:
        one_row = page.size
    np.savez(tmp_path / "asked.npz", caption=captions[:3])
    asked = ["--given", "caption", "--targets", "caption", "--data", str(tmp_path / "asked.npz")]
    main(["generate", result.run_id, *asked, "--out", str(out), "--store", store])
    with Image.open(out.with_suffix(".png")) as page:
        assert page.width == one_row[0]
        assert page.height >= one_row[1] + TEXT_SIZE, "what was given stands above"
    with pytest.raises(InputError, match="one sentence per row, or token ids"):
        load_like({"caption": np.full((2, 32), 999)}, result.load().modalities)
    known = load_like({"caption": captions[:2]}, result.load().modalities)
    assert torch.equal(known.values["caption"], words.encode(captions[:2].tolist()))
