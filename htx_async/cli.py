"""The operator's door: `htx-async`. The only door to typer.

Texts go out through `typer.echo`, which reads no markup in them: order ids and the exchange's
words are foreign.
"""

import asyncio
import io
import os
import secrets
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Any

import typer

from htx_async.codes import SETTLED_ORDER_CODES
from htx_async.errors import CancelError, HtxError
from htx_async.report import CancelReport
from htx_async.session import BASE_URLS, HtxSession
from htx_async.terms import Direction, Offset, Outcome

_EXIT_CODES = {Outcome.REFUSED: 3, Outcome.PARTIAL: 4, Outcome.UNKNOWN: 5, Outcome.NOT_SENT: 6}
_USAGE = 2
_INTERRUPTED = 130

_Make = Callable[[HtxSession], Coroutine[Any, Any, CancelReport]]

# Without rich's help and tracebacks: the one reads markup in texts, the other shows locals.
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True)


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            number = version("htx-async")
        except PackageNotFoundError:
            number = "(not installed)"
        typer.echo(f"htx-async {number}")
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
    """Pull trailing orders on HTX USDT-M swaps (isolated margin), within the exchange's limit.

    \b
    Example: htx-async demo
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Contract codes need not be ASCII, and a terminal need not be UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")


@app.command()
def demo() -> None:
    """Cancel 200 orders on a simulated exchange.

    40 contracts at once, and an exchange that misbehaves. Takes no keys and reaches no network
    beyond this machine. Exits 0 when every report agrees with the exchange's book and the limit
    was kept, else 1.

    \b
    Example: htx-async demo
    """
    # Loaded here: whoever has to cancel in a hurry should not wait for rich and a web server.
    from htx_async.demo import run  # noqa: PLC0415 - see above

    raise typer.Exit(run())


@app.command()
def simulate(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on this machine; 0: a free one.")
    ] = 0,
    orders: Annotated[
        int, typer.Option(min=0, max=1000, help="Trailing orders to place on each contract.")
    ] = 5,
) -> None:
    """Serve a simulated exchange until Ctrl-C.

    On this machine only. It prints its URL and a pair of keys, made up for this run, that open
    nothing else.

    \b
    Example: htx-async simulate --port 8080
    """
    try:
        code = asyncio.run(_simulate(port, orders))
    except KeyboardInterrupt:
        code = 0
    raise typer.Exit(code)


async def _simulate(port: int, orders: int) -> int:
    # Only here, since it brings a web server along.
    from htx_async.simulator import SimulatedExchange  # noqa: PLC0415 - see above

    access_key, secret_key = secrets.token_hex(16), secrets.token_hex(16)
    exchange = SimulatedExchange(access_key=access_key, secret_key=secret_key, port=port)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.enter_context(_signals(stop.set))
        try:
            await stack.enter_async_context(exchange)
        except OSError as error:
            return _complain(f"port {port} cannot be served: {error.strerror}")
        for contract in ("BTC-USDT", "ETH-USDT"):
            exchange.place(contract, "sell", "close", orders)
        typer.echo(_GUIDE.format(url=exchange.url, access=access_key, secret=secret_key, n=orders))
        await stop.wait()
    left = len(exchange.open_orders())
    typer.echo(f"Stopped after {len(exchange.arrivals)} requests; orders still open: {left}.")
    return 0


_GUIDE = """\
Simulated exchange at {url}, until Ctrl-C.
Open trailing orders (sell, close): {n} on BTC-USDT, {n} on ETH-USDT.

These keys were made up for this run. They open nothing but this simulation:
export HTX_ACCESS_KEY={access}
export HTX_SECRET_KEY={secret}

With them set, point a command or a session at it:
  htx-async cancel-all BTC-USDT --base-url {url}
  HtxSession.from_env(base_urls="{url}")
"""


_Direction = Annotated[
    Direction | None, typer.Option(help="Only orders of this side; left out: both.")
]
_Offset = Annotated[
    Offset | None,
    typer.Option(help="Only orders with this offset; left out: all, one-way orders too."),
]
_Deadline = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="For queue, attempts and pauses; left out: 10, from its turn on."
    ),
]
_BaseUrl = Annotated[
    list[str] | None,
    typer.Option(
        metavar="URL", help=f"May be repeated, tried in order. [default: {', '.join(BASE_URLS)}]"
    ),
]

_EXIT_CODES_HELP = """\b
Exit codes:
    0  clear: the exchange took every cancel
    2  usage, or keys missing; nothing was sent
    3  refused; nothing was cancelled
    4  partial: single orders were refused
    5  unknown: look at the exchange now
    6  not sent; every order is as it was
  130  interrupted
"""


@app.command("cancel-all", epilog=_EXIT_CODES_HELP)
def cancel_all(
    contract: Annotated[str, typer.Argument(metavar="CONTRACT", help="Such as BTC-USDT.")],
    direction: _Direction = None,
    offset: _Offset = None,
    deadline: _Deadline = None,
    base_url: _BaseUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")] = False,
) -> None:
    """Cancel the trailing orders of one contract.

    Those in isolated margin that match both filters, and no orders of any other kind.

    Keys come from HTX_ACCESS_KEY and HTX_SECRET_KEY, or from the files that HTX_ACCESS_KEY_FILE
    and HTX_SECRET_KEY_FILE name; never from arguments, which other users of a machine can see.

    \b
    Example: htx-async cancel-all BTC-USDT --direction sell --offset close --deadline 5
    """

    def make(htx: HtxSession) -> Coroutine[Any, Any, CancelReport]:
        return htx.cancel_all_trailing(contract, direction, offset, deadline=deadline)

    settings: dict[str, Any] = {"base_urls": base_url} if base_url else {}
    try:
        code = asyncio.run(_cancel_all(settings, make, as_json=as_json))
    except HtxError as error:
        # A call that was made ends in a report; this one was not.
        code = _complain(str(error))
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. {_UNTOLD}", err=True)
        code = _INTERRUPTED
    raise typer.Exit(code)


_UNTOLD = (
    "Unless an account stands above, orders may be cancelled or still open: look at the exchange."
)


async def _cancel_all(settings: dict[str, Any], make: _Make, *, as_json: bool) -> int:
    """Make the call, give the account of it and return the exit code."""
    stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    with _signals(stop.cancel):
        async with HtxSession.from_env(**settings) as htx:
            call = asyncio.create_task(_report(make(htx)))
            ends: list[asyncio.Future[Any]] = [call, stop]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            interrupted = not call.done()
        # Leaving the session has ended the call, with an account of what was sent.
        report = await call
    # Told in here: a name look-up that hangs would hold up the end of the loop.
    try:
        _tell(report, as_json=as_json, interrupted=interrupted)
    except OSError as error:
        # A full disk or a closed pipe must not stand for what happened to the orders.
        _give_up_stdout()
        with suppress(OSError):
            typer.echo(f"{report.message} (stdout: {error.strerror})", err=True)
    return _INTERRUPTED if interrupted else _EXIT_CODES.get(report.outcome, 0)


def _give_up_stdout() -> None:
    """Let what is still buffered go nowhere, or the interpreter would fail at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


async def _report(call: Coroutine[Any, Any, CancelReport]) -> CancelReport:
    try:
        return await call
    except CancelError as failure:
        return failure.report


def _tell(report: CancelReport, *, as_json: bool, interrupted: bool) -> None:
    if interrupted:
        typer.echo(f"Interrupted. {report.message}", err=True)
    elif not as_json:
        typer.echo(report.message, err=not report.is_clear)
    if as_json:
        # JSON is UTF-8, whatever the terminal's encoding.
        typer.echo(report.model_dump_json().encode())
        return
    for order_id in report.successes:
        typer.echo(f"  cancelled {order_id}")
    for error in report.errors:
        word = "settled" if error.err_code in SETTLED_ORDER_CODES else "refused"
        typer.echo(f"  {word}   {error.order_id} ({error.err_code}: {error.err_msg})")


def _complain(text: str) -> int:
    typer.echo(text, err=True)
    return _USAGE


@contextmanager
def _signals(react: Callable[[], object]) -> Iterator[None]:
    """Ctrl-C and SIGTERM call `react` while the block runs; a second Ctrl-C after it interrupts."""
    loop = asyncio.get_running_loop()
    # Windows' loops take no handlers: there Ctrl-C ends the loop with KeyboardInterrupt.
    with suppress(NotImplementedError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, react)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
