"""People's side: commands, options and what they print; errors become sentences and exit statuses."""

# \b keeps the lines of a help text as they are.
# ruff: noqa: D301

from zgrid.cli import starting  # before all that takes its time: from here on Ctrl-C is quiet

# isort: split
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

import zgrid
from zgrid.cli import halts, inspection, inventory, keys, ledger, operations, questions, roles
from zgrid.cli.asking import asks
from zgrid.cli.bench import bench
from zgrid.cli.logs import logs
from zgrid.cli.output import OutputClosedError, OutputRefusedError, clean, provide, refusal, say
from zgrid.cli.put import put
from zgrid.cli.top import top
from zgrid.errors import EXIT_OK, EXIT_OURS, EXIT_SETTINGS, DamagedError, SettingsError, ZGridError

EXIT_INTERRUPTED = 130
"""Ctrl-C, as shells count it."""
EXIT_OUTPUT_CLOSED = 141
"""Nobody read our output to its end, as shells count it."""

app = typer.Typer(
    name="zgrid",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (roles.run, roles.ventilator, roles.worker, roles.sink, logs, bench):
    app.command()(command)
for command in (
    *(put, questions.status, questions.why, inspection.jobs, inspection.peek),
    *(operations.bury, operations.kick, operations.cancel, operations.retry),
    *(halts.pause, halts.resume, halts.drain, top),
):
    app.command()(asks(command))
app.add_typer(inventory.models_app, name="models")
app.add_typer(inventory.filters_app, name="filters")
app.add_typer(ledger.app, name="ledger")
app.add_typer(keys.app, name="keys")


def _version(wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        say(f"zgrid {zgrid.__version__}")
        raise typer.Exit


@app.callback()
def _app(
    _shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback of our own faults (ZGRID_DEBUG).")] = False,
) -> None:
    """Look at every image of a collection with all the computers you have: find faces, keep results, lose nothing.

    \b
    On one machine:
      zgrid run ~/Pictures --out faces

    \b
    On several, each where it belongs, with the key file that was made for it:
      zgrid keys init                                       where the pictures are; then zgrid keys enroll NAME
      zgrid sink                                            where the results should live
      zgrid ventilator /photos --sink tcp://results:5560    where the pictures are
      zgrid worker tcp://photos:5550                        wherever there is a CPU
      zgrid put tcp://photos:5550 urgent.jpg --priority -1  from anywhere

    Every option of run, ventilator, worker and sink is also a variable (ZGRID_TTR_MS for --ttr-ms) and a key (ttr_ms)
    of a TOML file given by --config.
    """
    if debug:
        os.environ["ZGRID_DEBUG"] = "1"


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit status (see ``zgrid.errors``)."""
    provide()
    sys.exit(status_of(sys.argv[1:] if arguments is None else arguments))


def status_of(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; whatever goes wrong becomes one sentence on standard error."""
    try:
        result = app(args=list(arguments) or ["--help"], prog_name="zgrid", standalone_mode=False)
    except OutputClosedError:
        return EXIT_OUTPUT_CLOSED
    except (KeyboardInterrupt, typer.Abort):
        return EXIT_INTERRUPTED
    except ZGridError as error:
        _complain(str(error))
        return EXIT_SETTINGS if isinstance(error, SettingsError | DamagedError) else EXIT_OURS
    except Exception as error:  # noqa: BLE001 - the edge of the program: the last place that can say anything
        of_output = isinstance(error, OSError) and error.filename is None
        return _unexpected((refusal() if of_output else None) or error)
    return result if isinstance(result, int) else EXIT_OK


def _unexpected(error: Exception) -> int:
    """Say what an error means that is none of ours: wrong usage, which Typer raises, or a fault in zgrid."""
    if isinstance(error, OutputClosedError):  # what Typer prints, such as help
        return EXIT_OUTPUT_CLOSED
    if isinstance(error, OutputRefusedError):
        _complain(str(error))
        return EXIT_OURS
    usage = getattr(error, "format_message", None)  # Typer's own; older ones have it from Click, newer ones carry it
    if usage is not None:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "zgrid"
        _complain(f"{str(usage()).rstrip('.')} (see {path} --help)")
        return EXIT_SETTINGS
    if os.environ.get("ZGRID_DEBUG"):
        traceback.print_exception(error)
    text = " ".join(str(error).split())
    _complain(f"this is a fault of zgrid's: {type(error).__name__}: {text} (zgrid --debug ... shows where)")
    return EXIT_OURS


def _complain(sentence: str) -> None:
    """Print one sentence on standard error; nobody there to read it changes nothing."""
    try:
        say(f"zgrid: {clean(sentence)}", sys.stderr)  # it may have come from another machine
    except (OutputClosedError, OutputRefusedError):
        return


starting.over()
