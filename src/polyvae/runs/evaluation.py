"""What the metrics of a plan need, made ready: the judge, the critic, pretrained extractors, shifted inputs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from polyvae import datasets, files
from polyvae.datasets.polymnist.shifted import shifted
from polyvae.judges import pretrained
from polyvae.judges.attributes import attribute_judge_for
from polyvae.judges.critic import can_be_criticised, critic_for
from polyvae.judges.digits import judge_for
from polyvae.judges.extractors import AttributeJudge, Judge
from polyvae.judges.labelled import can_be_judged, labelled_judge_for
from polyvae.metrics import METRICS, Evaluation
from polyvae.runs.plan import Plan
from polyvae.runs.rows import generator_options


def identities(evaluation: Evaluation) -> dict[str, Any]:
    """For the record: which networks the metrics looked through."""
    judge, critic = evaluation.judge, evaluation.critic
    found: dict[str, Any] = {"extractors": {n: reader.weights_sha256 for n, reader in evaluation.extractors.items()}}
    found |= {} if judge is None else {"judge": {"version": judge.version, "sha256": judge.weights_sha256}}
    found |= {} if critic is None else {"critic": critic.weights_sha256}
    return {name: value for name, value in found.items() if value}


Say = Callable[[str], None]  # what is under way, in words


def judge_of(plan: Plan, say: Say) -> Judge | AttributeJudge | None:
    """The judge of a plan's data set: of its generator, of what its captions name, or of its labels; None without."""
    if plan.sampler is None and not plan.attributes and not can_be_judged(plan.whole_train, plan.whole_test):
        return None
    say("the judge of this data set (trained once, at most about a minute)")
    if plan.sampler is not None:
        whole = replace(plan.sampler, held_out=0, crop_range=None)  # a judge must read what the model was never shown
        return judge_for(whole, plan.whole_test)
    if plan.attributes:
        return attribute_judge_for(plan.whole_train, plan.attributes)
    return labelled_judge_for(plan.whole_train, plan.whole_test)


def evaluation_of(plan: Plan, say: Say = lambda text: None) -> Evaluation:
    """The test data of a plan with all that its metrics need; what is trained for it is trained once and cached.

    say: is told what is under way.
    Raises InputError when a metric asks for an extractor that is not at hand, before anything is measured.
    """
    train, config = plan.rows(0), plan.config
    needs = {METRICS[name].needs for name in plan.metrics}
    at_hand = {name: source.load() for name, source in pretrained.EXTRACTORS.items() if name in needs}
    extras: dict[str, Any] = {"extractors": at_hand}
    if "judge" in needs:
        extras["judge"] = judge_of(plan, say)
    if "critic" in needs and can_be_criticised(train):
        say("the critic of this data set (trained once, about a minute)")
        extras["critic"] = critic_for(train)
    if plan.sampler is not None and "ood" in plan.metrics:
        of_test = datasets.sampler(config.dataset, split="test", **generator_options(config))
        if of_test is not None:
            found = shifted(of_test, plan.modalities, config.data_seed, config.data_dir)
            extras["shifted"] = {name: data.to(plan.device) for name, data in found.items()}
    return Evaluation(
        plan.test,
        train,
        seed=config.seed,
        beta=config.beta,
        samples=config.importance_samples,
        cache=files.cache_dir(),
        **extras,
    )
