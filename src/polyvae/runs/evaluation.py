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
from polyvae.metrics import METRICS, Evaluation
from polyvae.runs.plan import Plan


def identities(evaluation: Evaluation) -> dict[str, Any]:
    """For the record: which networks the metrics looked through."""
    judge, critic = evaluation.judge, evaluation.critic
    found: dict[str, Any] = {"extractors": {n: reader.weights_sha256 for n, reader in evaluation.extractors.items()}}
    found |= {} if judge is None else {"judge": {"version": judge.version, "sha256": judge.weights_sha256}}
    found |= {} if critic is None else {"critic": critic.weights_sha256}
    return {name: value for name, value in found.items() if value}


Say = Callable[[str], None]  # what is under way, in words


def evaluation_of(plan: Plan, say: Say = lambda text: None) -> Evaluation:
    """The test data of a plan with all that its metrics need; what is trained for it is trained once and cached.

    say: is told what is under way.
    Raises InputError when a metric asks for an extractor that is not at hand, before anything is measured.
    """
    train, config = plan.rows(0), plan.config
    needs = {METRICS[name].needs for name in plan.metrics}
    at_hand = {name: load() for name, load in pretrained.LOADERS.items() if name in needs}
    extras: dict[str, Any] = {"extractors": at_hand}
    if plan.sampler is not None and "judge" in needs:
        say("the judge of this data set (trained once, about a minute)")
        whole = replace(plan.sampler, held_out=0, crop_range=None)  # a judge must read what the model was never shown
        extras["judge"] = judge_for(whole, plan.whole_test)
    if plan.attributes and "judge" in needs:
        say("the judge of this data set (trained once, about a minute)")
        extras["judge"] = attribute_judge_for(plan.whole_train, plan.attributes)
    if "critic" in needs and can_be_criticised(train):
        say("the critic of this data set (trained once, about a minute)")
        extras["critic"] = critic_for(train)
    if plan.sampler is not None and "ood" in plan.metrics:
        of_test = datasets.sampler(config.dataset, split="test", **datasets.options_of(config.dataset, config))
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
