"""From facts and a need to a ranking of methods with reasons, settings and commands."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from polyvae.advice.facts import Facts
from polyvae.advice.rules import JOINT, NOTES, NOTHING_SHARED, RULES, SETTINGS, Need, Rule
from polyvae.methods import METHODS, cost
from polyvae.runs.suited import METHOD

SHOWN = 5
UNIMODAL, BASELINE = "unimodal", "mvae"


@dataclass(frozen=True)
class Choice:
    """A method, its points, the reasons behind them, its flags of `polyvae run`, and the reasons behind those.

    cost: modalities encoded and decoded per row and step, relative to the cheapest recommended method.
    """

    method: str
    points: int
    cost: float
    reasons: tuple[str, ...]
    flags: tuple[str, ...]
    settings: tuple[str, ...]


@dataclass(frozen=True)
class Advice:
    """choices: at most five methods, the best first. against: methods advised against. notes: for any method.

    first: the commands for the best method, in order; RUN stands for its run. commands: those of all methods and
    baselines, and what follows them.
    """

    need: Need
    choices: tuple[Choice, ...]
    against: tuple[Choice, ...]
    notes: tuple[str, ...]
    first: tuple[str, ...]
    commands: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        def listed(choices: Sequence[Choice]) -> list[dict[str, Any]]:
            return [
                {name: list(value) if isinstance(value, tuple) else value for name, value in vars(choice).items()}
                for choice in choices
            ]

        advised = {"advised": listed(self.choices), "advised_against": listed(self.against)}
        commands = {"first": list(self.first), "commands": list(self.commands)}
        return {"need": self.need, **advised, "notes": list(self.notes), **commands}


def advise(facts: Facts, need: Need, data_flags: Sequence[str] = ("--data", "FILE")) -> Advice:
    """Ranks methods by their points, then by cost. data_flags: the flags of `polyvae run` that name the data."""
    ruled = [name for name in (UNIMODAL, *JOINT) if _rules_for(name, facts, need)]
    scored = [_choice(name, facts, need) for name in ruled]
    best = sorted((c for c in scored if c.points > 0), key=lambda c: (-c.points, c.cost))[:SHOWN]
    least = min((choice.cost for choice in best), default=1.0)
    choices = tuple(replace(choice, cost=choice.cost / least) for choice in best)
    against = tuple(choice for choice in scored if choice.points < 0)
    alone = (
        f"{name} shares nothing that matters with the others: leave it out, or train it alone."
        for name in facts.names
        if facts.sharing == "something" and facts.sharing_of(name) == "nothing"
    )
    notes = (note.said(facts) for note in NOTES if note.holds(facts, need))
    training, then = _training(facts, need, choices, data_flags), _afterwards(facts, need, data_flags)
    return Advice(need, choices, against, (*alone, *notes), (training[0], *then), (*training, *then))


def _rules_for(name: str, facts: Facts, need: Need) -> list[Rule]:
    table = NOTHING_SHARED if facts.sharing == "nothing" else RULES
    return [rule for rule in table if name in rule.methods and rule.holds(facts, need)]


def _choice(name: str, facts: Facts, need: Need) -> Choice:
    rules = _rules_for(name, facts, need)
    settings = [s for s in SETTINGS if (not s.methods or name in s.methods) and s.holds(facts, need)]
    chosen = {flag: (value, setting) for setting in settings for flag, value in setting.flags.items()}
    words = (setting.said([flag for flag in chosen if chosen[flag][1] is setting]) for setting in settings)
    models = facts.count if METHODS[name].is_single else 1
    return Choice(
        name,
        sum(rule.points for rule in rules),
        models * sum(cost(METHODS[name], facts.names)),
        tuple(rule.said(facts) for rule in sorted(rules, key=lambda rule: -abs(rule.points))),
        tuple(chain(*((flag, value) for flag, (value, _) in chosen.items()))),
        tuple(filter(None, words)),
    )


def _training(facts: Facts, need: Need, choices: Sequence[Choice], data_flags: Sequence[str]) -> list[str]:
    """A run of each recommended method, then of the baselines. Single modalities are a shell loop."""
    named = {choice.method: choice.flags for choice in choices}
    others = {name: _choice(name, facts, need).flags for name in (BASELINE, UNIMODAL) if name not in named}
    commands = []
    for method, flags in (named | others).items():
        is_default = method == METHOD and "--data" in data_flags  # which the run chooses for such data
        command = _command("run", *data_flags, *(() if is_default else ("--method", method)), *flags)
        if METHODS[method].is_single:
            command = f'for name in {shlex.join(facts.names)}; do {command} --only "$name"; done'
        commands.append(command)
    return commands


def _afterwards(facts: Facts, need: Need, data_flags: Sequence[str]) -> list[str]:
    first, *rest = facts.names
    report = _command("report")
    if need == "imputation" and "--data" in data_flags:
        file = data_flags[data_flags.index("--data") + 1]
        return [_command("impute", "RUN", "--data", file), report]
    if need == "coherence":
        judged = [] if facts.is_labelled else [_command("evaluate", "RUN", "--metrics", "label_free")]
        return [_command("generate", "RUN", "--given", first, "--targets", ",".join(rest)), *judged, report]
    if need == "joint-samples":
        return [_command("fit-prior", "RUN"), _command("generate", "RUN", "--prior", "gmm"), report]
    if need == "likelihoods":
        return [_command("evaluate", "RUN", "--metrics", "log_likelihood", "--importance-samples", "1000"), report]
    return [report]


def _command(*words: str) -> str:
    return shlex.join(("polyvae", *words))
