"""The audit of a trained run: its distortion and rate for every subset, against what is certain (docs/theory.md)."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from polyvae import objectives, subsets
from polyvae.audits.laws import Rows, Truth, truth_of
from polyvae.dataset import chunks
from polyvae.errors import InputError, RunError
from polyvae.models.contract import JointModel, NotDefined, joint
from polyvae.noise import RowNoise
from polyvae.runs.finished import plan_of
from polyvae.runs.run import RunResult
from polyvae.runs.saving import load
from polyvae.runs.store import RunStore
from polyvae.subsets import Listed, SubsetMixture
from polyvae.theory import Line, Measured, certified_lines, discrepancy, known

BATCH = 250
LEAST_ROWS = 10


@dataclass(frozen=True)
class SubsetAudit:
    """One term of S: its weight, distortion and rate, missing = H(X_notA | X_A), and the lines for {(A, 1)}."""

    given: tuple[str, ...]
    weight: float
    measured: Measured
    missing: float
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Audit:
    """A run's numbers beside its data's, in nats; discrete data are scored by probabilities, never by densities.

    log_evidence: E log p(x) of the data's law (from above where is_exact is False). measured: over S.
    lines: what is certain for S; `by_subset` holds the same for every subset alone.
    """

    run_id: str
    law: str
    is_exact: bool
    rows: int
    beta: float
    log_evidence: float
    delta: float
    measured: Measured
    lines: tuple[Line, ...]
    by_subset: tuple[SubsetAudit, ...]

    @property
    def objective(self) -> float:
        """L_S = -(D + R)."""
        return -self.measured.total(1)

    @property
    def eq4_slack(self) -> float:
        """E log p(x) - L_S - Delta, which the paper's eq. 4 says is at least 0; certain only by line 6."""
        return self.log_evidence - self.objective - self.delta

    @property
    def violated(self) -> tuple[Line, ...]:
        return tuple(line for part in (self, *self.by_subset) for line in part.lines if line.is_violated)


def audit(
    run: RunResult | Path | str, *, store: RunStore | Path | str = "runs", rows: int = 1000, seed: int = 0
) -> Audit:
    """Measures a finished run on fresh rows of its data's law and checks the certified lines against it.

    run: a result, a folder, an id or the start of one in `store`. rows: how many fresh rows (all values of x instead,
    if there are fewer). MVAE+ is audited at S = {all}: Delta is not defined for its terms.
    Raises InputError for data whose entropies are not known, RunError if a certain line is violated beyond Monte Carlo
    error: that is a bug, in the model, the data or here.
    """
    if rows < LEAST_ROWS:
        raise InputError(f"rows {rows} must be at least {LEAST_ROWS}, for a standard error that can be trusted")
    place = store if isinstance(store, RunStore) else RunStore(store)
    folder = run.folder if isinstance(run, RunResult) else place.existing(str(run))
    plan = plan_of(folder)
    truth = truth_of(plan)
    try:
        model = joint(load(folder).to(plan.device))
    except NotDefined as reason:
        raise InputError(f"run {folder.name} cannot be audited: {reason}") from reason
    S = model.mixture if model.mixture.is_bound else subsets.mvae(model.names)
    fresh = truth.draw(rows, np.random.default_rng([6, seed]))
    result = audit_model(model, S, truth, fresh.to(plan.device), beta=plan.config.beta, seed=seed, run_id=folder.name)
    if result.violated:
        worst = min(result.violated, key=lambda line: line.slack)
        raise RunError(
            f"run {folder.name} violates line {worst.number}, {worst.statement}: {worst.value:.3f} < {worst.bound:.3f} "
            f"(standard error {worst.error:.3f}). This is certain to hold, so it is a bug; please report it"
        )
    return result


def audit_model(
    model: JointModel, S: SubsetMixture, truth: Truth, fresh: Rows, *, beta: float, seed: int, run_id: str = ""
) -> Audit:
    """`audit` of a given model, on the `fresh` rows of the law; violations are reported, not raised."""
    scored = model.scored_by(truth.modalities)
    law, delta = known(truth.entropies, S), discrepancy(truth.entropies, S)
    parts, losses = [], []
    for term in S.terms:
        alone = Listed(S.names, (replace(term, weight=1.0),))
        values = _values(scored, alone, fresh, seed)
        unseen = {term.given: truth.unseen(term.given)}
        measured = _measured(values, fresh)
        lines = certified_lines(law, alone, measured, beta, unseen)
        if truth.least_losses is not None:
            loss = _measured(_values(model, alone, fresh, seed), fresh)
            losses.append((term.weight, loss, sum(truth.least_losses(term.given).values())))
            lines += (_line7(loss, losses[-1][2]),)
        parts.append((term, values, SubsetAudit(term.given, term.weight, measured, discrepancy(law, alone), lines)))
    by_subset = tuple(part for _, _, part in parts)
    whole = _measured(sum(term.weight * values for term, values, _ in parts), fresh)
    lines = certified_lines(law, S, whole, beta, {part.given: truth.unseen(part.given) for part in by_subset})
    if losses:
        total = Measured(*(sum(w * loss[i] for w, loss, _ in losses) for i in range(4)))
        lines += (_line7(total, sum(w * bound for w, _, bound in losses)),)
    return Audit(
        run_id, truth.description, truth.is_exact, len(fresh.data), beta, -law.joint, delta, whole, lines, by_subset
    )


def _line7(loss: Measured, bound: float) -> Line:
    return Line(7, "D in units of the Laplace loss >= its floor", loss.distortion, bound, loss.distortion_error)


def _values(model: JointModel, alone: SubsetMixture, fresh: Rows, seed: int) -> np.ndarray:
    """Distortion and rate of every row under one term: (repeat, row, 2); repeats draw z anew for complete rows."""
    repeats = max(2, min(50, 5000 // len(fresh.data))) if fresh.is_complete else 1
    count = len(fresh.data)
    values = np.empty((repeats, count, 2))
    with torch.no_grad():
        for repeat in range(repeats):
            for ids in chunks(range(count), BATCH):
                noise = RowNoise(seed, f"audit/{'+'.join(alone.terms[0].given)}/{repeat}", ids)
                batch = fresh.data.batch(list(ids))
                bound = objectives.elbo(model, batch, alone, allocation="exact", generator=noise)
                pair = torch.stack([-bound.log_likelihood.double().sum(-1), bound.kl.double()], -1)
                values[repeat, list(ids)] = pair.cpu().numpy()
    return values


def _measured(values: np.ndarray, fresh: Rows) -> Measured:
    """Means over the law with standard errors: over z alone for complete rows, over rows for a sample."""
    means = np.einsum("rni,n->ri", values, fresh.weight)
    each = means if fresh.is_complete else values[0]
    error = each.std(0, ddof=1) / np.sqrt(len(each))
    distortion, rate = means.mean(0)
    return Measured(float(distortion), float(rate), float(error[0]), float(error[1]))
