"""Methods whose posteriors come from a rule of fusion: limits, bounds, allocations, and values written out here."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import polyvae as pv
from polyvae import Batch, InputError, fusions, gaussian, likelihoods, metrics, models, noise, objectives, subsets
from polyvae.dataset import MultimodalDataset
from polyvae.gaussian import Gaussian, kl_to_prior
from polyvae.methods import METHODS, code_vae, masked
from polyvae.modality import Modality
from polyvae.models import RULES, Blueprint, MultimodalVAE
from polyvae.models.fused import FusedVAE, SetNetwork
from polyvae.objectives.parts import subsets_of
from polyvae.runs.plan import make_plan
from support.arrays import TABLES, tables_with_gaps
from support.linear import LATENT, drawn, linear_model, log_evidence
from support.slow import slow_unless

NAMES = ("a", "b", "c")
FUSED = [name for name, method in METHODS.items() if method.model in RULES and not method.recipe]
JOINT = [name for name in FUSED if models.MODELS[METHODS[name].model].is_joint]
PRIVATE = [name for name in FUSED if METHODS[name].model.startswith("private")]
SETS = [name for name in FUSED if METHODS[name].model == "set_network"]
PATTERNS = [p for size in (1, 2, 3) for p in itertools.combinations(NAMES, size)]
LIKE = torch.zeros((), dtype=torch.float64)


def model_of(name, names=NAMES, **options):
    """Small networks whose weights depend on the modality alone, and so do those of a rule, where it has some."""
    method = METHODS[name]
    options = {"private_dim": 2} | options if name in PRIVATE else options
    blueprint = Blueprint(
        modalities=tuple(Modality(n, (2 + ord(n) % 3,), likelihoods.Normal(0.8)) for n in names),
        mixture=method.mixture(names),
        latent_dim=2,
        networks=dict.fromkeys(names, "mlp"),
        kind=method.model,
        options={} if method.options is None else vars(method.options(**options)),
    )
    model = models.build(blueprint).double()
    for encoder in model.encoders.values():  # far from the start, where all experts are as wide
        torch.nn.init.normal_(encoder[-1].logvar.weight, std=0.3, generator=torch.Generator().manual_seed(1))
        torch.nn.init.constant_(encoder[-1].logvar.bias, -0.5)
    with torch.no_grad():
        for n in names if name in PRIVATE else ():
            model.references[n].logits.copy_(torch.tensor([ord(n) % 3, 0]))
            if method.model == "private_hoelder_reading":
                torch.nn.init.normal_(model.heads[n].out.weight, generator=torch.Generator().manual_seed(ord(n)))
        if name == "mopoe_dense":
            for root, n in zip(model.rule.roots, names, strict=True):
                root.copy_(torch.tensor([[1.0, ord(n) % 3], [0.5, 1.0]]))
        if name == "gpoe":
            model.rule.logits.copy_(torch.tensor([[ord(n) % 5, -(ord(n) % 2)] for n in names]))
        if method.model == "correlated":  # so that the softmax within what a row has is that of the smaller model
            given = [[n for i, n in enumerate(names) if bits >> i & 1] for bits in range(1, 2 ** len(names))]
            model.weights.logits.copy_(torch.tensor([sum(map(ord, members)) % 7 / 3 for members in given]))
    return model


def objective_of(name):
    (stage,) = METHODS[name].stages
    return stage.objective or objectives.elbo


def batch_of(model, rows=7):
    generator = torch.Generator().manual_seed(0)
    return Batch({m.name: torch.randn(rows, *m.shape, generator=generator).double() for m in model.modalities})


def with_gaps(batch, patterns):
    """Rows of each pattern in turn."""
    present = torch.tensor([[name in p for name in batch.values] for p in patterns])
    return Batch({name: value[: len(patterns)] for name, value in batch.values.items()}, present)


@pytest.fixture
def no_noise(monkeypatch):
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: torch.zeros(rows, width).to(like))


def gradients(model, loss):
    found = torch.autograd.grad(loss, [p for _, p in model.named_parameters()], allow_unused=True)
    pairs = zip(dict(model.named_parameters()).items(), found, strict=True)
    return {name: torch.zeros_like(p) if g is None else g for (name, p), g in pairs}


# What holds for all of them.


@pytest.mark.parametrize("name", JOINT)
def test_of_one_modality_it_is_the_vae(name, no_noise):
    """T7, in loss and gradient; a set network is then a deeper encoder; private codes are further dimensions of z."""
    model = model_of(name, ("a",))
    batch = batch_of(model)
    plain = {"model": model, "mixture": model.mixture}
    if METHODS[name].model != "set_network":
        pairs = {"a": (model.encoders["a"], model.decoders["a"])}
        plain["model"] = MultimodalVAE(model.modalities, pairs, model.mixture, model.latent_dim).double()
    if name == "mopoe_dense":  # its rule holds the prior expert
        plain["mixture"] = subsets.mvae(("a",))
        model.rule.roots.data.copy_(torch.eye(2))
    expected = objectives.elbo(**plain, batch=batch, beta=0.6).loss
    wanted = gradients(plain["model"], expected)
    for allocation in ("exact", "systematic"):
        loss = objective_of(name)(model, batch, model.mixture, beta=0.6, allocation=allocation).loss
        torch.testing.assert_close(loss, expected)
        found = gradients(model, loss)
        found.pop("rule.roots", None)  # which the VAE does not have
        for key, value in found.items():
            torch.testing.assert_close(value, wanted.get(key, torch.zeros_like(value)))


@pytest.mark.parametrize("name", FUSED)
def test_an_absent_modality_might_as_well_not_exist(name, no_noise):
    """T10: loss and gradient are those of the model without it, for every pattern."""
    whole = model_of(name)
    batch = batch_of(whole, 4)
    for given in PATTERNS:
        part = model_of(name, given)
        found, expected = (
            (loss := objective_of(name)(m, rows, m.mixture, beta=0.6, allocation="exact").loss, gradients(m, loss))
            for m, rows in ((whole, with_gaps(batch, [given] * 4)), (part, Batch({n: batch.values[n] for n in given})))
        )
        assert found[0].isfinite()
        torch.testing.assert_close(found[0], expected[0])
        own = {key: [NAMES.index(n) for n in given] for key in ("rule.logits", "rule.roots")}
        own["weights.logits"] = [i for i, p in enumerate(_by_bits(NAMES)) if set(p) <= set(given)]
        for key, value in found[1].items():
            if key in own:
                value, rest = value[own[key]], value[[i for i in range(len(value)) if i not in own[key]]]
                assert not rest.any()
            torch.testing.assert_close(value, expected[1].get(key, torch.zeros_like(value)))


def _by_bits(names):
    return [tuple(n for i, n in enumerate(names) if bits >> i & 1) for bits in range(1, 2 ** len(names))]


@pytest.mark.parametrize("name", FUSED)
def test_the_order_of_modalities_does_not_matter(name, no_noise):
    """T10, with rows of every pattern."""
    values, losses = batch_of(model_of(name)).values, []
    for names in (NAMES, ("c", "a", "b")):
        model = model_of(name, names)
        rows = with_gaps(Batch({n: values[n] for n in names}), PATTERNS)
        losses.append([objective_of(name)(model, rows, model.mixture, allocation="exact").loss])
        if name in JOINT:
            posterior = model.posterior(rows)
            density = posterior.log_prob(torch.ones(7, model.latent_dim).double())
            losses[-1].append(posterior.mean.sum() + density.sum())
    torch.testing.assert_close(*losses)


@pytest.mark.parametrize("name", JOINT)
def test_a_row_that_lacks_something_answers_as_a_whole_row_asked_for_as_much(name):
    model = model_of(name)
    batch = batch_of(model)
    z = torch.randn(7, model.latent_dim, generator=torch.Generator().manual_seed(3)).double()
    for given in PATTERNS:
        lacking = model.posterior(with_gaps(batch, [given] * 7))
        torch.testing.assert_close(lacking.log_prob(z), model.posterior(batch, given).log_prob(z))
        torch.testing.assert_close(lacking.mean, model.posterior(batch, given, model.encode(batch)).mean)


@pytest.mark.parametrize(
    "name",
    slow_unless(
        lambda name: name in ("hoelder", "code_vae"),
        [n for n in FUSED if n not in ("helvae", "gpoe", "masked_attention")],
    ),
)
def test_systematic_allocation_averages_to_the_exact_one(name, no_noise):
    """Value and gradients, those of learned weights of subsets included, with rows of every pattern."""
    model = model_of(name)
    batch, objective = with_gaps(batch_of(model), PATTERNS), objective_of(name)
    generator = torch.Generator().manual_seed(0)
    probed = [p for key, p in model.named_parameters() if key.endswith("weights.logits") or key.endswith("mean.bias")]

    def drawn(**how):
        loss = objective(model, batch, model.mixture, beta=0.6, **how).loss
        parts = torch.autograd.grad(loss, probed, allow_unused=True)
        zeros = (torch.zeros_like(p) if g is None else g for p, g in zip(probed, parts, strict=True))
        return torch.cat([loss.detach()[None], *(g.flatten() for g in zeros)])

    exact = drawn(allocation="exact")
    found = torch.stack([drawn(allocation="systematic", generator=generator) for _ in range(400)])
    error = found.std(0) / len(found) ** 0.5
    assert error[0] > 0
    assert ((found.mean(0) - exact).abs() <= 4.5 * error + 1e-9).all()
    if METHODS[name].model == "correlated":
        assert exact[1:8].abs().min() > 0


@pytest.fixture
def exactly(monkeypatch):
    """Makes expectations of what is quadratic in noise exact: rows come in blocks of four points of z's noise."""
    points = math.sqrt(LATENT) * torch.cat([torch.eye(LATENT), -torch.eye(LATENT)]).double()

    def normal(source, rows, width, like):
        return points.repeat(rows // len(points), width // LATENT).to(like)

    monkeypatch.setattr(noise, "normal", normal)


def linear(name, seed):
    """Linear decoders, with log p(x) in closed form, and random linear encoders below this method's rule."""
    base = linear_model(subsets.whole)
    options = {"width": 4, "depth": 1} if METHODS[name].model == "set_network" else {"rho": 0.4}
    options |= {"blocks": 1, "heads": 2} if name == "masked_attention" else {}
    blueprint = Blueprint(base.modalities, base.mixture, LATENT, {}, METHODS[name].model, options=options)
    generator = torch.Generator().manual_seed(seed)
    pairs = {}
    for n in NAMES:
        encoder = torch.nn.Sequential(torch.nn.Linear(3, 2 * LATENT), torch.nn.Unflatten(1, (2, LATENT)), Both())
        pairs[n] = (encoder, base.decoders[n])
    more = {"rule": RULES[METHODS[name].model](blueprint)}
    kind = models.MODELS[METHODS[name].model]
    if METHODS[name].model == "correlated":
        more["weights"] = models.fused.LearnedWeights(3, 1.0)
    model = kind(base.modalities, pairs, METHODS[name].mixture(NAMES), LATENT, **more).double()
    for key, parameter in model.named_parameters():
        if not key.startswith("decoders"):
            torch.nn.init.normal_(parameter, std=0.7, generator=generator)
    return model


class Both(torch.nn.Module):
    def forward(self, outputs):
        return outputs.unbind(1)


def four_times(values):
    return Batch({name: value.double().repeat_interleave(4, 0) for name, value in values.items()})


@pytest.mark.parametrize("name", [n for n in FUSED if n not in PRIVATE])
def test_no_parameters_take_it_above_the_evidence(name, exactly):
    """T1, for 50 random networks; CoDE-VAE without H(pi)."""
    for seed in range(50):
        model = linear(name, seed)
        values = drawn(model, 3, seed).values
        bound = objective_of(name)(model, four_times(values), model.mixture, allocation="exact")
        value = -(bound.distortion + bound.rate)
        assert value < log_evidence(model, values).mean()


@pytest.mark.parametrize("name", FUSED)
def test_what_cannot_be_is_refused_before_compute(name):
    toy = pv.RunConfig(dataset="toy", modalities=3, latent_dim=3, train_size=20, test_size=10, metrics="none")
    own = f"method {name} {'pools Normal posteriors' if name in JOINT else 'trains its own kind of model'}"
    for changes, message in (
        ({"only": "m0"}, f"method {name} compares modalities, but there is only one"),
        ({"posterior": "laplace"}, own),
    ):
        with pytest.raises(InputError, match=message):
            make_plan(toy.with_(method=name, **changes))
    model = model_of(name)
    for how in ({"beta": -1.0}, {"allocation": "random"}):
        with pytest.raises(InputError):
            objective_of(name)(model, batch_of(model), model.mixture, **how)


def test_options_out_of_their_range_are_refused_before_compute():
    toy = pv.RunConfig(dataset="toy", modalities=3, latent_dim=3, train_size=20, test_size=10, metrics="none")
    for method, options, message in (
        ("code_vae", "rho=1", "rho=1.0: of 3 modalities it must be above -0.5 and below 1"),
        ("code_vae", "rho=-.5", "rho=-0.5: of 3"),
        ("code_vae_official", "omega=-1", "omega=-1.0: it must be at least 0"),
        ("masked", "width=0", "width=0: it must be from 1 to 8192"),
        ("masked", "width=100000000", "width=100000000: it must be from 1 to 8192"),
        ("masked", "depth=17", "depth=17: it must be from 1 to 16"),
        ("masked_attention", "blocks=0", "blocks=0: it must be from 1 to 16; without any: masked"),
        ("masked_attention", "heads=3", "heads=3: it must be at least 1, and divide width=256"),
    ):
        with pytest.raises(InputError, match=message):
            make_plan(toy.with_(method=method, method_options=options))
    make_plan(toy.with_(method="code_vae", method_options="rho=-.49,omega=0"))


def test_a_rule_takes_normal_posteriors_and_no_prior_expert():
    base = linear_model(subsets.mvae)
    pairs = {n: (base.encoders[n], base.decoders[n]) for n in NAMES}
    with pytest.raises(InputError, match="S has a prior expert"):
        FusedVAE(base.modalities, pairs, base.mixture, LATENT, rule=fusions.hellinger)
    family = pv.posteriors.Family("laplace")
    with pytest.raises(InputError, match="not for laplace"):
        FusedVAE(base.modalities, pairs, subsets.mmvae(NAMES), LATENT, rule=fusions.hellinger, family=family)


@pytest.mark.parametrize(
    "name", slow_unless(lambda name: name in ("hoelder", "code_vae"), [n for n in JOINT if n != "code_vae_official"])
)
def test_it_is_trained_on_gaps_scored_and_loaded(name, tmp_path):
    arrays = tables_with_gaps(80)
    np.savez(tmp_path / "mine.npz", **arrays)
    config = pv.RunConfig(dataset="arrays", data=str(tmp_path / "mine.npz"), method=name, latent_dim=2, epochs=2)
    result = pv.run(config.with_(metrics="bound,objective,log_likelihood,imputation"), tmp_path / "runs")
    assert {"bound/loss", "objective/loss", "log_likelihood/joint"} <= set(result.metrics)
    assert all(np.isfinite(value) for value in result.metrics.values())
    assert result.record.resolved.is_bound is METHODS[name].is_bound
    model = pv.load(result.folder, weights="model")  # the last: those before the first step may be the best
    fresh = make_plan(config).build()
    moved = {k for k, v in fresh.state_dict().items() if not torch.equal(v, model.state_dict()[k])}
    assert {k for k in fresh.state_dict() if k.startswith(("rule.", "weights."))} <= moved, (
        "all of the rule has learned"
    )
    rows = Batch({n: torch.from_numpy(arrays[n][:5]) for n in TABLES})
    for given in (TABLES, TABLES[:1], TABLES[1:]):
        assert all(v.isfinite().all() for v in model.generate(rows, given).values())


# CoDE-VAE.


def written_code(model, batch, beta, omega, rho, weights):
    """The loss of a row as the published code computes it: a loop over subsets, each with its whole matrix inverted."""
    experts, logits, losses = model.encode(batch), model.weights.logits, []
    for row in range(len(batch.present)):
        has = [i for i in range(3) if batch.present[row, i]]
        sets = [(k, [i for i in range(3) if (k + 1) >> i & 1]) for k in range(7)]
        sets = [(k, members) for k, members in sets if set(members) <= set(has)]
        share = torch.stack([logits[k] for k, _ in sets]).softmax(0)
        total = -omega * -(share * share.log()).sum()
        for weight, (_, members) in zip(share, sets, strict=True):
            means, variances = [], []
            for d in range(2):
                sd = (0.5 * experts.logvar[members, row, d]).exp()
                matrix = torch.outer(sd, sd) * (rho + (1 - rho) * torch.eye(len(members)).double())
                ones = torch.linalg.inv(matrix).sum(0)
                variances.append(1 / ones.sum())
                means.append((ones * experts.mean[members, row, d]).sum() / ones.sum())
            law = Gaussian(torch.stack(means), torch.stack(variances).log())
            decoded = model.decode(law.mean[None])
            for i in has:
                score = decoded[NAMES[i]].log_prob(batch.values[NAMES[i]][row : row + 1])[0]
                total = total - weight * weights[i] * score
            total = total + weight * beta * kl_to_prior(law)
        losses.append(total)
    return torch.stack(losses).mean()


@pytest.mark.parametrize("name", ["code_vae", "code_vae_official"])
def test_code_vae_is_what_its_paper_and_its_code_say(name, no_noise):
    """In loss and gradient to 1e-6, on rows of every pattern, with modality weights."""
    model = model_of(name, rho=0.3)
    batch, weights = with_gaps(batch_of(model), PATTERNS), torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
    how = {"beta": 2.5, "allocation": "exact", "weights": weights}
    loss = code_vae.objective(model, batch, model.mixture, **how).loss
    expected = written_code(model, batch, 2.5, 1000.0 if name.endswith("official") else 1.0, 0.3, weights)
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-6)
    found, wanted = gradients(model, loss), gradients(model, expected)
    for key, value in found.items():
        torch.testing.assert_close(value, wanted[key], rtol=1e-6, atol=1e-6)


def each_bound(model, batch):
    """L_A of every subset in the order of the weights, mean over rows; at the means."""
    terms = model.mixture.terms
    wholes = [subsets.custom([(t.given, 1.0)], model.names) for t in terms]
    return torch.stack([-objectives.elbo(model, batch, S, allocation="exact").loss for S in wholes])


def test_with_much_entropy_code_vae_is_mopoe_without_prior_expert(no_noise):
    """T6, in loss and gradient to 1e-6, at the best weights for a large omega; of uncorrelated experts."""
    omega = 1e9
    model = model_of("code_vae", rho=0.0, omega=omega)
    batch = batch_of(model)
    model.weights.logits.data = each_bound(model, batch).detach() / omega
    loss = code_vae.objective(model, batch, model.mixture, allocation="exact")
    entropy = model.weights(batch.present)[1].mean()
    assert entropy.item() == pytest.approx(math.log(7), abs=1e-12)
    pairs = {n: (model.encoders[n], model.decoders[n]) for n in NAMES}
    plain = MultimodalVAE(model.modalities, pairs, subsets.every(NAMES), 2).double()
    expected = objectives.elbo(plain, batch, plain.mixture, allocation="exact").loss
    torch.testing.assert_close(loss.distortion + loss.rate, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(loss.loss, expected - omega * entropy)
    found, wanted = gradients(model, loss.loss), gradients(plain, expected)
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-6, atol=1e-6)
    model.weights.logits.data.zero_()
    torch.testing.assert_close(metrics_bound(model, batch), metrics_bound(plain, batch))


def test_the_best_weights_of_fixed_networks_are_those_of_a_boltzmann_law(no_noise):
    """pi_A proportional to exp(L_A / omega): no gradient there, and none lower."""
    model = model_of("code_vae", omega=2.0)
    batch = batch_of(model)
    model.weights.logits.data = each_bound(model, batch).detach() / 2.0

    def loss():
        return code_vae.objective(model, batch, model.mixture, allocation="exact").loss

    best, gradient = loss(), gradients(model, loss())["weights.logits"]
    torch.testing.assert_close(gradient, torch.zeros(7).double(), atol=1e-9, rtol=0)
    start = model.weights.logits.data.clone()
    for seed in range(5):
        step = torch.randn(7, generator=torch.Generator().manual_seed(seed)).double()
        model.weights.logits.data = start + 0.3 * step
        assert loss() > best
    torch.testing.assert_close(best, -2.0 * (each_bound(model, batch) / 2.0).logsumexp(0))


def test_what_is_alike_for_all_subsets_is_no_noise_in_the_gradient_of_their_weights(no_noise, monkeypatch):
    """A thousand nats more for every L_A: the same gradient of pi for the same draw of subsets."""
    model, plain, found = model_of("code_vae"), code_vae.decoded_and_scored, []
    batch = with_gaps(batch_of(model), PATTERNS)

    def more(model, batch, posterior, factor, generator):
        log_likelihood, rate = plain(model, batch, posterior, factor, generator)
        return log_likelihood, rate - 1000 * factor.sum(0)

    for version in (plain, more):
        monkeypatch.setattr(code_vae, "decoded_and_scored", version)
        loss = code_vae.objective(model, batch, model.mixture, generator=torch.Generator().manual_seed(0)).loss
        found.append(gradients(model, loss)["weights.logits"])
    torch.testing.assert_close(*found)


def metrics_bound(model, batch):
    values = {n: v.float() for n, v in batch.values.items()}
    data = MultimodalDataset("rows", model.modalities, values, batch.present)
    return torch.tensor(metrics.bound(model.float(), data)["bound/loss"])


def test_the_metric_of_the_bound_has_the_learned_weights_and_no_entropy():
    """By rows' noise both are L_S at the same draws, here for all subsets at once."""
    model = model_of("code_vae")
    batch = batch_of(model)
    model.float()
    rows = Batch({n: v.float() for n, v in batch.values.items()}, batch.present)
    how = {"allocation": "exact", "generator": noise.RowNoise(0, "bound", tuple(range(7)))}
    bound = code_vae.objective(model, rows, model.mixture, **how)
    torch.testing.assert_close(metrics_bound(model, batch), (bound.distortion + bound.rate).cpu().detach())
    assert abs(bound.loss - bound.distortion - bound.rate) > 0.5
    model.weights.logits.data[0] = -1e4  # no number is that small
    assert len(model.learned_mixture().terms) == 6


# Hoelder's mixture.


def test_the_posterior_of_hoelder_is_the_pool_itself():
    """Its density is (sum sqrt q)^2, but for one constant a row; its mean is that of HELVAE; draws follow it."""
    model = model_of("hoelder")
    batch = batch_of(model, 3)
    experts, z = model.encode(batch), torch.randn(9, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    for given in (("a", "b", "c"), ("a", "c")):
        index = [NAMES.index(n) for n in given]
        logs = torch.stack([gaussian.picked(experts, i).log_prob(z) for i in index])
        ratio = model.posterior(batch, given).log_prob(z) - 2 * (0.5 * logs).logsumexp(0)
        torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
        member = torch.tensor([n in given for n in NAMES]).expand(3, -1)
        law = fusions.hellinger(experts, member)
        posterior = model.posterior(batch, given)
        torch.testing.assert_close(posterior.mean, law.mean)
        generator = torch.Generator().manual_seed(0)
        sampled = torch.stack([posterior.sample(generator) for _ in range(4000)])
        error = (0.5 * law.logvar).exp() / 4000**0.5
        assert ((sampled.mean(0) - law.mean).abs() < 4.5 * error).all()


def test_a_modality_that_says_nothing_has_collapsed_under_hoelder():
    """Of the parts of the pool, only the modality's own expert has weight given it alone."""
    model = model_of("hoelder")
    model.encoders["b"].forward = lambda x: (x.new_zeros(len(x), 2), x.new_zeros(len(x), 2))
    values = {name: value.float() for name, value in batch_of(model, 8).values.items()}
    data = MultimodalDataset("x", model.modalities, values, torch.ones(8, 3, dtype=torch.bool))
    found = metrics.latent(model.float(), data)
    assert [found[f"latent/{key}"] for key in ("collapsed/a", "collapsed/b", "collapsed/c")] == [0, 2, 0]


def test_hoelder_written_out(no_noise):
    """Every expert and every pair, with weights by the integrals of their own formula; value and gradient."""
    model = model_of("hoelder")
    batch = batch_of(model)
    experts, total, parts = model.encode(batch), 0.0, []
    for i, j in itertools.combinations_with_replacement(range(3), 2):
        (m, v), (n, w) = ((experts.mean[k], experts.logvar[k].exp()) for k in (i, j))
        overlap = (2 * (v * w).sqrt() / (v + w)).sqrt() * (-(m - n).square() / (4 * (v + w))).exp()
        law = Gaussian((m * w + n * v) / (v + w), (2 * v * w / (v + w)).log())
        scores = sum(likelihood.log_prob(batch.values[k]) for k, likelihood in model.decode(law.mean).items())
        parts.append(((1 if i == j else 2) * overlap.prod(-1), scores - 0.6 * kl_to_prior(law)))
    for weight, value in parts:
        total = total + weight * value / sum(w for w, _ in parts)
    loss = objective_of("hoelder")(model, batch, model.mixture, beta=0.6, allocation="exact").loss
    torch.testing.assert_close(loss, -total.mean())
    found, wanted = gradients(model, loss), gradients(model, -total.mean())
    for key, value in found.items():
        torch.testing.assert_close(value, wanted[key])


# The masked bound.


def exact_model():
    """Linear decoders, and a rule that gives the true posterior of every set."""
    base = linear_model()
    pairs = {n: (base.encoders[n], base.decoders[n]) for n in NAMES}

    def rule(experts, member):
        return gaussian.product(experts, member, torch.ones(member.shape[:-1], dtype=torch.bool))

    return FusedVAE(base.modalities, pairs, subsets.whole(NAMES), LATENT, rule=rule).double()


def only(monkeypatch, given):
    """Lets every row have this subset; the factor undoes the share that the objective multiplies by."""
    row = torch.tensor([name in given for name in NAMES])

    def chosen(present, allocation, generator):
        share = (2.0 if given == NAMES else 1.0) / 8
        return row.expand(1, len(present), -1), torch.full((1, len(present)), 1 / share, dtype=torch.float64)

    monkeypatch.setattr(masked, "subsets_of", chosen)


def test_with_true_posteriors_the_masked_bound_is_the_evidence_for_every_subset(exactly, monkeypatch):
    """T2."""
    model = exact_model()
    values = drawn(model, 5).values
    evidence = log_evidence(model, values).mean()
    loss = masked.objective(model, four_times(values), model.mixture, allocation="exact").loss
    torch.testing.assert_close(-loss, evidence)
    for given in PATTERNS:
        only(monkeypatch, given)
        loss = masked.objective(model, four_times(values), model.mixture).loss
        torch.testing.assert_close(-loss, evidence)


@pytest.mark.parametrize("name", SETS)
def test_no_subset_takes_the_masked_bound_above_the_evidence_and_all_is_the_elbo(name, exactly, monkeypatch):
    """T1 for each subset, with random set networks; S = X is the ELBO of q_X in loss and gradient."""
    for seed in range(10):
        model = linear(name, seed)
        values = drawn(model, 3, seed).values
        for given in PATTERNS:
            only(monkeypatch, given)
            loss = masked.objective(model, four_times(values), model.mixture, beta=1.0).loss
            assert -loss < log_evidence(model, values).mean()
        expected = objectives.elbo(model, four_times(values), model.mixture).loss
        torch.testing.assert_close(loss, expected)
        found, wanted = gradients(model, loss), gradients(model, expected)
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value)


@pytest.mark.parametrize("name", SETS)
def test_the_masked_bound_written_out(name, no_noise):
    """Each row's mean over all 2^M sets, the empty one with the prior for its posterior."""
    model = model_of(name)
    batch = with_gaps(batch_of(model), PATTERNS)
    experts, found = model.encode(batch), []
    for row, pattern in enumerate(PATTERNS):
        one = gaussian.picked(experts, (slice(None), slice(row, row + 1)))
        seen = {n: batch.values[n][row : row + 1] for n in pattern}

        def law(given, one=one):
            return model.rule(one, torch.tensor([[n in given for n in NAMES]]))

        def scores(q, names, seen=seen):
            return sum(model.decode(q.mean)[n].log_prob(seen[n]) for n in names) if names else 0.0

        whole, values = law(pattern), []
        for size in range(len(pattern) + 1):
            for given in itertools.combinations(pattern, size):
                rest = tuple(n for n in pattern if n not in given)
                some = law(given) if given else Gaussian(*[torch.zeros_like(whole.mean)] * 2)
                rate = kl_to_prior(some) + gaussian.kl(whole, some)
                values.append(scores(some, given) + scores(whole, rest) - 0.6 * rate)
        found.append(torch.stack(values).mean())
    loss = masked.objective(model, batch, model.mixture, beta=0.6, allocation="exact").loss
    torch.testing.assert_close(-loss, torch.stack(found).mean())


@pytest.mark.parametrize("blocks", [0, 2])
def test_a_set_network_reads_its_members_alone_in_any_order(blocks):
    """Without the others it is the same, in value and gradient; experts of a set are exchangeable; all count."""
    torch.manual_seed(0)
    network = SetNetwork(2, 8, 3, blocks, 4).double()
    experts = Gaussian(*torch.randn(2, 3, 5, 2, generator=torch.Generator().manual_seed(0)).double().requires_grad_())
    member = torch.tensor([[True, False, True]])
    fields = network(experts, member)
    few = network(gaussian.picked(experts, [0, 2]), torch.ones(1, 2, dtype=torch.bool))
    other_way_round = network(gaussian.picked(experts, [2, 1, 0]), member)
    (of_three,) = torch.autograd.grad(fields.mean.sum(), experts.mean, retain_graph=True)
    (of_two,) = torch.autograd.grad(few.mean.sum(), experts.mean, retain_graph=True)
    assert not of_three[1].any()
    for found in (few, other_way_round):
        torch.testing.assert_close(tuple(found), tuple(fields))
    torch.testing.assert_close(of_two, of_three)
    several = network(experts, torch.stack([member.expand(5, -1), torch.ones(5, 3, dtype=torch.bool)]))
    torch.testing.assert_close(several.mean[0], fields.mean)
    assert not torch.allclose(several.mean[1], fields.mean)
    assert sum(isinstance(layer, torch.nn.Linear) for layer in network.features) == 3
    moved = experts.like(experts.mean, experts.logvar + 1)
    assert not torch.allclose(network(experts, member).mean, network(moved, member).mean)


def test_attention_lets_what_one_member_adds_depend_on_the_others():
    """Before the head: of deep sets, one more member adds the same to any set; with attention, it does not."""
    torch.manual_seed(0)
    experts = Gaussian(*torch.randn(2, 3, 1, 2).double())
    sets = torch.tensor([[True, False, True], [False, False, True], [True, True, True], [False, True, True]])[:, None]
    for blocks in (0, 1):
        network = SetNetwork(2, 8, 1, blocks, 2).double()
        seen = []
        network.head.register_forward_pre_hook(lambda module, given, seen=seen: seen.append(given[0][:, 0]))
        network(experts, sets)
        beside_c, beside_b_and_c = seen[0][0] - seen[0][1], seen[0][2] - seen[0][3]
        assert torch.allclose(beside_c, beside_b_and_c) == (blocks == 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_training_a_set_network_reaches_the_true_posterior_of_every_subset(name):
    """T15 in spirit: with true decoders and linear experts fixed, the library's own loss is log p(X) at its optimum."""
    base, generator = exact_model(), torch.manual_seed(0)
    options = {"width": 64, "depth": 1} | ({"blocks": 1, "heads": 2} if name == "masked_attention" else {})
    pairs = {n: (base.encoders[n], base.decoders[n]) for n in NAMES}
    rule = SetNetwork(LATENT, **options)
    model = FusedVAE(base.modalities, pairs, subsets.whole(NAMES), LATENT, rule=rule).double()
    optimiser = torch.optim.Adam(rule.parameters(), 3e-3)
    steps = 2000
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        values = {n: v.double() for n, v in drawn(model, 128, step).values.items()}
        loss = METHODS[name].stages[0].objective(model, Batch(values), model.mixture, generator=generator).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    values = drawn(model, 1000, steps).values
    batch = Batch({n: v.double() for n, v in values.items()})
    with torch.no_grad():
        for given in PATTERNS:
            apart = gaussian.kl(base.posterior(batch, given).components, model.posterior(batch, given).components)
            assert apart.mean() < 0.01, given


def test_subsets_are_drawn_uniformly_from_what_rows_have():
    """Factors are the numbers of subsets; each row's share of each is the same."""
    present = torch.tensor([[n in p for n in NAMES] for p in PATTERNS]).repeat(600, 1)
    given, factor = subsets_of(present, "systematic", torch.Generator().manual_seed(0))
    exact, alive = subsets_of(present[:7], "exact", None)
    assert exact.any(-1).sum(0).tolist() == [2 ** len(p) - 1 for p in PATTERNS] == factor[0, :7].tolist()
    assert torch.equal(exact.any(-1), alive == 1)
    for index, pattern in enumerate(PATTERNS):
        rows = given[0, index::7]
        assert not (rows & ~present[index]).any()
        _, counts = rows.unique(dim=0, return_counts=True)
        assert len(counts) == 2 ** len(pattern) - 1
        assert counts.min() > 0.6 * 600 / len(counts)


def test_a_rescored_model_shares_what_its_rule_has_learned():
    for name in FUSED:
        model = model_of(name)
        others = [replace(m, likelihood=likelihoods.Normal(0.5)) for m in model.modalities]
        rescored = model.scored_by(others)
        own, other = (dict(m.named_parameters()) for m in (model, rescored))
        assert all(other[key] is value for key, value in own.items())
