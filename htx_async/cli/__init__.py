"""The operator's door: `htx-async`. The only door to typer.

Order ids, the exchange's words and the content of files are foreign: no markup is read in them,
and what a terminal might act upon is escaped.
"""

import io
import sys
from contextlib import suppress
from typing import Annotated, TextIO, cast

import typer

from htx_async import __version__
from htx_async.cli import commands, simulate
from htx_async.cli.command import Command, Root, Wrapper
from htx_async.cli.exit_codes import HELP, HELP_GUARD, HELP_OPEN, USAGE
from htx_async.cli.interrupts import interruptible
from htx_async.cli.streams import Closed, give_up

# Without rich's help and tracebacks: the one reads markup in texts, the other shows locals.
app = typer.Typer(
    cls=Root,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"htx-async {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Pull trailing orders on HTX USDT-M swaps, within the exchange's limit.

    \b
    Examples:
      htx-async doctor                        is everything ready?
      htx-async open                          the open trailing orders
      htx-async cancel-all BTC-USDT --dry-run what would be sent
      htx-async cancel-all BTC-USDT           asks, cancels, reports
      htx-async guard BTC-USDT -- ./bot       runs it; cancels when it has died
      htx-async demo                          a mass cancel, simulated
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Contract codes need not be ASCII, and a terminal need not be UTF-8.
            stream.reconfigure(errors="backslashreplace")


app.command(
    "cancel-all",
    cls=Command,
    epilog=HELP,
    short_help="Cancel the trailing orders of some contracts, or of all.",
)(commands.cancel_all)
app.command(
    cls=Wrapper, epilog=HELP_GUARD, short_help="Run a command, and cancel when it has ended."
)(commands.guard)
app.command(
    "open",
    cls=Command,
    epilog=HELP_OPEN,
    short_help="List the open trailing orders of some contracts, or of all.",
)(commands.open_orders)
app.command(cls=Command, short_help="Look at keys, names, TLS, clocks and the shared limit.")(
    commands.doctor
)
app.command(cls=Command)(commands.demo)
app.add_typer(simulate.app, name="simulate")


def run() -> None:
    """Run the command and end the process; 2 when help or a complaint could not be written."""
    sys.stdout = sys.stdout or cast("TextIO", Closed())
    interruptible(_run)


def _run() -> None:
    try:
        app(prog_name="htx-async")
    except OSError as error:
        # The commands see to their own output; this is what typer itself says.
        with suppress(OSError, ValueError):
            print(f"The output could not be written: {error.strerror}.", file=sys.stderr)
        give_up(sys.stdout)
        give_up(sys.stderr)
        sys.exit(USAGE)
