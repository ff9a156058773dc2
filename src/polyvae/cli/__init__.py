"""The command line: run | sweep | watch | report | evaluate | records | export | store | theory | advise | ..."""

import ast
import inspect
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache, partial, wraps
from importlib import import_module, metadata
from itertools import takewhile
from pathlib import Path
from typing import Any

import tyro

from polyvae import escapes, plugins
from polyvae.errors import InputError, RunError, did_you_mean

COMMANDS = {  # name -> module in this folder, function; a module is imported when one of its commands is asked for
    "run": ("runs", "run"),
    "sweep": ("sweeps", "sweep_command"),
    "watch": ("watch", "watch"),
    "report": ("runs", "report"),
    "evaluate": ("runs", "evaluate"),
    "compare": ("stores", "compare"),
    "records": ("stores", "records"),
    "claims": ("stores", "claims"),
    "export": ("stores", "export"),
    "store": ("stores", "store"),
    "data": ("data", "data"),
    "methods": ("listing", "methods"),
    "metrics": ("listing", "metrics"),
    "theory": ("theory", "theory"),
    "advise": ("advise", "advise"),
    "generate": ("use", "generate"),
    "impute": ("use", "impute"),
    "embed": ("embed", "embed"),
    "fit-prior": ("use", "fit_prior"),
    "pack": ("share", "pack"),
    "push": ("share", "push"),
    "pull": ("share", "pull"),
    "serve": ("serve", "serve"),
}
MOST_NAMED = 3  # commands that have a flag, when another lacks it
JOINED = (".csv", ".tsv", ".parquet", ".npy")  # files that are read together
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f]")  # but tab and newline
GUIDE = """Train multimodal variational autoencoders, compare them, and use them to generate and impute.

Every command also takes --debug, which shows the traceback of an error, and --plugin FILE.py (repeatable), a Python
file that registers your own methods, data sets, networks, likelihoods, metrics or extractors. `polyvae --version`
shows the version."""
FIRST_STEPS = """polyvae trains multimodal variational autoencoders. Start with:

  polyvae run --dataset toy --epochs 5    train and score a small model, in half a minute
  polyvae advise --data FILE              find out which method suits your data (CSV, Parquet, AnnData, .npz, ...)
  polyvae run --data FILE                 train on your data; prints the id of the run
  polyvae impute RUN --data FILE          fill in missing values with that run
  polyvae report                          write a page about all runs: report/index.html

`polyvae --help` lists all commands, and `polyvae COMMAND --help` explains one."""

RUN_ALONE = """which data? Your own: polyvae run --data FILE. A quick trial: polyvae run --dataset toy --epochs 5.
The paper's benchmark, some hours on a CPU: polyvae run --dataset polymnist. `polyvae data list` lists all data sets."""


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; without one, prints the first steps. Exit status: 0 done, 1 a run failed, 2 bad arguments."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        if found := CONTROL.search("".join(given)):
            raise InputError(f"an argument holds the control character {found[0]!r}; leave it out")
        rest = _with_plugins([argument for argument in given if argument != "--debug"])
        if rest in ([], ["--version"]):
            print(f"polyvae {metadata.version('polyvae')}" if rest else FIRST_STEPS)
            return
        _asked_for(_with_all_data(_checked(rest)))()
    except BrokenPipeError:  # the reader of the output has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (InputError, RunError, OSError) as error:
        if debug:
            traceback.print_exc()
        is_of_a_path = isinstance(error, OSError) and error.filename is not None
        said = f"cannot use {error.filename}: {error.strerror}; name another path" if is_of_a_path else error
        print(escapes.terminal(f"polyvae: {said}"), file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None
    except MemoryError as error:
        said = f"not enough memory ({error}); use fewer rows, or a smaller model"
        print(escapes.terminal(f"polyvae: {said}"), file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("polyvae: stopped; the same command resumes from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None


def _checked(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments. Raises InputError for an unknown command, and for `run` alone: it would train for hours."""
    first = arguments[0].replace("_", "-")
    if not first.startswith("-") and first not in COMMANDS:
        said = (f"there is no command {arguments[0]!r};", did_you_mean(first, COMMANDS), "`polyvae --help` lists all")
        raise InputError(" ".join(filter(None, said)))
    if arguments == ["run"]:
        raise InputError(RUN_ALONE)
    return arguments


def _with_all_data(arguments: Sequence[str]) -> list[str]:
    """`--data a.csv b.csv` and `--data a --data b` as `--data a,b`: of a flag given twice only the last would count."""
    words = [part for word in arguments for part in (word.split("=", 1) if word.startswith("--data=") else [word])]
    kept: list[str] = []
    files: list[str] = []
    before = ""
    for word in words:
        if before == "--data" or (files and before == files[-1] and word.endswith(JOINED) and not word.startswith("-")):
            files.append(word)
        elif word != "--data":
            kept.append(word)
        before = word
    is_whole = before != "--data"  # else the error is about the file that is lacking
    return [*kept, "--data", ",".join(files)] if is_whole and len(files) > 1 else list(arguments)


def _asked_for(arguments: Sequence[str]) -> Callable[[], None]:
    """The command in the arguments, with its values. Raises SystemExit after help, InputError for bad arguments."""
    named = next((name for word in arguments if (name := word.replace("_", "-")) in COMMANDS), None)
    known = {} if named is None else {named: _function(named)}
    with redirect_stderr(io.StringIO()):
        try:
            return _parsed(arguments, known)
        except SystemExit as ended:
            if not ended.code:
                raise
    help_of = "polyvae --help" if named is None else f"polyvae {named} --help"
    fault = None if named is None else _unknown_flag(named, arguments)
    raise InputError(f"{fault or _first_paragraph(_printed(arguments, known))} `{help_of}` explains")


def _unknown_flag(command: str, arguments: Sequence[str]) -> str | None:
    """What is wrong with the first flag that the command does not have: mistyped, or of another command."""
    own = _flags(command)
    flags = (word.split("=")[0].replace("_", "-") for word in arguments if word.startswith("--"))
    if (flag := next((flag for flag in flags if flag not in own), None)) is None:
        return None
    if near := did_you_mean(flag.strip("-"), (name.strip("-") for name in own)):
        return f"polyvae {command} has no flag {flag}; {near.replace('mean ', 'mean --')}"
    others = [f"polyvae {other}" for other in COMMANDS if flag in _flags(other)]
    if len(others) > MOST_NAMED:
        others = [others[0], f"{len(others) - 1} other commands"]
    return f"polyvae {command} has no flag {flag}" + f", unlike {' and '.join(others)}" * bool(others) + ";"


def _flags(command: str) -> list[str]:
    """The flags that the help of a command names."""
    return re.findall(r"--[\w-]+", _printed([command, "--help"], {command: _function(command)}))


def _first_paragraph(said: str) -> str:
    """The first words below the title of an error, on one line: what follows repeats the help."""
    lines = (line.strip() for line in said.splitlines()[2:])
    return " ".join(takewhile(lambda line: line.strip("-"), lines)).rstrip(".") + ";"


def _printed(arguments: Sequence[str], known: Mapping[str, Callable[..., None]]) -> str:
    """Help, or an error, without the boxes and colours of a terminal."""
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(said), suppress(SystemExit):
        _parsed(arguments, known)
    return said.getvalue()


def _parsed(arguments: Sequence[str], known: Mapping[str, Callable[..., None]]) -> Callable[[], None]:
    """As `_asked_for`; commands that are not in `known` have only the first paragraph of their docstrings."""
    added = "\n\n".join(plugins.summary())
    return tyro.extras.subcommand_cli_from_dict(
        {name: _later(known.get(name) or _stub(name), added) for name in COMMANDS},
        prog="polyvae",
        description="\n\n".join(filter(None, [GUIDE, added])),
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone),
    )


def _function(name: str) -> Callable[..., None]:
    module, function = COMMANDS[name]
    return getattr(import_module(f"polyvae.cli.{module}"), function)


def _stub(name: str) -> Callable[..., None]:
    """A function with the first paragraph of a command's docstring. Its module is read and not imported."""
    module, function = COMMANDS[name]

    def stub() -> None: ...

    stub.__doc__ = _abouts(module)[function]
    return stub


@cache
def _abouts(module: str) -> dict[str, str]:
    """The first paragraphs of the docstrings of a module's functions."""
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name: (ast.get_docstring(node) or "").partition("\n\n")[0] for node in functions}


def _later(command: Callable[..., None], added: str) -> Callable[..., Callable[[], None]]:
    """A deferred command: it returns the function that does the work. Its help also shows what plug-ins have added."""

    @wraps(command)
    def later(*values: Any, **named: Any) -> Callable[[], None]:
        return partial(command, *values, **named)

    about, args, rest = (inspect.getdoc(command) or "").partition("\nArgs:")
    later.__doc__ = "\n\n".join(filter(None, [about, added])) + f"\n{args}{rest}"
    return later


def _with_plugins(arguments: Sequence[str]) -> list[str]:
    """Loads the plug-ins of installed packages and those named by --plugin; returns the other arguments.

    Plug-ins are loaded before the commands are parsed, since the arguments may name what a plug-in adds.
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
