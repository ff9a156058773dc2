"""The command line: run | sweep | report | evaluate | records | export | store | theory | data | methods | ..."""

import sys
import traceback
from collections.abc import Callable

import tyro

from polyvae.cli import data, runs, stores, sweeps, theory, use
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


def main(arguments: list[str] | None = None) -> None:
    """Runs a command. Exit status: 0 done, 1 a run failed (the others finished), 2 bad arguments."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="polyvae",
            description="Multimodal variational autoencoders: train, compare, generate, impute. "
            "--debug shows the traceback of an error.",
            args=[argument for argument in given if argument != "--debug"],
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
        )
    except (InputError, RunError, OSError) as error:
        if debug:
            traceback.print_exc()
        print(f"polyvae: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InputError) else 1) from None
    except KeyboardInterrupt:
        print("polyvae: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        raise SystemExit(130) from None
