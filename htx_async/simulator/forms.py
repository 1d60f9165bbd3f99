"""What the body of a private v1 call asks for, checked field by field, without I/O.

Fields: HTX API docs, the pages of the calls, "[Isolated]" and "[Cross]". Assumed: which of several
faults is named first; 1067 for a value outside its table, where the docs name no code; that
numbers sent as strings are refused, although HTX's own testers send some, so that a client is
held to the documented types.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from htx_async.simulator.contracts import CONTRACT_TYPES, UNKNOWN_CONTRACT, Contracts
from htx_async.simulator.endpoints import Call, Endpoint, MarginMode
from htx_async.simulator.messages import Refusal, Refused, check_names, illegal
from htx_async.simulator.orders import DIRECTIONS, ENDED, OFFSETS, TRADE_TYPES, TRAILING, Order

# The text for an empty or malformed body misleads on the real exchange too (ccxt issue #14348).
BAD_BODY = Refusal(1030, "Abnormal service. Please try again later.")
WRONG_DIRECTION = Refusal(1035, "Incorrect field of form direction.")
WRONG_OFFSET = Refusal(1036, "Incorrect field of open long form.")

_MOST_DAYS = 90
_LARGEST_PAGE = 50
_SORTS = {"created_at": "created_at", "create_date": "created_at", "update_time": "ended_at"}


class Scope(NamedTuple):
    """Which orders a call may see; None means any. Names in capitals."""

    margin_mode: MarginMode
    contract_code: str | None = None
    pair: str | None = None
    contract_type: str | None = None

    def covers(self, order: Order) -> bool:
        """Whether `order` is one of them, open or ended; of other types there are none here."""
        return (
            order.margin_mode == self.margin_mode
            and order.v5_type == TRAILING
            and self.contract_code in (None, order.contract_code.upper())
            and self.pair in (None, order.pair.upper())
            and self.contract_type in (None, order.contract_type)
        )


@dataclass(frozen=True, slots=True)
class Form:
    """A request found in order. `filters`: direction and offset, as far as they are given.
    `trade_type`: 0 for all. `days`: back from now. `sort_by`: an attribute of `Order`. Pages are
    counted from 1.
    """

    scope: Scope
    filters: dict[str, str] = field(default_factory=dict)
    order_ids: tuple[str, ...] = ()
    trade_type: int = 0
    statuses: frozenset[int] = frozenset(ENDED)
    days: int = _MOST_DAYS
    sort_by: str = "created_at"
    page_index: int = 1
    page_size: int = 20


def read_cancel_all(body: Any, endpoint: Endpoint, contracts: Contracts) -> Form:
    """What a cancel-all at `endpoint` is to hit; raises `Refused` with what is wrong with `body`,
    as the other readers do.
    """
    form = _known_fields(body, endpoint)
    filters = _filters(form)
    return Form(_scope(form, endpoint, contracts), filters)


def read_cancel(body: Any, endpoint: Endpoint, contracts: Contracts) -> Form:
    """Which orders a cancel by ids names."""
    form = _known_fields(body, endpoint)
    scope = _scope(form, endpoint, contracts)
    return Form(scope, order_ids=_order_ids(form, endpoint.row.most_ids))


def read_page(body: Any, endpoint: Endpoint, contracts: Contracts) -> Form:
    """Which page of which orders is asked for."""
    form = _known_fields(body, endpoint)
    return Form(
        _scope(form, endpoint, contracts),
        trade_type=_number(form, "trade_type", 0, {0, *TRADE_TYPES.values()}),
        page_index=_number(form, "page_index", 1),
        page_size=_number(form, "page_size", 20, range(1, _LARGEST_PAGE + 1)),
    )


def read_history(form: Any, endpoint: Endpoint, contracts: Contracts) -> Form:
    """The same of the history, which has fields of its own."""
    page = read_page(form, endpoint, contracts)
    _check_present(form, "status")
    _check_present(form, "create_date")
    # The cross page calls it required, and says in the same line what its absence means.
    if endpoint.margin_mode == "isolated":
        _check_present(form, "trade_type")
    sort_by = form.get("sort_by", "created_at")
    if not isinstance(sort_by, str) or sort_by not in _SORTS:
        raise Refused(illegal("sort_by"))
    return replace(
        page,
        statuses=_statuses(form["status"]),
        days=min(_number(form, "create_date", 1), _MOST_DAYS),
        sort_by=_SORTS[sort_by],
    )


def _known_fields(body: Any, endpoint: Endpoint) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(BAD_BODY)
    check_names(body, (*_instrument_fields(endpoint), *endpoint.row.filters))
    return body


def _instrument_fields(endpoint: Endpoint) -> tuple[str, ...]:
    if endpoint.margin_mode == "isolated":
        return ("contract_code",)
    return ("contract_code", "pair", *(["contract_type"] if endpoint.trades else []))


def _check_present(form: dict[str, Any], name: str) -> None:
    if form.get(name) in (None, ""):
        raise Refused(Refusal(1066, f"{name} cannot be empty."))


def _scope(form: dict[str, Any], endpoint: Endpoint, contracts: Contracts) -> Scope:
    """Which orders are meant: `contract_code` first, in cross margin else the pair.

    No instrument at all is 1014 (HTX API docs, "[Cross] Cancel All Trailing Orders"), but
    everything to the cross openorders. Assumed: 1014 too where the docs name no code, for a pair
    without the `contract_type` that a cancel needs, and for empty names.
    """
    mode = endpoint.margin_mode or "isolated"
    if mode == "isolated":
        _check_present(form, "contract_code")
    code, pair, kind = (_name(form, name) for name in ("contract_code", "pair", "contract_type"))
    if code is not None:
        if not contracts.exists(code, mode):
            raise Refused(UNKNOWN_CONTRACT)
        return Scope(mode, code.upper())
    if kind is not None and kind not in CONTRACT_TYPES:
        raise Refused(illegal("contract_type"))
    if pair is None and endpoint.call is Call.OPEN_ORDERS:
        return Scope(mode)
    if pair is None or (kind is None and endpoint.trades) or not contracts.pair_exists(pair, kind):
        raise Refused(UNKNOWN_CONTRACT)
    return Scope(mode, pair=pair.upper(), contract_type=kind)


def _name(form: dict[str, Any], name: str) -> str | None:
    value = form.get(name)
    if name in form and not isinstance(value, str):
        raise Refused(illegal(name))
    return value


def _filters(form: dict[str, Any]) -> dict[str, str]:
    if "direction" in form and form["direction"] not in DIRECTIONS:
        raise Refused(WRONG_DIRECTION)
    if "offset" in form and form["offset"] not in OFFSETS:
        raise Refused(WRONG_OFFSET)
    return {name: form[name] for name in ("direction", "offset") if name in form}


def _order_ids(form: dict[str, Any], most: int) -> tuple[str, ...]:
    """Up to `most` ids joined by commas. Assumed: 1067 for more, and for what is no such list."""
    _check_present(form, "order_id")
    value = form["order_id"]
    ids = tuple(value.split(",")) if isinstance(value, str) else ()
    if not 1 <= len(ids) <= most or not all(one.isascii() and one.isdigit() for one in ids):
        raise Refused(illegal("order_id"))
    return ids


def _statuses(value: Any) -> frozenset[int]:
    """0 for all, or 4, 5, 6 joined by commas; the docs' own example sends a number."""
    texts = set(value.split(",")) if isinstance(value, str) else {str(value)}
    if isinstance(value, bool) or not texts <= {"0", *map(str, ENDED)}:
        raise Refused(illegal("status"))
    return frozenset(ENDED) if "0" in texts else frozenset(map(int, texts))


def _number(
    form: dict[str, Any], name: str, default: int, allowed: Collection[int] | None = None
) -> int:
    value = form.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Refused(illegal(name))
    if value < 1 if allowed is None else value not in allowed:
        raise Refused(illegal(name))
    return value
