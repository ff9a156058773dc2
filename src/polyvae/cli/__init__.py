"""The command line: run | sweep | report | evaluate | records | export | store | theory | data | methods | ..."""

import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any

import tyro

from polyvae import plugins
from polyvae.cli import data, runs, stores, sweeps, theory, use
from polyvae.cli.common import say
from polyvae.errors import InputError, RunError

COMMANDS: dict[str, Callable[..., None]] = {
    "run": runs.run,
    "sweep": sweeps.sweep_command,
    "report": runs.report,
    "evaluate": runs.evaluate,
    "compare": stores.compare,
    "records": stores.records,
    "claims": stores.claims,
    "export": stores.export,
    "store": stores.store,
    "data": data.data,
    "methods": runs.methods,
    "metrics": runs.metrics,
    "theory": theory.theory,
    "generate": use.generate,
    "impute": use.impute,
    "fit-prior": use.fit_prior,
}
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f]")  # but tab and newline
GUIDE = """Multimodal variational autoencoders: train, compare, generate, impute.

Every command also takes --plugin FILE.py, a Python file of yours that registers methods, data sets, networks,
likelihoods, metrics or extractors (as often as there are files), and --debug, which shows the traceback of an error."""


def main(arguments: list[str] | None = None) -> None:
    """Runs a command. Exit status: 0 done, 1 a run failed (the others finished), 2 bad arguments."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        if found := CONTROL.search("".join(given)):
            raise InputError(f"an argument holds the control character {found[0]!r}; leave it out")
        rest = _with_plugins([argument for argument in given if argument != "--debug"])
        added = "\n\n".join(plugins.summary())
        tyro.extras.subcommand_cli_from_dict(
            {name: _described(command, added) for name, command in COMMANDS.items()} if added else COMMANDS,
            prog="polyvae",
            description="\n\n".join(filter(None, [GUIDE, added])),
            args=rest,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
        )
    except (InputError, RunError, OSError) as error:
        if debug:
            traceback.print_exc()
        is_of_a_path = isinstance(error, OSError) and error.filename is not None
        said = f"cannot use {error.filename}: {error.strerror}; name another path" if is_of_a_path else error
        say(f"polyvae: {said}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None
    except MemoryError as error:
        say(f"polyvae: not enough memory ({error}); use fewer rows, or a smaller model", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("polyvae: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None


def _described(command: Callable[..., None], added: str) -> Callable[..., None]:
    """The same command, whose help also says what plug-ins have added."""

    @wraps(command)
    def described(*values: Any, **named: Any) -> None:
        command(*values, **named)

    about, args, rest = (command.__doc__ or "").partition("\n    Args:")
    described.__doc__ = f"{about}\n\n    {added}\n{args}{rest}"
    return described


def _with_plugins(arguments: Sequence[str]) -> list[str]:
    """Loads the plug-ins of installed packages and those that the arguments name; returns the other arguments.

    This comes before the commands are parsed, since what a plug-in adds may stand among their arguments.
    """
    plugins.load_installed()
    rest, words = [], iter(arguments)
    for word in words:
        name, _, value = word.partition("=")
        if name == "--plugin":
            plugins.load(value or _next(words))
        else:
            rest.append(word)
    return rest


def _next(words: Iterator[str]) -> str:
    if (file := next(words, None)) is None:
        raise InputError("--plugin needs a Python file: --plugin FILE.py")
    return file
