"""The calls that the simulated exchange knows: each path of the package's table of endpoints."""

from typing import Literal, NamedTuple, TypeAlias

from htx_async.enums import ApiGeneration
from htx_async.exchange.endpoints import ENDPOINTS, Permission
from htx_async.exchange.endpoints import Endpoint as Row

Call: TypeAlias = str
"""The name of a row of that table."""

V5 = "/v5/"
MarginMode = Literal["isolated", "cross"]
Generation = Literal["v1", "v5"]

_MODES: tuple[MarginMode, ...] = ("isolated", "cross")


class Endpoint(NamedTuple):
    """One path of the exchange; `margin_mode` is None where it is not the path that tells it."""

    row: Row
    path: str
    margin_mode: MarginMode | None = None

    @property
    def call(self) -> Call:
        return self.row.name

    @property
    def trades(self) -> bool:
        """Whether it counts as a trade call."""
        return self.row.permission is Permission.TRADE

    @property
    def is_v5(self) -> bool:
        return self.row.generation is ApiGeneration.V5


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
