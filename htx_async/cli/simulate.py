"""`htx-async simulate` and what can be said to a simulation that runs.

What does the work is loaded when the options are read, as in `commands`.
"""

from enum import StrEnum
from typing import Annotated

import typer

from htx_async.cli import options
from htx_async.cli.coins import MOST
from htx_async.cli.command import Command, Group
from htx_async.enums import Direction

app = typer.Typer(cls=Group, rich_markup_mode=None, invoke_without_command=True)


class Account(StrEnum):
    """Where the account is."""

    V1 = "v1"
    V5 = "v5"
    MOVING = "moving"


class OrderOffset(StrEnum):
    """Of an order; both is a one-way account's."""

    OPEN = "open"
    CLOSE = "close"
    BOTH = "both"


_FAULTS = (
    *("late", "lose_before_work", "lose_after_work", "truncate", "bad_gateway"),
    *("refuse", "maintain", "retire", "too_many"),
)
"""As the control path calls them; those that take a body are for programs."""

_OWN: dict[str, dict[str, float]] = {"late": {"seconds": 2.0}, "refuse": {"code": 1032}}


class OutageKind(StrEnum):
    """By the names of the control path."""

    SILENT = "silent"
    RESET = "reset"
    LOST = "lost"
    GATEWAY = "gateway"
    MAINTENANCE = "maintenance"


_Some = Annotated[list[str], typer.Argument(metavar="CONTRACT", help="Such as BTC-USDT.")]
_SomeOrAll = Annotated[
    list[str] | None, typer.Argument(metavar="CONTRACT", help="Such as BTC-USDT; left out: all.")
]
_BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        envvar="HTX_BASE_URL",
        show_default=False,
        help="Of the simulation, on this machine.",
    ),
]
_Orders = Annotated[
    int, typer.Option(metavar="N", min=0, max=1000, help="Orders on each contract.")
]
_NewOrders = Annotated[
    int, typer.Option(metavar="N", min=1, max=1000, help="Orders on each contract.")
]
_Json = Annotated[bool, typer.Option("--json", help="As JSON.")]


@app.callback()
def simulate(
    ctx: typer.Context,
    port: Annotated[
        int,
        typer.Option(metavar="PORT", min=0, max=65535, help="Port on this machine; 0: a free one."),
    ] = 0,
    contracts: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=MOST, help="Contracts that exist; others are refused."
        ),
    ] = 2,
    orders: _Orders = 5,
    margin: Annotated[
        options.Margin, typer.Option(help="Where the orders are placed.")
    ] = options.Margin.ISOLATED,
    generation: Annotated[
        Account,
        typer.Option(
            help="Of the exchange's API. moving: from v1 to V5, at the 10th signed request unless "
            "`simulate move` is sooner."
        ),
    ] = Account.V1,
    faults: Annotated[
        bool, typer.Option("--faults", help="Eight faults at most, one each of eight kinds.")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=0, show_default=False, help="Which contracts have them; 1 if left out."
        ),
    ] = None,
    refill: Annotated[
        bool,
        typer.Option("--refill", help="Cancelled orders come back, two a second, like a strategy."),
    ] = False,
    keys_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Keys and URL go there, for `.`, and are not shown."),
    ] = None,
) -> None:
    """Serve a simulated exchange until Ctrl-C.

    On this machine only. It prints its URL and a pair of keys, made up for this run, that open
    nothing else; with --keys-file they go into a file that only you can read.

    The commands below ask one that runs, and change what happens there.

    \b
    Examples:
      htx-async simulate --port 8080
      htx-async simulate --contracts 40 --margin both --faults --keys-file keys
      . ./keys; htx-async cancel-all --all --margin both --confirm
    """
    if ctx.invoked_subcommand is not None:
        return
    from htx_async.cli.rehearsal import Scene, serve

    if seed is not None and not faults:
        raise typer.BadParameter("it is for --faults", ctx=ctx, param_hint="--seed")
    scene = Scene(
        contracts,
        orders,
        margin.modes,
        generation.value,
        1 if seed is None else seed,
        faults,
        refill,
    )
    raise typer.Exit(serve(port, scene, keys_file))


@app.command(cls=Command)
def place(
    contract: _Some,
    orders: _NewOrders = 1,
    direction: Annotated[Direction, typer.Option(help="Of the orders.")] = Direction.SELL,
    offset: Annotated[OrderOffset, typer.Option(help="Of the orders.")] = OrderOffset.CLOSE,
    margin: Annotated[
        options.Margin, typer.Option(help="Where the orders are placed.")
    ] = options.Margin.ISOLATED,
    base_url: _BaseUrl = None,
) -> None:
    """Place trailing orders.

    A contract that did not exist does from then on.

    \b
    Example: htx-async simulate place BTC-USDT --orders 3 --margin both
    """
    from htx_async.cli.steering import begin, place

    order = {"n": orders, "direction": direction.value, "offset": offset.value}
    modes = [mode.value for mode in margin.modes]
    raise typer.Exit(begin(base_url, lambda one: place(one, contract, modes, order)))


@app.command("orders", cls=Command)
def list_orders(
    contract: _SomeOrAll = None,
    margin: Annotated[options.Margin, typer.Option(help="Which orders.")] = options.Margin.BOTH,
    as_json: _Json = False,
    base_url: _BaseUrl = None,
) -> None:
    """Read the book back.

    What is open there, whatever the exchange's lists say.

    \b
    Example: htx-async simulate orders
    """
    from htx_async.cli.steering import begin, orders

    modes = [mode.value for mode in margin.modes]
    raise typer.Exit(
        begin(base_url, lambda one: orders(one, contract or (), modes, as_json=as_json))
    )


@app.command(cls=Command)
def status(as_json: _Json = False, base_url: _BaseUrl = None) -> None:
    """Tell what it has and what it has seen."""
    from htx_async.cli.steering import begin, status

    raise typer.Exit(begin(base_url, lambda one: status(one, as_json=as_json)))


@app.command(cls=Command)
def fault(
    kind: Annotated[
        str, typer.Argument(metavar="KIND", help=f"One of: {', '.join((*_FAULTS, 'none'))}.")
    ],
    contract: Annotated[
        str | None, typer.Option(metavar="CONTRACT", help="For this one only; left out: for any.")
    ] = None,
    times: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Requests that meet it.")
    ] = 1,
    call: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="A row of the table of endpoints, or any; left out: cancelall."
        ),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="For late; left out: 2.")
    ] = None,
    code: Annotated[
        int | None, typer.Option(metavar="CODE", help="For refuse; left out: 1032.")
    ] = None,
    base_url: _BaseUrl = None,
) -> None:
    """Let the next requests meet a fault.

    The next ones that cancel, unless --call says otherwise. KIND none forgets those faults that
    nobody has met.

    \b
    Examples:
      htx-async simulate fault lose_after_work --contract BTC-USDT
      htx-async simulate fault late --seconds 5 --times 3 --call any
      htx-async simulate fault refuse --code 1056
    """
    from htx_async.cli.steering import Simulation, begin

    if kind not in (*_FAULTS, "none"):
        raise typer.BadParameter(f"{kind!r} is no fault", param_hint="KIND")
    own = _OWN.get(kind, {})
    for name, value in {"seconds": seconds, "code": code}.items():
        if value is not None and name not in own:
            raise typer.BadParameter(f"it is not for {kind!r}", param_hint=f"--{name}")
        own = own if value is None else {name: value}

    def arm(one: Simulation) -> str:
        if kind == "none":
            one.forget("/faults")
            return "Faults that nobody has met are forgotten.\n"
        which = {"contract_code": contract, "times": times, "call": call}
        left = one.tell("/faults", {"kind": kind, **own, **which})["faults"]
        return f"Armed, and {left} in all wait for their request.\n"

    raise typer.Exit(begin(base_url, arm))


@app.command(cls=Command)
def outage(
    seconds: Annotated[float, typer.Argument(metavar="SECONDS", help="From now on; 0 ends one.")],
    kind: Annotated[
        OutageKind, typer.Option(metavar="KIND", help="What requests meet; see above.")
    ] = OutageKind.SILENT,
    base_url: _BaseUrl = None,
) -> None:
    """Answer no request for a while.

    silent: nothing is done, and no answer comes. reset: connections are aborted. lost: what is
    asked is done, and no answer comes. gateway: a 502 page. maintenance: HTX's own word for it.

    \b
    Example: htx-async simulate outage 10 --kind lost
    """
    from htx_async.cli.steering import Simulation, begin

    def strike(one: Simulation) -> str:
        left = one.tell("/outage", {"seconds": seconds, "kind": kind.value})["outage_left"]
        return f"Outage ({kind}): {seconds:g} s from now.\n" if left else "No outage any more.\n"

    raise typer.Exit(begin(base_url, strike))


@app.command(cls=Command)
def move(
    after: Annotated[float, typer.Option(metavar="SECONDS", help="From now.")] = 0.0,
    base_url: _BaseUrl = None,
) -> None:
    """Move the account to V5.

    With its orders, and for good.
    """
    from htx_async.cli.steering import Simulation, begin

    def go(one: Simulation) -> str:
        now = one.tell("/move", {"after": after})["generation"]
        return f"The account is on {now} now{f', and on v5 in {after:g} s' if after else ''}.\n"

    raise typer.Exit(begin(base_url, go))


@app.command(cls=Command)
def refill(
    rate: Annotated[float, typer.Argument(metavar="RATE", help="Orders a second; 0: none.")],
    base_url: _BaseUrl = None,
) -> None:
    """Let cancelled orders come back.

    At this rate, like those of a strategy.
    """
    from htx_async.cli.steering import Simulation, begin

    def come_back(one: Simulation) -> str:
        now = one.tell("/refill", {"rate": rate})["refill"]
        return f"Orders that come back after a cancel: {now:g} a second.\n"

    raise typer.Exit(begin(base_url, come_back))
