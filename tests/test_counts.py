"""Likelihoods of counts against SciPy's masses and the definitions of scvi-tools, with and without a library size."""

import json

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import gammaln

from polyvae import Batch, InputError, Modality, MultimodalVAE, RunConfig, likelihoods, load, networks, subsets
from polyvae.cli import main
from polyvae.datasets import load as load_data
from polyvae.imputation import impute
from polyvae.likelihoods import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from polyvae.networks.reading import Log1p
from polyvae.runs.plan import make_plan
from polyvae.runs.store import RunStore

KINDS = {"poisson": Poisson, "negative_binomial": NegativeBinomial, "zinb": ZeroInflatedNegativeBinomial}
VALUES = np.arange(4000)


def params_of(kind, rows=5, width=3, seed=0, dtype=torch.float64):
    count = KINDS[kind]().parameters
    drawn = torch.randn(rows, count, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return drawn if count > 1 else drawn[:, 0]


def scvi_log_prob(x, mean, theta=None, dropout_logit=None):
    """scvi-tools 1.x, written out: Poisson, `log_nb_positive` and `log_zinb_positive` without their eps, by feature."""
    if theta is None:
        return x * np.log(mean) - mean - gammaln(x + 1)
    log_theta_mu = np.log(theta + mean)
    nb = theta * (np.log(theta) - log_theta_mu) + x * (np.log(mean) - log_theta_mu)
    nb = nb + gammaln(x + theta) - gammaln(theta) - gammaln(x + 1)
    if dropout_logit is None:
        return nb
    softplus_pi = np.logaddexp(0, -dropout_logit)
    pi_theta_log = -dropout_logit + theta * (np.log(theta) - log_theta_mu)
    return np.where(x == 0, np.logaddexp(0, pi_theta_log) - softplus_pi, -softplus_pi - dropout_logit + nb)


def read(kind, params):
    """(log mean, theta or None, logit of the inflation or None) of parameters without a library."""
    parts = [part.numpy() for part in params.unbind(1)] if KINDS[kind]().parameters > 1 else [params.numpy()]
    return parts[0], *[np.exp(p) if i == 0 else p for i, p in enumerate(parts[1:])]


def scipy_law(mean, theta=None):
    return scipy.stats.poisson(mean) if theta is None else scipy.stats.nbinom(theta, theta / (theta + mean))


@pytest.mark.parametrize("kind", KINDS)
def test_masses_agree_with_scvi_and_scipy(kind):
    params, value = params_of(kind), torch.tensor([[0.0, 1, 40], [3, 0, 0], [7, 7, 7], [0, 0, 0], [900, 2, 5]])
    log_mean, *others = read(kind, params)
    expected = scvi_log_prob(value.numpy().astype(float), np.exp(log_mean), *others)
    found = likelihoods.make(kind)(params, 1).log_prob(value.double())
    np.testing.assert_allclose(found, expected.sum(1), rtol=1e-6)
    if kind != "zinb":
        oracle = scipy_law(np.exp(log_mean), *others).logpmf(value.numpy())
        np.testing.assert_allclose(found, oracle.sum(1), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_library_scales_shares_to_the_total_of_the_row_and_to_the_median_where_there_is_none(kind):
    params, value = params_of(kind), torch.tensor([[0.0, 1, 40], [3, 0, 0], [7, 7, 7], [0, 0, 1], [900, 2, 5]])
    output, *others = read(kind, params)
    share = scipy.special.softmax(output, -1)
    law = KINDS[kind](library=30.0)(params, 1)
    expected = scvi_log_prob(value.numpy().astype(float), value.sum(-1, keepdim=True).numpy() * share, *others)
    np.testing.assert_allclose(law.log_prob(value.double()), expected.sum(1), rtol=1e-9)
    kept = 1 / (1 + np.exp(others[1])) if kind == "zinb" else 1.0
    np.testing.assert_allclose(law.mean, 30 * share * kept)
    assert law.log_prob(torch.zeros(5, 3, dtype=torch.float64)).isfinite().all(), "an empty row"


@pytest.mark.parametrize("library", [None, 12.0])
@pytest.mark.parametrize("kind", KINDS)
def test_masses_at_a_known_total_sum_to_one_and_have_the_moments_that_draws_have(kind, library):
    params = params_of(kind, width=1)[:1]
    law = KINDS[kind](library)(params, 1)
    base = law.base_dist if library is None else law.base_dist.typical
    mass = base.log_prob(torch.from_numpy(VALUES)[:, None, None].double()).exp().squeeze().numpy()
    assert mass.sum() == pytest.approx(1, abs=1e-6)
    mean, variance = law.mean.item(), law.variance.item()
    assert mean == pytest.approx((mass * VALUES).sum(), rel=1e-4)
    assert variance == pytest.approx((mass * VALUES**2).sum() - mean**2, rel=1e-3)
    torch.manual_seed(0)
    drawn = law.sample((100_000,)).squeeze().numpy()
    assert (drawn >= 0).all()
    assert (drawn % 1 == 0).all()
    assert abs(drawn.mean() - mean) < 5 * (variance / len(drawn)) ** 0.5
    np.testing.assert_allclose(np.bincount(drawn.astype(int), minlength=9)[:9] / len(drawn), mass[:9], atol=0.007)


@pytest.mark.parametrize("library", [None, 1000.0])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_gradients_stay_finite_wherever_a_decoder_strays(kind, library):
    count = KINDS[kind]().parameters
    for output in (-200.0, 0.0, 200.0):
        for other in (-7.0, 7.0):
            params = torch.full((1, count, 2), other)
            params[:, 0] = torch.tensor([output, -output])
            params = (params if count > 1 else params[:, 0]).requires_grad_()
            for value in ([0.0, 0.0], [0.0, 3.0], [1e6, 2.0]):
                law = KINDS[kind](library)(params, 1)
                score = law.log_prob(torch.tensor([value]))
                (gradient,) = torch.autograd.grad(score, params)
                assert torch.cat([score, gradient.flatten()]).isfinite().all(), (output, other, value)
            assert law.sample().isfinite().all()
            assert law.mean.isfinite().all()


def test_single_precision_keeps_the_scores_of_large_counts():
    params, value = params_of("negative_binomial"), torch.full((5, 3), 10_000.0)
    precise = NegativeBinomial()(params, 1).log_prob(value.double())
    torch.testing.assert_close(
        NegativeBinomial()(params.float(), 1).log_prob(value).double(), precise, atol=0.1, rtol=0
    )


@pytest.mark.parametrize("library", [0.0, -3.0, float("nan"), float("inf")])
def test_a_library_that_is_none_is_refused(library):
    with pytest.raises(InputError, match="library"):
        Poisson(library)


def model_of(*modalities):
    torch.manual_seed(0)
    pairs = {m.name: networks.build("mlp", m, 2) for m in modalities}
    return MultimodalVAE(modalities, pairs, subsets.mopoe(tuple(m.name for m in modalities)), 2)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_filled_in_of_counts_is_never_below_zero(kind):
    rna, surface = Modality("rna", (6,), KINDS[kind](50.0)), Modality("surface", (2,), likelihoods.Normal())
    model = model_of(rna, surface)
    present = torch.tensor([[True, True], [False, True], [False, True]])
    counts = torch.tensor([[0.0, 3, 1, 0, 0, 9]]).expand(3, -1)
    batch = Batch({"rna": counts, "surface": torch.randn(3, 2)}, present)
    assert (impute(model, batch, draws=2)["rna"].low >= 0).all(), "of few draws, too"
    filled = impute(model, batch, draws=20)["rna"]
    assert (filled.mean[0] == counts[0]).all()
    assert (filled.sd[0] == 0).all()
    assert (filled.mean[1:] > 0).all()
    assert (filled.low >= 0).all()
    assert (filled.high >= filled.low).all()
    assert (filled.mean[1:].sum(-1) < 50.01).all(), "at the median library"


def test_decoders_of_counts_carry_their_learned_parameters_through_a_file():
    spec = Modality("rna", (4,), ZeroInflatedNegativeBinomial())
    model = model_of(spec)
    assert model.decoders["rna"].log_scale.shape == (2, 4)
    assert model.decode(torch.zeros(3, 2))["rna"].log_prob(torch.ones(3, 4)).shape == (3,)
    again = model_of(spec)
    again.load_state_dict(model.state_dict())


def test_networks_read_counts_as_logarithms():
    values = torch.tensor([[0.0, 1e6, -3.0]])
    torch.testing.assert_close(Log1p()(values), torch.tensor([[0.0, np.log1p(1e6), 0.0]]).float())


def sequenced(rows=300, seed=0):
    """Counts of 6 genes whose depth differs by row, and a table that knows their shares."""
    rng = np.random.default_rng(seed)
    z, depth = rng.standard_normal((rows, 2)), np.exp(5 + 0.7 * rng.standard_normal((rows, 1)))
    share = scipy.special.softmax(z @ rng.standard_normal((2, 6)), -1)
    surface = z + 0.1 * rng.standard_normal((rows, 2))
    return {"rna": rng.poisson(depth * rng.gamma(10, share / 10)), "surface": surface}


def test_a_table_of_counts_is_trained_on_scored_and_filled_in(tmp_path, capsys):
    np.savez(tmp_path / "d.npz", **sequenced())
    place = ["--data", str(tmp_path / "d.npz"), "--store", str(tmp_path / "runs")]
    how = ["--likelihood", "rna=negative_binomial", "--library", "rna", "--metrics", "bound,imputation", "--quiet"]
    settings = ["--epochs", "30", "--latent-dim", "3", "--batch-size", "32", "--learning-rate", "0.003"]
    main(["run", "--dataset", "arrays", *place, *how, *settings])
    run = next((tmp_path / "runs").glob("arrays-*"))
    record = RunStore(tmp_path / "runs").record(run.name)
    assert "data/rna" not in record.notes, "what was doubted is now said"
    rna = load(run).modalities[0]
    train = load_data("arrays", data=sequenced()).values["rna"]
    assert rna.likelihood == NegativeBinomial(float(train.sum(-1).median())), "one median, of the training rows"
    assert rna.transform is None
    rmse, by_mean = (record.metrics[f"imputation/{given}/rna/rmse"] for given in ("surface", "mean"))
    assert rmse < by_mean, "at the median depth"
    new = sequenced(20, seed=1)
    np.savez(tmp_path / "new.npz", **new, **{"rna.mask": np.arange(20) % 2 == 0})
    main(["impute", run.name, *place[2:], "--data", str(tmp_path / "new.npz"), "--out", str(tmp_path / "o.npz")])
    filled = np.load(tmp_path / "o.npz")
    assert (filled["rna"][::2] == new["rna"][::2]).all()
    assert min(filled[key].min() for key in ("rna", "rna.low", "rna.high")) >= 0
    new["rna"][3, 2] = -1
    np.savez(tmp_path / "new.npz", **new)
    with pytest.raises(SystemExit):
        main(["impute", run.name, *place[2:], "--data", str(tmp_path / "new.npz"), "--out", str(tmp_path / "o.npz")])
    assert "'rna' holds values that are not counts" in capsys.readouterr().err


def test_what_may_be_counts_is_said_and_scored_as_before():
    rng, data = np.random.default_rng(0), sequenced()
    others = {"flat": rng.binomial(9, 0.4, (300, 4)), "signed": 4 * rng.standard_normal((300, 4))}
    others["age"] = rng.integers(20, 80, (300, 2))
    found = load_data("arrays", data=data | others)
    assert "--likelihood rna=negative_binomial" in found.info["warnings"].pop("rna")
    assert not found.info["warnings"], "what varies less than counts, is below 0, or never 0, needs no hint"
    assert found.modalities[0].likelihood == likelihoods.Normal(None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"library": "rna"}, ["--library rna", "normal", "--likelihood rna=negative_binomial"]),
        ({"library": "dna"}, ["--library", "'dna'", "rna, surface"]),
        ({"likelihood": "surface=poisson"}, ["poisson", "'surface'", "not counts"]),
    ],
)
def test_counts_that_are_none_are_refused(changes, words):
    data = load_data("arrays", data=sequenced())
    with pytest.raises(InputError) as error:
        make_plan(RunConfig(metrics="none", **changes), data)
    assert all(word in str(error.value) for word in words), error.value


def test_ordered_classes_are_read_from_integers(tmp_path):
    data = {"grade": np.arange(60) % 4, "x": np.random.default_rng(0).standard_normal((60, 2))}
    np.savez(tmp_path / "d.npz", **data)
    (tmp_path / "modalities.json").write_text(json.dumps({"grade": {"likelihood": "ordinal"}}))
    grade = load_data("arrays", data=tmp_path / "d.npz").modalities[0]
    assert grade.likelihood == likelihoods.Ordinal()
    assert grade.is_classes
    assert grade.shape == (4,)
    plan = make_plan(RunConfig(likelihood="grade=ordinal", metrics="none"), load_data("arrays", data=data))
    assert plan.modalities[0].likelihood == likelihoods.Ordinal()
