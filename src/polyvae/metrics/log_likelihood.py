"""Log-likelihoods by importance sampling: for each example the log of a mean of weights, in nats.

The mean is over samples of one example. Public code takes it over different examples (`legacy_log_likelihood`), which
overestimates; figure 7 of the paper probably has that.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Unpack

import torch
from torch import Tensor

from polyvae import keys
from polyvae.dataset import MultimodalDataset, chosen_rows, chunks
from polyvae.errors import InputError
from polyvae.gaussian import GaussianMixture, picked
from polyvae.keys import joined
from polyvae.metrics.pairs import Subset, few_pairs
from polyvae.metrics.protocol import Options, Trial, measuring
from polyvae.modality import Batch
from polyvae.models.contract import JointModel, Model, code_draws, has_density, joint
from polyvae.noise import RowNoise, derive_seed

MOST_ROWS = 500  # for all but the joint
BLIND_ROWS, BLIND_SAMPLES, BLIND_POSTERIORS, BLIND_CHUNK = 200, 1000, 500, 50
PAIRWISE = 2**20  # numbers at once: what a cache of a CPU holds
LEGACY_BATCH = 64


def log_likelihood(
    model: Model,
    data: MultimodalDataset,
    train: MultimodalDataset | None = None,
    *,
    samples: int = 12,
    **options: Unpack[Options],
) -> dict[str, float]:
    """Importance estimates with `samples` (K) draws per row, mean over rows, nats per example.

    Returns log_likelihood/ +
    joint: log p(x), drawn from the posterior given everything (paper, figure 7). joint_from/<given>: the same, drawn
    from the posterior given a single modality or all but one: looser, with the same limit.
    modality/<name>: log p(x_name), drawn from its own posterior.
    conditional/<given>: log of the mean likelihood of the other modalities over draws from the posterior given
    `given`: how well the distribution that `generate` draws from fits the truth. <given> as for joint_from.
    unconditional: log p(x) by `blind_log_likelihood`, if there is `train`; joint_of_blind_rows: joint, on its rows.
    samples: K (a mixture draws at least one from each member). complete_rows: how many rows are complete.
    joint_ess: mean effective sample size of the joint weights, (sum w)^2 / sum w^2, in [1, K].
    All but joint are over at most 500 of the rows. In expectation an estimate is below the truth, by less the
    larger K: compare at equal K only.
    modality/<name> counts the rows that have it; all others the rows that have every modality, so that they are about
    the same rows, and are left out where fewer than 2 rows are complete.
    Raises InputError for samples < 1, NotDefined for a model that is not joint.
    """
    if samples < 1:
        raise InputError(f"samples is {samples}; a log-likelihood needs at least 1")
    names, values = model.names, {"samples": float(samples)}
    with measuring(joint(model), data, **options) as trial:
        complete = trial.having(names)
        values["complete_rows"] = float(len(complete.rows))
        for name in names:
            own = trial.having((name,), MOST_ROWS)
            if len(own.rows) >= 2 and has_density(trial.model, (name,)):
                values[f"modality/{name}"] = _mean(_weights(own, "modality", (name,), (name,), samples))
        if len(complete.rows) >= 2:
            importance = _weights(complete, "joint", names, names, samples)
            values |= {"joint": _mean(importance), "joint_ess": float(effective_size(importance).mean())}
            few = complete.having(names, MOST_ROWS)
            given_sets = list(dict.fromkeys(given for given, _ in few_pairs(names, names)))
            predictive = _log_predictive(few, given_sets, samples)
            for given in given_sets:
                if has_density(trial.model, given):
                    values[f"joint_from/{joined(given)}"] = _mean(_weights(few, "from", given, names, samples))
                values[f"conditional/{joined(given)}"] = _mean(predictive[given])
            is_blind = data.covariate is None  # its level would make a row's codes its own
            if is_blind and train is not None and (train.is_complete or has_density(trial.model, names[:1])):
                blind = few.having(names, BLIND_ROWS).rows
                values["unconditional"] = blind_log_likelihood(trial.model, data.rows(blind), train, seed=trial.seed)
                values["joint_of_blind_rows"] = _mean(importance[:, [complete.rows.index(row) for row in blind]])
    return {f"log_likelihood/{key}": value for key, value in values.items()}


def warnings(scores: Mapping[str, float]) -> dict[str, str]:
    """Key -> why it is not there."""
    rows = scores["log_likelihood/complete_rows"]
    return {} if rows >= 2 else {keys.LOG_LIKELIHOOD: f"{rows:.0f} test rows have every modality; 2 are needed"}


def _mean(log_weights: Tensor) -> float:
    return float(log_mean(log_weights).mean())


def log_mean(log_weights: Tensor) -> Tensor:
    """Log of the mean weight of each row: (sample, row) -> (row,)."""
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def effective_size(log_weights: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 of each row: (sample, row) -> (row,)."""
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


@torch.no_grad()
def blind_log_likelihood(
    model: JointModel, data: MultimodalDataset, train: MultimodalDataset, *, samples: int = BLIND_SAMPLES, seed: int = 0
) -> float:
    """Mean log p(x) in nats over at most 200 rows of `data`, from draws of z that have not seen x.

    The proposal is half the prior, half the aggregated posterior of 500 training rows, and shared by all rows, so the
    weights prior / proposal are at most 2. The estimate from a row's own posterior mostly says how well that row is
    reconstructed; this one says how likely it is to be generated. Below the truth in expectation, far below in many
    dimensions: the gap to `joint` is an upper limit.
    """
    batch = data.rows(chosen_rows(len(data), BLIND_ROWS, seed)).batch(slice(None))
    others = train.batch(chosen_rows(len(train), BLIND_POSTERIORS, seed))
    posteriors = model.posterior(others)
    half = samples // 2
    pick = torch.randint(
        len(others.present), (samples - half,), generator=torch.Generator().manual_seed(derive_seed(seed, "blind"))
    )
    pick = pick.to(posteriors.weights.device)
    theirs = GaussianMixture(picked(posteriors.components, (slice(None), pick)), posteriors.weights[pick])
    first, second = (RowNoise(seed, "blind", tuple(range(*ends))) for ends in ((half,), (half, samples)))
    z = torch.cat([model.prior.sample(half, first), theirs.sample(second)])
    aggregated = torch.cat([posteriors.log_prob(part[:, None]).logsumexp(-1) for part in z.split(BLIND_CHUNK)])
    prior = model.prior.log_prob(z)
    proposal = torch.logaddexp(prior, aggregated - math.log(len(others.present))) - math.log(2)
    scores = torch.cat([_pairwise(model, part, batch) for part in z.split(BLIND_CHUNK)])
    return float(log_mean(scores + (prior - proposal)[:, None]).mean())


def legacy_log_likelihood(
    model: Model,
    data: MultimodalDataset,
    *,
    samples: int = 12,
    seed: int = 0,
    flattened: bool = True,
    single_expert: bool = True,
) -> dict[str, float]:
    """log_likelihood/legacy: what the public code behind the paper's figure 7 computes, for comparison only.

    flattened: weights laid out (sample, row) are read as (row, sample), so that the mean runs over 12 different rows of
    a batch of 64: an overestimate. single_expert: a mixture's rows are cut into blocks, one member each, whose density
    alone stands below the line. With both off it is the joint estimate over whole batches.
    Raises NotDefined for a model that is not joint.
    """
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(derive_seed(seed, "legacy"))).tolist()
    whole = [ids for ids in chunks(order, LEGACY_BATCH) if len(ids) == LEGACY_BATCH or len(order) < LEGACY_BATCH]
    means = []
    with measuring(joint(model), data, seed=seed) as trial:
        for ids in whole:
            batch = data.batch(ids)
            posterior = trial.model.posterior(batch)
            if single_expert:
                block = torch.arange(len(ids)) * len(posterior.components.mean) // len(ids)
                chosen = picked(posterior.components, (block[None], torch.arange(len(ids))[None]))
                posterior = GaussianMixture(chosen, torch.ones_like(posterior.weights[:, :1]))
            noise = trial.noise("log_likelihood/legacy", ids)
            weights = trial.model.log_weights(batch, model.names, model.names, samples, noise, posterior)
            means.append(log_mean(weights.reshape(len(ids), -1).T if flattened else weights).mean())
    return {"log_likelihood/legacy": float(torch.stack(means).mean())}


def _weights(trial: Trial[JointModel], purpose: str, given: Subset, targets: Subset, samples: int) -> Tensor:
    """Log importance weights (sample, row), float64."""
    model, parts = trial.model, []
    for ids, batch in trial.batches():
        noise = trial.noise(f"log_likelihood/{purpose}", ids)
        parts.append(model.log_weights(batch, given, targets, samples, noise).double())
    return torch.cat(parts, -1)


def _log_predictive(trial: Trial[JointModel], given_sets: Sequence[Subset], samples: int) -> dict[Subset, Tensor]:
    """given -> log-likelihood of the other modalities at draws from the posterior given it: (sample, row), float64.

    Every row has every modality.
    """
    model = trial.model
    others = {given: tuple(name for name in model.names if name not in given) for given in given_sets}
    parts: dict[Subset, list[Tensor]] = {given: [] for given in given_sets}
    for ids, batch in trial.batches():
        experts = model.encode(batch)
        codes_of = {given: code_draws(model, batch, given, names, experts) for given, names in others.items()}
        scores: dict[Subset, list[Tensor]] = {given: [] for given in given_sets}
        for draw in range(samples):  # all subsets in turn, since they share the noise of a draw
            noise = trial.noise(f"log_likelihood/conditional/{draw}", ids)
            for given, codes in codes_of.items():
                laws = model.decode(codes(noise))
                each = [law.log_prob(batch.values[name]) for name, law in laws.items()]
                scores[given].append(torch.stack(each, -1).sum(-1))
        for given, of_draws in scores.items():
            parts[given].append(torch.stack(of_draws).double())
    return {given: torch.cat(of_batches, -1) for given, of_batches in parts.items()}


def _pairwise(model: JointModel, z: Tensor, batch: Batch) -> Tensor:
    """Log-likelihood of every row at every code: (code, row)."""
    total = torch.zeros(len(z), len(batch.present), device=z.device)
    for column, (name, likelihood) in enumerate(model.decode(dict.fromkeys(model.names, z)).items()):
        values = batch.values[name]
        count = max(1, PAIRWISE // (len(z) * values[0].numel()))
        parts = [likelihood.log_prob(some[:, None]) for some in values.split(count)]  # (row, code)
        total += torch.where(batch.present[:, column], torch.cat(parts).T, 0.0)
    return total
