"""The arguments of the commands; keys are not among them, since others can see arguments."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from htx_async.calls.base_urls import BASE_URLS, checked
from htx_async.enums import Direction, Look, MarginMode, Offset
from htx_async.errors import InvalidRequest


class Margin(StrEnum):
    """Which of an account's two sets of orders."""

    ISOLATED = "isolated"
    CROSS = "cross"
    BOTH = "both"

    @property
    def modes(self) -> tuple[MarginMode, ...]:
        """In the order in which they are shown."""
        return tuple(MarginMode) if self is Margin.BOTH else (MarginMode(self.value),)


class Generation(StrEnum):
    """Of the exchange's API."""

    AUTO = "auto"
    V1 = "v1"
    V5 = "v5"


class On(StrEnum):
    """The ends of a guarded command after which its orders are cancelled."""

    EXIT = "exit"
    FAILURE = "failure"


def _base_urls(ctx: typer.Context, param: Any, value: list[str] | None) -> list[str]:
    """As they were given; a usage error, which names the option and its variable, for what can be
    none."""
    try:
        if value:
            checked(value)
    except InvalidRequest as error:
        raise typer.BadParameter(str(error), ctx=ctx, param=param) from None
    # Older typers ask for the length of what comes back.
    return value or []


ContractArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="CONTRACT", help="Such as BTC-USDT ETH-USDT, or BTC-USDT,ETH-USDT."),
]
ContractsFromOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FILE",
        help="More of them, with white space or commas in between; # begins a comment; - is "
        "stdin. May be repeated.",
    ),
]
ContractsFromFileOption = Annotated[
    list[str] | None,
    typer.Option(
        "--contracts-from",
        metavar="FILE",
        help="More of them, with white space or commas in between; # begins a comment. May be "
        "repeated.",
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Every contract that the exchange lists.")]
LookOption = Annotated[
    Look | None,
    typer.Option(
        show_default=False,
        help="At open orders. first: contracts that have some go first; only: no others are "
        "cancelled, usual with --all; none: in the order given. Left out: first, for more "
        "contracts than there are tokens.",
    ),
]
MarginOption = Annotated[
    Margin, typer.Option(help="Which of the account's two sets of orders, or both together.")
]
BothMarginsOption = Annotated[
    Margin,
    typer.Option(
        help="Which of the account's two sets of orders: cross is one list, isolated one for each "
        "contract."
    ),
]
DirectionOption = Annotated[
    Direction | None, typer.Option(help="Only orders of this direction; left out: both.")
]
OffsetOption = Annotated[
    Offset | None,
    typer.Option(help="Only orders with this offset; left out: all, one-way orders too."),
]
UntilClearOption = Annotated[
    bool,
    typer.Option(
        "--until-clear", help="Again and again until nothing is left; for halted trading only."
    ),
]
ConfirmOption = Annotated[
    bool | None,
    typer.Option(
        "--confirm/--no-confirm",
        show_default=False,
        help="Look at the exchange's lists until the orders are gone; usual with --until-clear.",
    ),
]
ConfirmRoundsOption = Annotated[
    bool | None,
    typer.Option(
        "--confirm/--no-confirm",
        show_default=False,
        help="Look at the exchange's lists until the orders are gone.",
    ),
]
DeadlineOption = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS", help="For everything; left out: what so many contracts need, and 10."
    ),
]
RoundDeadlineOption = Annotated[
    float | None,
    typer.Option(
        "--deadline",
        metavar="SECONDS",
        help="For each of the two rounds; left out: what so many contracts need, and 10.",
    ),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the plan and send nothing.")]
YesOption = Annotated[
    bool,
    typer.Option("--yes", "-y", help="Show the plan on stderr, and do not ask."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="The report as JSON on stdout.")]
JsonListOption = Annotated[bool, typer.Option("--json", help="The orders as a JSON array.")]
AuditOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        envvar="HTX_AUDIT",
        show_default=False,
        help="Append a record of all that is done.",
    ),
]
ActorOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Who cancels, for the record; left out: this user."),
]
ReasonOption = Annotated[str | None, typer.Option(metavar="TEXT", help="Why, for the record.")]
BaseUrlOption = Annotated[
    list[str] | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        envvar="HTX_BASE_URL",
        callback=_base_urls,
        help=f"May be repeated, tried in order. [default: {', '.join(BASE_URLS)}]",
    ),
]
ProxyOption = Annotated[
    str | None,
    typer.Option(
        "--proxy",
        metavar="URL",
        envvar="HTX_PROXY",
        show_default=False,
        help="Reach the exchange through http://host:port. Others can see arguments: if it holds a "
        "password, set the variable instead.",
    ),
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis",
        metavar="URL",
        envvar="HTX_REDIS_URL",
        show_default=False,
        help="Share the limit with other processes. Others can see arguments: if it holds a "
        "password, set the variable instead.",
    ),
]
ShareOfOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        envvar="HTX_SHARE_OF",
        show_default=False,
        help="How many processes share, for when they cannot; 5 if it is left out.",
    ),
]
GenerationOption = Annotated[
    Generation,
    typer.Option(
        metavar="auto|v1|v5",
        envvar="HTX_GENERATION",
        help="Of the exchange's API; auto finds out whether the account has moved to V5.",
    ),
]
HostLimitOption = Annotated[
    bool | None,
    typer.Option(
        "--host-limit/--no-host-limit",
        show_default=False,
        help="Share the limit with other processes of this host, in a file that HTX_HOST_LIMIT may "
        "name; usual without --redis.",
    ),
]
AccountOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        envvar="HTX_ACCOUNT",
        show_default=False,
        help="The same for all that share; left out: the access key.",
    ),
]
HeartbeatOption = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        show_default=False,
        help="The command beats (htx_async.heartbeat, or systemd's notify protocol); none for so "
        "long is a hang. Left out: no beat is waited for.",
    ),
]
GraceOption = Annotated[
    float,
    typer.Option(
        metavar="SECONDS",
        help="From SIGTERM to SIGKILL, and for processes that the command leaves behind.",
    ),
]
OnOption = Annotated[
    On, typer.Option(help="exit: however the command ends; failure: not where it ends with 0.")
]
JsonLineOption = Annotated[
    bool, typer.Option("--json", help="The report as one line of JSON at the end of stderr.")
]
