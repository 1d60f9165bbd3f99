"""What an operator's options say, in groups, as the commands hand it on."""

from collections.abc import Sequence
from typing import NamedTuple

from htx_async.cli.again import Again
from htx_async.enums import Direction, Look, MarginMode, Offset


class Named(NamedTuple):
    """Contracts as arguments, files that hold more ("-" is stdin), and whether all are meant."""

    contracts: Sequence[str]
    sources: Sequence[str]
    every: bool


class Orders(NamedTuple):
    """Which orders of a contract."""

    margins: tuple[MarginMode, ...]
    direction: Direction | None
    offset: Offset | None


class Course(NamedTuple):
    """How a mass cancel goes on. `deadline`: seconds, None for what the plan needs; `confirm`: None
    for as usual."""

    until_clear: bool
    confirm: bool | None
    look: Look | None
    deadline: float | None


class Choices(NamedTuple):
    """What the operator wants to see, whether to be asked, and how to say it once more."""

    dry_run: bool
    yes: bool
    as_json: bool
    again: Again = Again()


class Care(NamedTuple):
    """How a command is guarded. `heartbeat`: seconds without a beat that are a hang, None where
    none is waited for; `grace`: seconds between SIGTERM and SIGKILL, and for what a command leaves
    behind; `only_failure`: orders stay where it ends with 0."""

    heartbeat: float | None
    grace: float
    only_failure: bool


class Record(NamedTuple):
    """Where, on whose behalf and why the cancel is put on record; without a file it is not."""

    file: str | None
    actor: str | None
    reason: str | None


class Reach(NamedTuple):
    """How the exchange is reached, and the processes whose tokens are shared: `redis` is a URL,
    which may hold a password; `host_limit`: whether those of this host, None for as usual; `proxy`:
    the URL of the one on the way, which may hold a password, too."""

    base_urls: Sequence[str]
    redis: str | None
    share_of: int | None
    account: str | None
    generation: str
    host_limit: bool | None = None
    proxy: str | None = None

    def __repr__(self) -> str:
        return f"<Reach of {len(self.base_urls)} base URLs>"
