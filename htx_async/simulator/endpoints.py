"""The calls that the simulated exchange knows: each path of the package's table of endpoints."""

from enum import StrEnum
from typing import Literal, NamedTuple

from htx_async.enums import ApiGeneration
from htx_async.exchange import endpoints as table
from htx_async.exchange.endpoints import ENDPOINTS, Permission
from htx_async.exchange.endpoints import Endpoint as Row
from htx_async.simulator.settings import InvalidSetting

V5 = "/v5/"
MarginMode = Literal["isolated", "cross"]
Generation = Literal["v1", "v5"]

_MODES: tuple[MarginMode, ...] = ("isolated", "cross")


class Call(StrEnum):
    """The rows of that table which the simulated exchange carries out itself, by name.

    Any other row is answered by the example that was recorded for it, and by nothing else. Whoever
    adds a member is told by mypy each `match` that lacks a branch for it.
    """

    CANCEL_ALL = table.CANCEL_ALL.name
    CANCEL = table.CANCEL.name
    OPEN_ORDERS = table.OPEN_ORDERS.name
    HISTORY = table.HISTORY.name
    V5_CANCEL = table.V5_CANCEL.name
    V5_OPEN_ORDERS = table.V5_OPEN_ORDERS.name
    V5_HISTORY = table.V5_HISTORY.name
    V5_ORDER = table.V5_ORDER.name
    V5_ASSET_MODE = table.V5_ASSET_MODE.name
    V5_POSITION_MODE = table.V5_POSITION_MODE.name
    CONTRACTS = table.CONTRACTS.name
    TIMESTAMP = table.TIMESTAMP.name


V1Call = Literal[Call.CANCEL_ALL, Call.CANCEL, Call.OPEN_ORDERS, Call.HISTORY]
V5Read = Literal[Call.V5_OPEN_ORDERS, Call.V5_HISTORY, Call.V5_ORDER]
V5Call = Literal[Call.V5_CANCEL, V5Read, Call.V5_ASSET_MODE, Call.V5_POSITION_MODE]

_CALLS = {each.value: each for each in Call}


class Endpoint(NamedTuple):
    """One path of the exchange; `margin_mode` is None where it is not the path that tells it."""

    row: Row
    path: str
    margin_mode: MarginMode | None = None

    @property
    def call(self) -> Call | None:
        """What is to be carried out; None for a row of which only an example can tell."""
        return _CALLS.get(self.row.name)

    @property
    def trades(self) -> bool:
        """Whether it counts as a trade call."""
        return self.row.permission is Permission.TRADE

    @property
    def is_public(self) -> bool:
        """Whether anybody may ask, without a signature."""
        return self.row.permission is Permission.NONE

    @property
    def is_v5(self) -> bool:
        """Whether it belongs to V5, whose replies have another shape."""
        return self.row.generation is ApiGeneration.V5


def check_name(call: str, *others: str) -> None:
    """InvalidSetting unless `call` is the name of a row, or one of `others`."""
    known = (*ENDPOINTS, *others)
    if call not in known:
        raise InvalidSetting(f"call is one of {', '.join(known)}, not {call!r}")


def endpoints() -> tuple[Endpoint, ...]:
    """Every path."""
    return tuple(each for row in ENDPOINTS.values() for each in _paths(row))


def find(method: str, path: str) -> Endpoint | None:
    """What a request is for."""
    for row in ENDPOINTS.values():
        if path in row.every_path and method == row.method:
            return next(each for each in _paths(row) if each.path == path)
    return None


def _paths(row: Row) -> tuple[Endpoint, ...]:
    modes = dict(zip(row.paths, _MODES, strict=True)) if len(row.paths) > 1 else {}
    return tuple(Endpoint(row, path, modes.get(path)) for path in row.every_path)
