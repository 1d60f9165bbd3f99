"""The arguments of the commands; keys are not among them, since others can see arguments."""

from typing import Annotated

import typer

from htx_async.base_urls import BASE_URLS
from htx_async.terms import Direction, Offset

ContractArguments = Annotated[
    list[str] | None, typer.Argument(metavar="CONTRACT", help="Such as BTC-USDT ETH-USDT.")
]
ContractsFromOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="More of them, with white space in between; # begins a comment; - is stdin.",
    ),
]
DirectionOption = Annotated[
    Direction | None, typer.Option(help="Only orders of this side; left out: both.")
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
DeadlineOption = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="For everything; left out: what the plan needs, and 10."),
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show the plan and send nothing.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The account as JSON on stdout.")]
AuditOption = Annotated[
    str | None, typer.Option(metavar="FILE", help="Append a record of all that is done.")
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
        help=f"May be repeated, tried in order. [default: {', '.join(BASE_URLS)}]",
    ),
]
