"""Linear probe, latent use, imputation, label-free coherence, diversity, pretrained extractors."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from test_metrics import JUDGE, NAMES, ROWS, Painter, paint, painted, vae
from test_metrics_likelihood import SD, covariance, drawn, linear_model
from torch import nn

from polyvae import metrics, subsets
from polyvae.errors import InputError
from polyvae.judges import pretrained
from polyvae.metrics import Critic, Evaluation
from polyvae.metrics.coherence import warnings
from polyvae.metrics.label_free import own_ranks, permutation_p, relative
from polyvae.metrics.latent import mismatch
from polyvae.metrics.linear_probe import embeddings
from polyvae.metrics.moments import Moments, moments
from polyvae.metrics.pairs import few_pairs, wanted_members
from polyvae.metrics.protocol import Trial
from polyvae.metrics.readings import read_model
from polyvae.metrics.scoring import METRICS, metric_names, unmet
from polyvae.models.contract import NotDefined
from polyvae.objectives import elbo
from polyvae.priors import Centred

# ---------------------------------------------------------------- linear probe


def test_the_probe_is_scikit_learn_on_posterior_means():
    model, data = vae(subsets.mopoe(NAMES)), painted()
    found = metrics.linear_probe(model, data, data, seed=3)
    order = np.random.default_rng(3).permutation(ROWS)
    for given in (("m0",), ("m0", "m2"), NAMES):
        means = model.embed(data.batch(range(ROWS)), given).numpy()
        classifier = LogisticRegression(max_iter=1000, random_state=0).fit(means[order], data.labels[order])
        assert found[f"linear_probe/{'+'.join(given)}"] == pytest.approx(classifier.score(means, data.labels))
    assert found["linear_probe/joint"] == found["linear_probe/m0+m1+m2"]
    assert "linear_probe/joint_one_member" not in found


def test_a_mixture_can_be_probed_by_one_drawn_member():
    model, data = vae(subsets.mmvae(NAMES)), painted()
    assert "linear_probe/joint_one_member" in metrics.linear_probe(model, data, data)
    one = embeddings(Trial(model, data, list(range(ROWS)), 1, 7), [NAMES], of_one_member=True)[NAMES]
    experts = model.encode(data.batch(range(ROWS))).mean.detach().numpy()
    nearest = np.abs(experts - one).max(-1).min(0)
    assert nearest.max() < 1e-5, "each row is the mean of one of its experts"
    which = np.abs(experts - one).max(-1).argmin(0)
    assert set(which.tolist()) == {0, 1, 2}


def test_the_probe_scores_rows_that_have_what_it_reads():
    present = torch.ones(ROWS, 3, dtype=torch.bool)
    present[5:, 2] = False
    model, data = vae(subsets.mopoe(NAMES)), painted(present)
    read = embeddings(Trial(model, data, list(range(ROWS)), batch_size=9), [("m2",), NAMES])
    assert np.isnan(read["m2",]).all(-1).tolist() == [False] * 5 + [True] * 35
    assert 0 <= metrics.linear_probe(model, data, data)["linear_probe/m2"] <= 1


def test_the_probe_needs_labels_of_two_classes():
    model, data = vae(subsets.mopoe(NAMES)), painted()
    with pytest.raises(InputError, match="linear_probe needs labels"):
        metrics.linear_probe(model, replace(data, labels=None), data)
    with pytest.raises(InputError, match="two classes"):
        metrics.linear_probe(model, data, replace(data, labels=torch.zeros(ROWS, dtype=torch.long)))


# ---------------------------------------------------------------- latent space


def test_latent_use_of_the_exact_model_is_known():
    model = linear_model(subsets.mvae)
    data = drawn(model, 4000)
    found = metrics.latent(model, data)
    assert found["latent/active_units/a+b+c"] == 2
    assert found["latent/collapsed/a"] == 0
    assert found["latent/mismatch/a+b+c"] == pytest.approx(0, abs=0.02), "true posteriors aggregate to the prior"
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance(model)))
    assert -found["latent/elbo/a+b+c"] == pytest.approx(entropy, abs=0.3), "a tight bound averages to the entropy"
    assert found["latent/rate/a"] < found["latent/rate/a+b"] < found["latent/rate/a+b+c"]


def test_an_encoder_that_ignores_its_input_has_collapsed():
    model = linear_model(subsets.mmvae)
    for encoder in model.encoders.values():
        encoder.forward = lambda x: (torch.zeros(len(x), 2).double(), torch.zeros(len(x), 2).double())
    found = metrics.latent(model, drawn(model, 50))
    assert [found[f"latent/{key}"] for key in ("active_units/a", "collapsed/a", "rate/a")] == [0, 2, 0]


def test_mismatch_is_the_divergence_of_gaussians():
    mean, root = np.array([1.0, -2.0]), np.array([[1.0, 0], [0.5, 2]])
    law = torch.distributions.MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(root @ root.T))
    prior = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    expected = float(torch.distributions.kl_divergence(law, prior))
    assert mismatch(Moments(10**6, mean, root @ root.T)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(("rows", "dimension"), [(1000, 64), (200, 64), (1000, 300)])
def test_draws_of_the_prior_match_it_however_few(rows, dimension):
    rng = np.random.default_rng(0)
    found = [mismatch(moments(rng.normal(size=(rows, dimension)))) for _ in range(20)]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(20) + 1e-3


# ---------------------------------------------------------------- imputation


def test_imputation_of_the_exact_model_is_calibrated():
    every = subsets.custom(
        [subsets.Term(g, 1 / 3, prior_expert=True) for g in (("a", "b"), ("a", "c"), ("b", "c"))], ("a", "b", "c")
    )
    model = linear_model(lambda names: every)
    data = drawn(model, 600)
    found = metrics.imputation(model, data, data, draws=100)
    full = covariance(model)
    block, rest = full[6:, 6:], full[6:, :6]
    conditional = block - rest @ torch.linalg.solve(full[:6, :6], rest.T)
    assert found["imputation/a+b/c/rmse"] == pytest.approx(math.sqrt(conditional.diagonal().mean()), rel=0.05)
    assert found["imputation/a+b/c/coverage"] == pytest.approx(0.8, abs=0.03)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * conditional)) / 3
    assert found["imputation/a+b/c/nll"] == pytest.approx(entropy, abs=0.05)
    assert found["imputation/mean/c/rmse"] == pytest.approx(math.sqrt(block.diagonal().mean()), rel=0.05)
    assert SD < found["imputation/a+b/c/rmse"] < found["imputation/mean/c/rmse"]


def test_imputation_needs_a_table():
    with pytest.raises(NotDefined, match="no table"):
        metrics.imputation(vae(subsets.mopoe(NAMES)), painted(), painted())


# ---------------------------------------------------------------- label-free coherence


class SeesPaint(nn.Module):
    """Embeds the painted digit exactly."""

    def forward(self, images):
        digit = (images[:, 0, 0, 0] * 255 / 20).round().long().clamp(0, 9)
        return nn.functional.one_hot(digit, 10).float()


CRITIC = Critic(dict.fromkeys(NAMES, SeesPaint()), "none")


class Careless(Painter):
    """Paints a random digit unless the target itself is given."""

    def posterior_codes(self, batch, given, targets, generator):
        codes = super().posterior_codes(batch, given, targets, generator)
        rng = np.random.default_rng(generator.rows[0])
        random = torch.from_numpy(rng.integers(0, 7, len(batch.present))).float()
        return {name: torch.stack([c[:, 0] if name in given else random, c[:, 1]], -1) for name, c in codes.items()}


def agreeing(rows: int = 600):
    """All three modalities show the label."""
    label = torch.arange(rows) % 7
    rng = torch.Generator().manual_seed(0)
    shades = torch.randn(3, rows, generator=rng)
    values = {n: (paint(label, s) * 255).round().to(torch.uint8) for n, s in zip(NAMES, shades, strict=True)}
    return replace(painted(), values=values, present=torch.ones(rows, 3, dtype=torch.bool), labels=label)


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
    assert permutation_p([np.full((20, 20), 0.5)], 0) == 1


# ---------------------------------------------------------------- the table


def test_names_stand_for_sets_of_metrics():
    assert metric_names("none") == ()
    assert "frechet_effnet" not in metric_names("all")
    assert "frechet_effnet" in metric_names("all", ["effnet"])
    assert set(metric_names("default")) == {name for name, metric in METRICS.items() if metric.is_default}
    assert metric_names("kid, bound") == ("kid", "bound")
    with pytest.raises(InputError, match="'fid'"):
        metric_names("bound,fid")


def test_what_a_metric_lacks_is_said():
    data = painted()
    assert unmet("coherence", data) is None
    assert "no labels" in unmet("coherence", replace(data, labels=None))
    assert "one class" in unmet("linear_probe", replace(data, labels=torch.ones(ROWS, dtype=torch.long)))
    assert "is an image" in unmet("frechet_effnet", drawn(linear_model(), 9))
    assert "at least 200" in unmet("frechet_limit", data)


def test_one_pass_gives_what_each_metric_finds_alone():
    model, data = vae(subsets.mopoe(NAMES)), painted()
    found, _ = metrics.evaluate(model, Evaluation(data, data, JUDGE, seed=4), ["coherence", "frechet", "diversity"])
    assert found.items() >= metrics.coherence(model, data, JUDGE, seed=4).items()
    assert found.items() >= metrics.frechet(model, data, data, JUDGE, seed=4).items()
    assert found["diversity/digits/m0/m1"] > 0


def test_each_image_is_read_once(monkeypatch):
    """5 modalities, 31 subsets: a decode and a look for each pair, an encode a modality."""
    model, data = vae(subsets.mopoe(NAMES)), painted()
    calls = {"encode": 0, "read": 0}
    encoder = model.encoders["m0"].forward
    monkeypatch.setattr(
        model.encoders["m0"], "forward", lambda x: (calls.__setitem__("encode", calls["encode"] + 1), encoder(x))[1]
    )

    class Counting(type(JUDGE)):
        def read(self, name, values):
            calls["read"] += 1
            return super().read(name, values)

    counting = Counting(JUDGE.networks, JUDGE.classes, "digits", "1", "none", JUDGE.accuracy)
    names = ["coherence", "frechet", "kid", "prdc"]
    metrics.evaluate(model, Evaluation(data, data, counting, batch_size=ROWS), names)
    assert calls["encode"] == 1
    pairs = 3 * 2 + 3 + 3  # single inputs, two inputs, from itself
    assert calls["read"] == pairs + 3 + 3 + 3  # prior samples, real test images, real training images


@pytest.mark.parametrize(
    ("names", "draws"), [(["kid", "prdc"], False), (["coherence"], True), (["kid", "frechet"], True)]
)
def test_images_given_subsets_are_drawn_only_for_what_reads_them(names, draws, monkeypatch):
    asked = []

    def spying(model, pairs):
        asked.extend(pairs)
        return wanted_members(model, pairs)

    monkeypatch.setattr("polyvae.metrics.readings.wanted_members", spying)
    data = painted()
    found, _ = metrics.evaluate(Painter(), Evaluation(data, data, JUDGE), names)
    assert found
    assert bool(asked) is draws


def test_latent_encodes_a_row_once_for_all_subsets():
    model, data, rows = vae(subsets.mopoe(NAMES)), painted(), []
    for encoder in model.encoders.values():
        encoder.register_forward_pre_hook(lambda module, inputs: rows.append(len(inputs[0])))
    metrics.latent(model, data)
    assert sum(rows) == len(model.names) * len(data)


def test_diversity_of_draws_against_real_images():
    data = agreeing(140)
    readings = read_model(Painter(), data, JUDGE, moment_pairs=few_pairs(NAMES, NAMES))
    found = metrics.diversity(readings)
    assert found["diversity/digits/mean"] == pytest.approx(1, abs=0.15), "the painter's shades vary as the real ones"

    class Repeats(Painter):
        @staticmethod
        def private(generator, name):
            return torch.zeros(len(generator.rows))

    readings = replace(readings, trial=replace(readings.trial, model=Repeats()))
    assert metrics.diversity(readings)["diversity/digits/mean"] == pytest.approx(0, abs=1e-6)


def test_a_collapse_is_warned_of():
    fine = {"coherence/joint": 0.8, "coherence/joint_kappa": 0.78, "coherence/joint_entropy": 2.2}
    fine |= {"coherence/joint_confidence": 0.9, "coherence/real_confidence": 0.98}
    fine |= {"coherence/chance": 0.1}
    assert warnings(fine) == {}
    assert warnings({}) == {}
    blank = fine | {"coherence/joint": 0.999, "coherence/joint_kappa": 0.01, "coherence/joint_entropy": 0.01}
    assert "collapsed" in warnings(blank)["coherence/joint"]
    of_two = fine | {"coherence/chance": 0.5, "coherence/joint_entropy": math.log(2)}
    assert warnings(of_two) == {}, "two classes cannot have the entropy of ten"


# ---------------------------------------------------------------- what plug-ins add


@pytest.fixture
def own_entries():
    """Tables that forget afterwards what a test adds."""
    tables = (METRICS, pretrained.EXTRACTORS)
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


def test_a_metric_of_a_plugin_is_measured_by_its_name(own_entries):
    mine = metrics.Metric(lambda s: {"rows/test": float(len(s.on.test))}, "rows", warnings=lambda f: {"rows/test": "!"})
    metrics.register("rows", mine)
    found, notes = metrics.evaluate(Painter(), Evaluation(painted(), painted()), ["rows"])
    assert (found, notes) == ({"rows/test": ROWS}, {"rows/test": "!"})
    assert "rows" in metric_names("default")
    with pytest.raises(InputError, match="there is a metric 'rows' already"):
        metrics.register("rows", mine)


def test_an_extractor_of_a_plugin_brings_its_frechet_distance(own_entries):
    pixels = pretrained.Pretrained(lambda images: images[:, :, ::7, ::7].flatten(1), "pixels", "none")
    metrics.register_extractor(
        "pixels", metrics.ExtractorSource(lambda: pixels, "Frechet distance of pixels", lambda: True)
    )
    assert "pixels" in pretrained.installed()
    assert "frechet_pixels" in metric_names("all", pretrained.installed())
    evaluation = Evaluation(painted(), painted(), extractors={"pixels": pixels})
    found, _ = metrics.evaluate(Painter(), evaluation, ["frechet_pixels"])
    assert "frechet/pixels/unconditional/m0" in metrics.by_prior(found)
    assert "frechet/pixels/conditional/m1+m2/m0" not in metrics.by_prior(found)


def test_what_depends_on_the_prior_changes_with_it_and_nothing_else_does():
    data = agreeing(30)
    model = vae(subsets.mopoe(NAMES))
    evaluation = Evaluation(
        data, data, JUDGE, CRITIC, objective=lambda b, n: elbo(model, b, model.mixture, generator=n)
    )
    names = [name for name in metric_names("all") if name != "ood"]
    before, _ = metrics.evaluate(model, evaluation, names)
    model.prior = Centred(4, "normal", learned=True)
    model.prior.logits.data[0] += 2.0
    after, _ = metrics.evaluate(model, evaluation, names)
    changed = {key for key in before if not np.isclose(before[key], after.get(key, np.nan), rtol=1e-6, equal_nan=True)}
    by_prior = set(metrics.by_prior(before))
    assert changed <= by_prior | {key for key in before if key.startswith(("latent/mismatch", "latent/collapsed"))}
    assert by_prior >= {"bound/loss", "objective/loss", "coherence/joint", "latent/rate/m0", "log_likelihood/joint"}


# ---------------------------------------------------------------- pretrained extractors


def test_effnet_runs_with_its_true_weights():
    extractor = pretrained.effnet()
    images = torch.rand(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    features, probabilities = extractor.read("m0", images)
    assert features.shape == (3, 1280)
    assert probabilities is None
    again, _ = extractor.read("m0", images[1:2])
    torch.testing.assert_close(again, features[1:2], rtol=1e-4, atol=1e-5)
    grey, _ = extractor.read("m0", images[:, :1])
    assert not torch.allclose(grey, features)
    with pytest.raises(InputError, match="2 channels"):
        extractor.read("m0", images[:, :2])


def test_altered_or_missing_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "EFFNET_SHA256", "0" * 64)
    with pytest.raises(InputError, match="does not hold the published weights"):
        pretrained.effnet()
    monkeypatch.setattr(pretrained, "EFFNET_PACKAGES", ("no_such_package",))
    with pytest.raises(InputError, match=r"polyvae\[effnet\]"):
        pretrained.effnet()
    monkeypatch.delenv("POLYVAE_INCEPTION", raising=False)
    with pytest.raises(InputError, match="needs the published weights"):
        pretrained.inception()
    served = tmp_path / "served"
    served.write_bytes(b"anything")
    monkeypatch.setattr(pretrained, "INCEPTION_URL", served.as_uri())
    with pytest.raises(InputError, match=r"cannot download .*wrong SHA-256.*by hand"):
        pretrained.download_inception(tmp_path)
    assert not (tmp_path / pretrained.INCEPTION_FILE).exists()
    forged = tmp_path / pretrained.INCEPTION_FILE
    forged.write_bytes(b"anything")
    with pytest.raises(InputError, match="is not pt_inception"):
        pretrained.inception(forged)
