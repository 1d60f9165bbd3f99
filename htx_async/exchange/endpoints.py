"""What the exchange documents of each call, in one table: paths, permission, limit. Pure.

Limiters, simulator, doctor and plans look a figure up here when they need it; it stands nowhere
else. HTX publishes no page on V5's algo orders: those rows go by HTX's Java SDK
(HuobiRDCenter/huobi_java_contract), ccxt 4.5.90 and gocryptotrader's pull request 2281.
"""

from enum import StrEnum
from typing import NamedTuple

from htx_async.enums import TRAILING_ORDERS, ApiGeneration, MarginMode

READS = "reads"
"""The name under which all reads of an account wait: they share one budget."""


class Limit(NamedTuple):
    """At most `size` requests in any `per` seconds."""

    size: int
    per: float

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.size / self.per

    def but(self, size: int | None, per: float | None) -> "Limit":
        """With what a caller names in its place."""
        return Limit(self.size if size is None else size, self.per if per is None else per)


class Kind(StrEnum):
    """What a request does: cancel, list what is open, list what has ended, or ask for something
    else than orders."""

    CANCEL = "cancel"
    OPEN = "open"
    ENDED = "ended"
    INFO = "info"


class Permission(StrEnum):
    """What a key needs for a call, which is also whose budget the call spends."""

    TRADE = "trade"
    READ = "read"
    NONE = "none"


BUDGETS = {
    Permission.TRADE: Limit(72, 3.0),
    Permission.READ: Limit(72, 3.0),
    Permission.NONE: Limit(240, 3.0),
}
"""Of all calls together: private ones by account, public ones by address (HTX API docs, "API Rate
Limit Illustration"; V5's pages name the first two, too). Whether a call with a limit of its own
counts here as well is not documented, so it is assumed to."""

TRAILING = Limit(5, 1.0)
"""On each path by itself (HTX API docs, on the page of each trade call of trailing orders); also
kept where no figure is known."""


class Endpoint(NamedTuple):
    """One call of one generation of the API.

    `paths`: for isolated and for cross margin, each of which sees the orders of its own mode only;
    or one for both. `also`: where some sources have it instead. `limit`: on each path by itself;
    None where none is documented. `most_ids`: order ids in one request. `filters`: what a request
    may name beside the contract (on V5, where that is optional, it is one of them). `family`: of
    the orders that it is about.
    """

    name: str
    generation: ApiGeneration
    method: str
    paths: tuple[str, ...]
    permission: Permission
    source: str
    kind: Kind = Kind.INFO
    limit: Limit | None = None
    most_ids: int = 0
    filters: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    family: str = TRAILING_ORDERS

    def path(self, margin_mode: MarginMode = MarginMode.ISOLATED) -> str:
        """The one for `margin_mode`."""
        return self.paths[-1 if margin_mode is MarginMode.CROSS else 0]

    @property
    def every_path(self) -> tuple[str, ...]:
        """Those of both margin modes, and those that some sources have instead."""
        return self.paths + self.also


ENDPOINTS: dict[str, Endpoint] = {}
"""The table, by name."""


def add(endpoint: Endpoint) -> Endpoint:
    """Put one more row into the table; ValueError when its name or a path of it is taken."""
    if endpoint.name in ENDPOINTS or any(map(at, endpoint.every_path)):
        raise ValueError(f"the table has {endpoint.name}, or one of its paths, already")
    return ENDPOINTS.setdefault(endpoint.name, endpoint)


def at(path: str) -> Endpoint | None:
    """The row of `path`."""
    return next((each for each in ENDPOINTS.values() if path in each.every_path), None)


def limit_of(endpoint: str) -> Limit:
    """What a limiter keeps for `endpoint`, a path or `READS`."""
    if endpoint == READS:
        return BUDGETS[Permission.READ]
    row = at(endpoint)
    return TRAILING if row is None or row.limit is None else row.limit


def periods() -> tuple[float, ...]:
    """The seconds of every limit that an endpoint may have for itself."""
    return tuple({limit_of(each.path()).per for each in ENDPOINTS.values()})


_V1 = "/linear-swap-api/v1/"
_DOCS = "HTX API docs, "
_V5_SOURCE = "HTX's Java SDK (huobi_java_contract); ccxt 4.5.90; gocryptotrader, pull request 2281"
_LIST = ("trade_type", "page_index", "page_size")
_V5_IDS = ("algo_id", "algo_client_order_id")
_V5_LIST = ("from", "limit", "direct")

CANCEL_ALL = add(
    Endpoint(
        "cancelall",
        ApiGeneration.V1,
        "POST",
        (f"{_V1}swap_track_cancelall", f"{_V1}swap_cross_track_cancelall"),
        Permission.TRADE,
        f'{_DOCS}"[Isolated] Cancel All Trailing Orders" and its cross twin',
        Kind.CANCEL,
        TRAILING,
        filters=("direction", "offset"),
    )
)
CANCEL = add(
    Endpoint(
        "cancel",
        ApiGeneration.V1,
        "POST",
        (f"{_V1}swap_track_cancel", f"{_V1}swap_cross_track_cancel"),
        Permission.TRADE,
        f'{_DOCS}"[Isolated] Cancel a Trailing Order" and its cross twin',
        Kind.CANCEL,
        TRAILING,
        most_ids=10,
        filters=("order_id",),
    )
)
OPEN_ORDERS = add(
    Endpoint(
        "openorders",
        ApiGeneration.V1,
        "POST",
        (f"{_V1}swap_track_openorders", f"{_V1}swap_cross_track_openorders"),
        Permission.READ,
        f'{_DOCS}"[Isolated] Current unfilled trailing order acquisition" (that page says Trade, '
        "the list of all calls Read) and its cross twin",
        Kind.OPEN,
        filters=_LIST,
    )
)
HISTORY = add(
    Endpoint(
        "hisorders",
        ApiGeneration.V1,
        "POST",
        (f"{_V1}swap_track_hisorders", f"{_V1}swap_cross_track_hisorders"),
        Permission.READ,
        f'{_DOCS}"[Isolated] Get History Trailing Orders" and its cross twin',
        Kind.ENDED,
        filters=("status", "create_date", "sort_by", *_LIST),
    )
)
V5_CANCEL = add(
    Endpoint(
        "v5_cancel",
        ApiGeneration.V5,
        "POST",
        ("/v5/algo/cancel_orders",),
        Permission.TRADE,
        f'{_V5_SOURCE}; ids as of ordinary orders (HTX V5 docs, "Cancel Multiple Orders")',
        Kind.CANCEL,
        most_ids=10,
        filters=("contract_code", *_V5_IDS),
        also=("/v5/algo/cancel-orders",),
    )
)
V5_OPEN_ORDERS = add(
    Endpoint(
        "v5_opens",
        ApiGeneration.V5,
        "GET",
        ("/v5/algo/order/opens",),
        Permission.READ,
        _V5_SOURCE,
        Kind.OPEN,
        filters=("type", "contract_code", *_V5_IDS, *_V5_LIST),
    )
)
V5_HISTORY = add(
    Endpoint(
        "v5_history",
        ApiGeneration.V5,
        "GET",
        ("/v5/algo/order/history",),
        Permission.READ,
        _V5_SOURCE,
        Kind.ENDED,
        filters=(
            *("type", "states", "contract_code", "margin_mode", "start_time", "end_time"),
            *_V5_LIST,
        ),
    )
)
V5_ORDER = add(
    Endpoint(
        "v5_order",
        ApiGeneration.V5,
        "GET",
        ("/v5/algo/order",),
        Permission.READ,
        _V5_SOURCE,
        filters=("type", "contract_code", *_V5_IDS),
    )
)
V5_ASSET_MODE = add(
    Endpoint(
        "v5_asset_mode",
        ApiGeneration.V5,
        "GET",
        ("/v5/account/asset_mode",),
        Permission.READ,
        "HTX V5 docs; JKorf/HTX.Net 9.0.0",
    )
)
V5_POSITION_MODE = add(
    Endpoint(
        "v5_position_mode",
        ApiGeneration.V5,
        "GET",
        ("/v5/position/mode",),
        Permission.READ,
        "HTX V5 docs; JKorf/HTX.Net 9.0.0",
    )
)
CONTRACTS = add(
    Endpoint(
        "contract_info",
        ApiGeneration.V1,
        "GET",
        (f"{_V1}swap_contract_info",),
        Permission.NONE,
        f'{_DOCS}"Query Swap Info"',
        filters=("business_type",),
    )
)
TIMESTAMP = add(
    Endpoint(
        "timestamp",
        ApiGeneration.V1,
        "GET",
        ("/api/v1/timestamp",),
        Permission.NONE,
        f'{_DOCS}"Get current system timestamp"',
    )
)
