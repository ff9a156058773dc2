"""What the metrics of a plan need, made ready: the judge, the critic, pretrained extractors, shifted inputs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from polyvae import datasets, files, metrics
from polyvae.datasets.polymnist.shifted import shifted
from polyvae.judges import pretrained
from polyvae.judges.attributes import attribute_judge_for
from polyvae.judges.critic import can_be_criticised, critic_for
from polyvae.judges.digits import judge_for
from polyvae.judges.extractors import AttributeJudge, Judge
from polyvae.judges.labelled import labelled_judge_for
from polyvae.metrics import METRICS, Evaluation
from polyvae.metrics.protocol import BatchLoss
from polyvae.models import TrainableModel
from polyvae.runs.plan import Plan
from polyvae.runs.record import Resolved

Say = Callable[[str], None]  # what is under way, in words


@dataclass(frozen=True)
class Scores:
    """metrics and notes by key; resolved: how they were made, such as by which judge, and nothing else."""

    metrics: dict[str, float]
    notes: dict[str, str]
    resolved: Resolved


def score(plan: Plan, model: TrainableModel, evaluation: Evaluation, say: Say) -> Scores:
    """The metrics of the plan, of a trained model on the plan's device."""
    values, notes = metrics.evaluate(model, evaluation, plan.metrics, say)
    samples = {name: plan.config.importance_samples for name in plan.metrics if METRICS[name].is_sampled}
    judge, critic = evaluation.judge, evaluation.critic
    resolved = Resolved(
        metrics=plan.metrics,
        importance_samples=samples,
        extractors={name: reader.weights_sha256 for name, reader in evaluation.extractors.items()},
        judge=None if judge is None else {"version": judge.version, "sha256": judge.weights_sha256},
        critic=None if critic is None else critic.weights_sha256,
    )
    return Scores(values, notes, resolved)


def judge_of(plan: Plan, say: Say) -> Judge | AttributeJudge | None:
    """The judge of a plan's data set: by its generator, else its captions, else its labels; None without any."""
    if not plan.has_judge:
        return None
    say("the judge of this data set (trained once, at most about a minute)")
    if plan.sampler is not None:
        whole = replace(plan.sampler, held_out=0, crop_range=None)  # a judge must read what the model was never shown
        return judge_for(whole, plan.whole_test, device=plan.device)
    if plan.attributes:
        return attribute_judge_for(plan.whole_train, plan.attributes, device=plan.device)
    train, test = (data.held(plan.config.data_seed) for data in (plan.whole_train, plan.whole_test))
    return labelled_judge_for(train, test, device=plan.device)


def evaluation_of(plan: Plan, objective: BatchLoss | None = None, say: Say = lambda text: None) -> Evaluation:
    """The test data of a plan with all that its metrics need; what is trained for it is trained once and cached.

    objective: of the trained model, in nats. say: is told what is under way.
    Raises InputError when a metric asks for an extractor that is not at hand, before anything is measured.
    """
    train, config = plan.train.held(plan.config.data_seed), plan.config
    needs = {METRICS[name].needs for name in plan.metrics}
    at_hand = {name: source.load() for name, source in pretrained.EXTRACTORS.items() if name in needs}
    extras: dict[str, Any] = {"extractors": at_hand}
    if "judge" in needs:
        extras["judge"] = judge_of(plan, say)
    if "critic" in needs and can_be_criticised(train):
        say("the critic of this data set (trained once, about a minute)")
        extras["critic"] = critic_for(train, device=plan.device)
    if plan.sampler is not None and "ood" in plan.metrics:
        of_test = datasets.sampler(config.dataset, split="test", **datasets.options_of(config.dataset, config))
        if of_test is not None:
            inputs = shifted(of_test, plan.modalities, config.data_seed, config.data_dir)
            extras["shifted"] = {name: data.to(plan.device) for name, data in inputs.items()}
    return Evaluation(
        plan.test,
        train,
        validation=plan.validation,
        objective=objective,
        seed=config.seed,
        beta=config.beta,
        samples=config.importance_samples,
        cache=files.cache_dir(),
        **extras,
    )
