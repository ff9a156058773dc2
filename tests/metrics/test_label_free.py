"""Label-free coherence of models that copy, that guess, and that draw nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import rankdata
from torch import nn
from torch.nn.functional import one_hot

from polyvae import metrics
from polyvae.attributes import read_captions
from polyvae.datasets.birds.drawn import ATTRIBUTES
from polyvae.metrics import Critic, label_free
from polyvae.metrics.label_free import own_ranks, permutation_p, relative
from polyvae.models.contract import NotDefined
from support.captions import COUNTS, DATA, Copier, Oracle
from support.painters import CRITIC, NAMES, Painter, agreeing


class Careless(Painter):
    """Paints a random digit unless the target itself is given."""

    def posterior_codes(self, batch, given, targets, generator):
        codes = super().posterior_codes(batch, given, targets, generator)
        rng = np.random.default_rng(generator.rows[0])
        random = torch.from_numpy(rng.integers(0, 7, len(batch.present))).float()
        return {name: torch.stack([c[:, 0] if name in given else random, c[:, 1]], -1) for name, c in codes.items()}


def test_a_model_that_copies_scores_one():
    found = metrics.label_free(Painter(), agreeing(), CRITIC)
    assert found["label_free/leave_one_out"] == pytest.approx(1)
    assert found["label_free/leave_one_out_p"] == pytest.approx(1 / 1000)
    assert found["label_free/conditional/m0/m1"] == pytest.approx(1)
    assert found["label_free/against_real"] == pytest.approx(1)
    assert found["label_free/real/m0/m1"] == pytest.approx(1 - 0.5 * 85 / 600, abs=0.01), "one class in seven ties"


def test_independent_targets_score_zero():
    found = metrics.label_free(Careless(), agreeing(), CRITIC, batch_size=600)
    assert found["label_free/leave_one_out_low"] < 0 < found["label_free/leave_one_out_high"]
    assert found["label_free/leave_one_out_p"] > 0.01
    assert abs(found["label_free/leave_one_out"]) < 0.1


def test_a_model_that_cannot_reconstruct_is_measured_against_real_targets_only():
    class Blank(Painter):
        def decode(self, codes):
            return super().decode({name: torch.stack([0 * code[:, 0], code[:, 1]], -1) for name, code in codes.items()})

    found = metrics.label_free(Blank(), agreeing(), CRITIC)
    assert "label_free/leave_one_out" not in found
    assert found["label_free/against_real"] == pytest.approx(0, abs=1e-9), "all targets look alike: ties"
    assert found["label_free/leave_one_out_p"] > 0.5, "the test needs no upper anchor"


def test_labels_are_not_looked_at():
    data = agreeing()
    assert metrics.label_free(Painter(), replace(data, labels=None), CRITIC) == metrics.label_free(
        Painter(), data, CRITIC
    )


def test_a_critic_that_knows_nothing_scores_nothing():
    blind = Critic({n: nn.Sequential(nn.Flatten(), nn.Linear(2352, 4)) for n in NAMES}, "none")
    for network in blind.networks.values():
        network[1].weight.data.zero_()
    with pytest.raises(NotDefined, match="the critic sees nothing"):
        metrics.label_free(Painter(), agreeing(), blind)


def test_ranks_by_hand():
    anchor, target = torch.eye(3), torch.tensor([[1.0, 0, 0], [1.0, 0.5, 0], [0, 0, 1.0]])
    ranks = own_ranks([anchor], target)
    assert ranks.diagonal().tolist() == [1, 0.5, 1]
    assert relative(np.array([0.75, 0.75]), np.array([1.0, 1.0])) == 0.5


@pytest.mark.parametrize("seed", range(3))
def test_outputs_that_are_all_alike_leave_the_shuffles_tied(seed):
    """Then only the order of a sum changes, by which its last digit may."""
    table = torch.randn(50, 3, generator=torch.Generator().manual_seed(seed))
    ranks = own_ranks([table], table[:1].expand(50, 3))
    assert permutation_p([ranks], seed) == 1


def test_ranks_are_those_of_scipy_with_ties():
    anchors, target = torch.randint(-2, 3, (2, 40, 3)).float(), torch.randint(-2, 3, (40, 3)).float()
    expected = (rankdata((anchors.sum(0) @ target.T).numpy(), axis=0) - 1) / 39
    np.testing.assert_array_equal(own_ranks([*anchors], target), expected)


def test_a_critic_of_images_and_text_needs_no_labels():
    class Same(nn.Module):
        """Embeds what a row's attributes are: of an image by the oracle, of a caption by reading it."""

        def forward(self, values):
            if values.dim() == 4:
                return Oracle()(values)[0]
            spec = DATA.modalities[1]
            read = read_captions(spec.to_original(values), spec.vocabulary, ATTRIBUTES)
            return torch.cat([one_hot(torch.from_numpy(read[:, i]), n).float() for i, n in enumerate(COUNTS)], -1)

    critic = Critic({"image": Same(), "caption": Same()}, "none")
    found = label_free(Copier(), DATA, critic)
    assert found["label_free/against_real"] == pytest.approx(1)
    assert found["label_free/leave_one_out"] == pytest.approx(1)
    shuffled = label_free(Copier(torch.randperm(400, generator=torch.Generator().manual_seed(0))), DATA, critic)
    assert shuffled["label_free/leave_one_out"] == pytest.approx(0, abs=0.1)
