"""Latent diffusion: its schedule, loss and sampler against Gaussian codes, whose every score is known, and its stages.

Codes N(mean, covariance) have, at times t, the expected noise sigma (A covariance A + S^2)^-1 (z - A mean), A and S
diagonal with alpha and sigma of every dimension; a time of 0 conditions on a modality, a time of 1 takes it away.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import polyvae as pv
from polyvae import Batch, InputError, noise
from polyvae.cli import main
from polyvae.methods import METHODS
from polyvae.models import diffusion
from polyvae.models.diffusion import clean_subsets, sample, shares, time_of
from polyvae.models.mld import Options
from polyvae.noise import RowNoise
from polyvae.runs.plan import make_plan
from polyvae.runs.stages import stages_of
from polyvae.training.loop import exhausted, steps
from support.training import Stop

NAMES = ("m0", "m1", "m2")
TOY = pv.RunConfig(
    dataset="toy", modalities=3, method="mld", train_size=40, test_size=20, batch_size=16, epochs=4, latent_dim=3,
    method_options="width=16,depth=1", metrics="none",
)  # fmt: skip
GAPS = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=torch.bool)


def gaussian_codes(modalities=3, latent=2):
    """Mean and covariance of correlated codes of variance 1."""
    size = modalities * latent
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(size, size, generator=generator, dtype=torch.float64) + torch.eye(size, dtype=torch.float64)
    covariance = mixing @ mixing.T
    sd = covariance.diagonal().sqrt()
    mean = torch.randn(size, generator=generator, dtype=torch.float64)
    return mean, covariance / sd[:, None] / sd


def exact(mean, covariance):
    """The denoiser of such codes."""

    def expected(codes, times):
        rows, _, latent = codes.shape
        alpha, sigma = (part.repeat_interleave(latent, -1) for part in shares(times))
        total = alpha[:, :, None] * covariance * alpha[:, None] + torch.diag_embed(sigma.square())
        apart = codes.reshape(rows, -1) - alpha * mean
        return (sigma * torch.linalg.solve(total, apart)).view_as(codes)

    return expected


def moments(expected, codes, known, steps, unknown):
    """Mean and covariance of what is drawn: it is affine in the Normal numbers, so that none need be drawn."""
    size = codes[0].numel()
    starts = torch.cat([torch.zeros(1, size), torch.eye(size)]).double().view(-1, *codes.shape[1:])
    drawn = sample(expected, codes.expand_as(starts), known.expand(len(starts), -1), starts, steps).flatten(1)
    mean, root = drawn[0, unknown], drawn[1:, unknown] - drawn[0, unknown]
    return mean, root.T @ root


def test_the_schedule_is_that_of_beta():
    """-log alpha^2 is the integral of beta, which grows from .1 to 20."""
    time = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    beta = 0.1 + 19.9 * time
    integral = torch.cumulative_trapezoid(beta, time)
    alpha, sigma = shares(time)
    torch.testing.assert_close(-2 * alpha[1:].log(), integral, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones_like(time))
    torch.testing.assert_close(time_of(diffusion.lost(time)), time)
    assert (alpha[0], sigma[0]) == (1, 0)


def test_with_the_exact_score_samples_have_mean_and_covariance_of_the_codes():
    """T12. The error falls with the square of the number of steps, to that of starting from N(0, I) at time 1."""
    mean, covariance = gaussian_codes()
    codes, known = torch.zeros(1, 3, 2).double(), torch.zeros(1, 3, dtype=torch.bool)
    errors = []
    for count in (50, 100, 200):
        found, spread = moments(exact(mean, covariance), codes, known, count, slice(None))
        torch.testing.assert_close(found, mean, rtol=0, atol=0.02)
        errors.append((spread - covariance).abs().max().item())
    assert errors[0] < 0.02
    assert errors[1] < errors[0] / 2.5
    assert errors[2] < errors[1] / 2.5


@pytest.mark.parametrize("given", [(0,), (2,), (0, 1), (1, 2)])
def test_what_is_drawn_given_something_has_the_conditional_moments(given):
    """T12: mean_u + C_ug C_gg^-1 (g - mean_g), and the Schur complement."""
    mean, covariance = gaussian_codes()
    known = torch.tensor([[index in given for index in range(3)]])
    is_given = known[0].repeat_interleave(2)
    codes = torch.randn(1, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    gain = torch.linalg.solve(covariance[is_given][:, is_given], covariance[is_given][:, ~is_given]).T
    wanted = mean[~is_given] + gain @ (codes.flatten()[is_given] - mean[is_given])
    left = covariance[~is_given][:, ~is_given] - gain @ covariance[is_given][:, ~is_given]
    codes = torch.where(known[..., None], codes, torch.nan)  # what is not given is not looked at
    found, spread = moments(exact(mean, covariance), codes, known, 400, ~is_given)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.02)
    torch.testing.assert_close(spread, left, rtol=0.02, atol=2e-3)
    drawn = sample(exact(mean, covariance), codes, known, torch.ones_like(codes), 5)
    assert torch.equal(drawn[known], codes[known])


def test_rows_do_not_depend_on_their_batch():
    mean, covariance = gaussian_codes()
    codes, standard = torch.randn(2, 7, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    denoiser = exact(mean, covariance)
    together = sample(denoiser, codes, GAPS, standard, 10)
    for row in range(7):
        here = slice(row, row + 1)
        torch.testing.assert_close(together[here], sample(denoiser, codes[here], GAPS[here], standard[here], 10))


def test_the_order_of_modalities_does_not_matter():
    """T10, for loss and sampler: with modalities turned round, of codes, of noise and of the denoiser."""
    mean, covariance = gaussian_codes()
    order = torch.tensor([2, 0, 1])
    place = torch.arange(6).view(3, 2)[order].flatten()
    codes, standard = torch.randn(2, 7, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turned = exact(mean[place], covariance[place][:, place])
    drawn = sample(exact(mean, covariance), codes, GAPS, standard, 10)
    torch.testing.assert_close(drawn[:, order], sample(turned, codes[:, order], GAPS[:, order], standard[:, order], 10))
    with pytest.MonkeyPatch.context() as patch:
        losses = []
        for denoiser, rearranged in ((exact(mean, covariance), slice(None)), (turned, order)):
            patch.setattr(noise, "normal", lambda *_, r=rearranged: standard[:, r].flatten(1))
            rows = codes[:, rearranged] * GAPS[:, rearranged, None]
            losses.append(diffusion.loss(denoiser, rows, GAPS[:, rearranged], torch.full((7,), 0.3).double(), 0.0))
    torch.testing.assert_close(*losses)


def test_a_row_with_a_gap_has_the_loss_of_the_model_without_the_modality(monkeypatch):
    """T10: with exact scores, up to the .7 % of the signal that are left at time 1."""
    mean, covariance = gaussian_codes()
    codes, standard = torch.randn(2, 5, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    monkeypatch.setattr(noise, "normal", lambda source, rows, width, like: standard.flatten(1)[:, :width])
    time = torch.linspace(0.05, 0.9, 5, dtype=torch.float64)
    present = torch.tensor([True, True, False]).expand(5, -1)
    whole = diffusion.loss(exact(mean, covariance), codes * present[..., None], present, time, 0.0)
    part = diffusion.loss(exact(mean[:4], covariance[:4, :4]), codes[:, :2], present[:, :2], time, 0.0)
    torch.testing.assert_close(whole, part, rtol=0.02, atol=0.02)
    alone = diffusion.loss(exact(mean, covariance), codes, torch.ones_like(present), time, 0.0)
    assert (alone - part).abs().max() > 0.1


def test_every_proper_subset_of_what_a_row_has_stays_clean_equally_often():
    count, share = 60_000, 0.25
    u = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    for present in GAPS:
        clean = clean_subsets(present.expand(count, -1), share, u)
        assert not (clean & ~present).any()
        patterns, times = clean[clean.any(-1)].unique(dim=0, return_counts=True)
        proper = max(2 ** int(present.sum()) - 2, 0)
        assert len(patterns) == proper
        assert not proper or torch.equal(times, torch.full((proper,), int(share * count / proper)))
        assert not (patterns == present).all(-1).any()


class PerPattern(nn.Module):
    """A linear map of two codes for each of four times of two modalities: both noised, one clean, one absent."""

    def __init__(self, time):
        super().__init__()
        self.times = torch.tensor([[time, time], [0.0, time], [time, 0.0], [time, 1.0]]).double()
        self.weight = nn.Parameter(torch.zeros(4, 2, 2).double())

    def forward(self, codes, times):
        which = (times[:, None] == self.times).all(-1).double()
        assert which.sum(-1).eq(1).all()
        return torch.einsum("np,pij,njk->nik", which, self.weight, codes)


@pytest.mark.parametrize("time", [0.1, 0.4])
def test_linear_networks_trained_by_the_loss_land_on_the_scores(time):
    """T12: joint, conditional, and of rows with a gap. Codes of variance 1 and correlation .8, 40,000 of them."""
    rows, correlation = 40_000, 0.8
    generator = torch.Generator().manual_seed(0)
    standard = torch.randn(rows, 2, generator=generator, dtype=torch.float64)
    covariance = torch.tensor([[1, correlation], [correlation, 1]]).double()
    codes = (standard @ torch.linalg.cholesky(covariance).T)[..., None]
    present = torch.ones(rows, 2, dtype=torch.bool)
    present[: rows // 4, 1] = False
    codes = codes * present[..., None]
    model = PerPattern(time)
    optimiser = torch.optim.LBFGS(model.parameters(), max_iter=60, tolerance_change=1e-10)

    def closure():
        optimiser.zero_grad()
        numbers = torch.Generator().manual_seed(1)
        value = diffusion.loss(model, codes, present, torch.full((rows,), time).double(), 0.6, numbers).mean()
        value.backward()
        return value

    optimiser.step(closure)
    alpha, sigma = (part.item() for part in shares(torch.tensor(time, dtype=torch.float64)))
    a2, s2, r = alpha**2, sigma**2, correlation
    both = sigma * torch.linalg.inv(a2 * covariance + s2 * torch.eye(2).double())
    left = a2 * (1 - r * r) + s2  # variance of the other one given a clean code
    wanted = torch.stack([
        both,
        torch.tensor([[0, 0], [-alpha * r * sigma / left, sigma / left]]).double(),
        torch.tensor([[sigma / left, -alpha * r * sigma / left], [0, 0]]).double(),
        torch.tensor([[sigma, 0], [0, 0]]).double(),  # a marginal of variance 1
    ])  # fmt: skip
    torch.testing.assert_close(model.weight.detach(), wanted, rtol=0, atol=0.04)
    assert (model.weight[3] - both).abs().max() > 0.1, "a row with a gap has another score than a whole one"


def test_the_untrained_network_is_right_for_standard_normal_codes():
    network = diffusion.DenoisingNetwork(3, 2, 16, 1, 8).double()
    codes = torch.randn(7, 3, 2, dtype=torch.float64)
    times = torch.rand(7, 3, dtype=torch.float64)
    wanted = exact(torch.zeros(6).double(), torch.eye(6).double())(codes, times)
    torch.testing.assert_close(network(codes, times), wanted)


@pytest.mark.slow
def test_the_network_learns_a_gaussian():
    """T12: trained on two correlated codes, it draws them, and one given the other, with their moments."""
    correlation = 0.8
    mean, covariance = torch.zeros(2).double(), torch.tensor([[1, correlation], [correlation, 1]]).double()
    torch.manual_seed(0)
    network = diffusion.DenoisingNetwork(2, 1, 64, 2, 16)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 3000)
    root, present = torch.linalg.cholesky(covariance).float(), torch.ones(512, 2, dtype=torch.bool)
    for _ in range(3000):
        codes = (torch.randn(512, 2) @ root.T)[..., None]
        optimiser.zero_grad()
        diffusion.loss(network, codes, present, torch.rand(512), 0.3).mean().backward()
        optimiser.step()
        schedule.step()
    rows = 20_000
    standard, known = torch.randn(rows, 2, 1), torch.zeros(rows, 2, dtype=torch.bool)
    drawn = sample(network, torch.zeros(rows, 2, 1), known, standard, 50).detach()[..., 0].double()
    torch.testing.assert_close(drawn.mean(0), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(drawn.T.cov(), covariance, rtol=0, atol=0.06)
    known[:, 0] = True
    for value in (-1.0, 0.5):
        given = sample(network, torch.full((rows, 2, 1), value), known, standard, 50).detach()[:, 1, 0]
        assert given.mean().item() == pytest.approx(correlation * value, abs=0.06)
        assert given.std().item() == pytest.approx(math.sqrt(1 - correlation**2), abs=0.06)


def trained(folder, config=TOY, stop_at=(), gaps=False):
    """The model and its history, trained with interruptions; weights after its first stage."""
    plan = make_plan(config)
    data = plan.train
    if gaps:
        data = replace(data, present=GAPS[torch.arange(len(data)) % len(GAPS)])
    for last in (*stop_at, None):
        model, after = plan.build(), {}
        stages = stages_of(plan, model)

        def on_step(done, total, loss, last=last, model=model, after=after):
            if done == 2:  # of the first epoch, all that stage 1 has
                after.update({name: value.clone() for name, value in model.state_dict().items()})
            if done == last:
                raise Stop

        try:
            rows = lambda epoch: data  # noqa: E731
            exhausted(steps(model, stages, rows, None, config, folder, checkpoint_seconds=0.0, on_step=on_step))
        except Stop:
            continue
    return model, (folder / "history.jsonl").read_text(), after, data


def test_an_interrupted_run_ends_like_an_undisturbed_one(tmp_path):
    """In either stage, and between them."""
    (whole, *_), (other, *_) = trained(tmp_path / "whole"), trained(tmp_path / "other", TOY.with_(seed=1))
    for stop_at in ((1,), (2,), (3, 5)):
        model, *_ = trained(tmp_path / str(stop_at), stop_at=stop_at)
        for name, value in whole.state_dict().items():
            assert torch.equal(value, model.state_dict()[name]), (stop_at, name)
    assert not torch.equal(whole.network.into.weight, other.network.into.weight)


def test_each_stage_trains_its_own_and_codes_are_standardised_over_all_rows(tmp_path):
    """T11; the statistics are of those rows that have the modality."""
    model, history, after, data = trained(tmp_path, gaps=True)
    assert [line.split('"stage": "')[1].split('"')[0] for line in history.splitlines()] == ["autoencoders"] + 4 * [
        "diffusion"
    ]
    fresh = make_plan(TOY).build().state_dict()
    for name, value in model.state_dict().items():
        if name.startswith("autoencoders."):
            assert torch.equal(value, after[name]), f"stage 2 has changed {name}"
        elif name.startswith("network."):
            assert torch.equal(fresh[name], after[name]), f"stage 1 has changed {name}"
    assert not torch.equal(fresh["network.out.2.weight"], model.state_dict()["network.out.2.weight"])
    assert not torch.equal(fresh["autoencoders.encoders.m0.1.weight"], after["autoencoders.encoders.m0.1.weight"])
    codes = model.codes(data.batch(slice(None)))
    for index in range(3):
        seen = codes[data.present[:, index], index]
        torch.testing.assert_close(seen.mean(0), torch.zeros(3), rtol=0, atol=1e-4)
        torch.testing.assert_close(seen.var(0, correction=0), torch.ones(3), rtol=1e-3, atol=0)
        assert not codes[~data.present[:, index], index].any()


@pytest.mark.parametrize("given", [("m0",), ("m1", "m2"), NAMES])
def test_autoencoders_know_nothing_of_what_is_absent(given):
    """T10, stage 1: loss and gradient are those of the model without the modality; its likelihoods are theirs alone."""
    found = {}
    for key, names in (("whole", NAMES), ("part", given)):
        plan = make_plan(TOY)
        blueprint = replace(
            plan.blueprint,
            modalities=tuple(m for m in plan.modalities if m.name in names),
            mixture=METHODS["mld"].mixture(names),
        )
        model = pv.models.build(blueprint)
        batch = plan.train.batch(slice(0, 6))
        present = torch.tensor([[name in given for name in names]]).expand(6, -1)
        rows = Batch({name: batch.values[name] for name in names}, present)
        objective = METHODS["mld"].stages[0].objective
        bound = objective(model, rows, None, beta=1.0, weights=torch.ones(len(names)), generator=None)
        bound.loss.backward()
        codes = {n: model.autoencoders.encoders[n](batch.values[n])[0] for n in given}
        scores = [law.log_prob(batch.values[n]) for n, law in model.decode(codes).items()]
        torch.testing.assert_close(-bound.loss, sum(scores).mean())
        found[key] = {"loss": bound.loss} | {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    for key, value in found["part"].items():
        torch.testing.assert_close(found["whole"][key], value)
    assert all(not found["whole"][key].any() for key in set(found["whole"]) - set(found["part"]))


def test_averaged_weights_follow_quickly_then_slowly_and_draw():
    model = make_plan(TOY).build()
    with torch.no_grad():
        model.network.into.bias.fill_(1.0)
        model.average.into.bias.zero_()
    model.follow()
    torch.testing.assert_close(model.average.into.bias, torch.full((16,), 0.9))
    model.updates.fill_(1e6)
    model.follow()
    torch.testing.assert_close(model.average.into.bias, torch.full((16,), 0.9 * 0.999 + 0.001))
    assert model.train().denoiser is model.network
    assert model.eval().denoiser is model.average
    before = model.prior_codes(3, torch.Generator().manual_seed(0))
    with torch.no_grad():
        model.network.out[-1].bias.fill_(5.0)
    assert torch.equal(before["m1"], model.prior_codes(3, torch.Generator().manual_seed(0))["m1"])


def test_what_is_given_keeps_its_code_and_noise_belongs_to_rows(tmp_path):
    model, _, _, data = trained(tmp_path, gaps=True)
    model.eval()
    batch, ids = data.batch(slice(0, 7)), tuple(range(7))
    drawn = model.posterior_codes(batch, ("m0", "m1"), NAMES, RowNoise(0, "test", ids))
    assert tuple(drawn) == NAMES
    other = model.posterior_codes(batch, ("m0", "m1"), NAMES, RowNoise(1, "test", ids))
    for index, name in enumerate(NAMES):
        own = batch.present[:, index] & (index < 2)
        encoded = model.autoencoders.encoders[name](batch.values[name])[0]
        torch.testing.assert_close(drawn[name][own], encoded[own], rtol=1e-4, atol=1e-5)
        assert not torch.isclose(drawn[name][~own], other[name][~own]).all(-1).any()
    alone = model.posterior_codes(data.batch([3]), ("m0", "m1"), ("m2",), RowNoise(0, "test", (3,)))
    torch.testing.assert_close(alone["m2"][0], drawn["m2"][3], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"cannot condition on \['m9'\]"):
        model.posterior_codes(batch, ("m9",), NAMES)


@pytest.mark.slow
def test_a_run_on_gaps_is_scored_and_loaded_and_says_what_has_no_meaning(tmp_path, capsys):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(120, 3)).astype("float32") for name in NAMES}
    arrays |= {f"{name}.mask": rng.random(120) > 0.3 for name in NAMES[1:]}
    np.savez(tmp_path / "mine.npz", **arrays)
    config = pv.RunConfig(
        dataset="arrays", data=str(tmp_path / "mine.npz"), method="mld", latent_dim=2, epochs=2,
        method_options="width=16,depth=1,steps=5",
    )  # fmt: skip
    result = pv.run(config, tmp_path / "runs")
    assert "objective/loss" in result.metrics
    assert any(key.startswith("imputation/") for key in result.metrics)
    assert all(np.isfinite(value) for value in result.metrics.values())
    for name in ("bound", "latent", "log_likelihood"):
        assert "no joint posterior" in result.notes[name]
    for command in ("fit-prior", "generate --prior gmm", "evaluate --prior gmm --metrics bound"):
        name, *flags = command.split()
        with pytest.raises(SystemExit):
            main([name, result.run_id, *flags, "--store", str(tmp_path / "runs")])
        shown = "".join(capsys.readouterr())
        assert "cannot have a fitted prior: the model has no joint posterior" in shown
        assert "about a minute" not in shown
        assert "make it with" not in shown
    model = result.load()
    rows = Batch({name: torch.from_numpy(arrays[name][:5]) for name in NAMES})
    for given in (NAMES, NAMES[:1], NAMES[1:]):
        assert all(v.isfinite().all() for v in model.generate(rows, given).values())
    seeded = [pv.load(result.folder).generate(4, generator=torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(seeded[0]["m2"], seeded[1]["m2"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clean": 1.0}, "clean=1.0: it must be at least 0 and below 1"),
        ({"steps": 0}, "steps=0: it must be at least 1"),
        ({"width": -1}, "width=-1: it must be"),
    ],
)
def test_options_have_ranges(values, message):
    with pytest.raises(InputError, match=f"--method-options {message}"):
        Options(**values)
