"""What a V5 call asks for, checked field by field, without I/O.

HTX publishes no page on V5's algo orders. Fields: HTX's Java SDK
(HuobiRDCenter/huobi_java_contract), ccxt 4.5.90, gocryptotrader's pull request 2281. Assumed: 1067
for whatever is missing, unknown or outside its table, since that is what a recorded fault of a
parameter got; 1014 for a contract that does not exist; an empty parameter is none, as in the
example of HTX V5 docs, "Get Current Orders".
"""

from typing import Any, Literal, NamedTuple, assert_never

from htx_async.simulator.contracts import UNKNOWN_CONTRACT, Contracts
from htx_async.simulator.endpoints import Call, Endpoint, V5Read
from htx_async.simulator.messages import Refused, check_names, illegal
from htx_async.simulator.orders import ENDED, READY, TRAILING, Order
from htx_async.simulator.v5_rows import STATES

_SIGNATURE = ("AccessKeyId", "SignatureMethod", "SignatureVersion", "Timestamp", "Signature")
TYPES = (TRAILING, "tp", "sl", "tpsl", "trigger")
_DIRECTS = ("next", "prev")
_MODES = ("isolated", "cross")
_IDS = ("algo_id", "algo_client_order_id")
CancelForm = Literal["array", "object", "hyphenated"]
"""How V5 wants a cancel, on which clients disagree. "array": at `cancel_orders`, a list (ccxt,
gocryptotrader; an object does as well). "object": there, a single order (HTX.Net). "hyphenated":
the same at `cancel-orders` (HTX's Java SDK). The other path is unknown then."""

Mixed = Literal["taken", "missing", "refused", "malformed"]
"""What becomes of a cancel that names orders of several contracts, which nobody has shown: all are
taken, since each item names its contract; those of other contracts than the first's are missing in
the reply, or each refused (1067); or the whole is (1067)."""

_USUAL_PAGE, _LARGEST_PAGE = 10, 100
_WINDOW = 48 * 3_600_000
_REACH = 90 * 86_400_000


class Wanted(NamedTuple):
    """Which orders a read asks for; None means any. `after`: the row to go on from, 0 for none,
    towards older rows if `backwards`. `since` and `until`: Unix ms.
    """

    statuses: tuple[int, ...]
    contract_code: str | None = None
    margin_mode: str | None = None
    algo_id: str | None = None
    client_order_id: str | None = None
    since: int = 0
    until: int | None = None
    after: int = 0
    backwards: bool = False
    limit: int = _USUAL_PAGE

    def covers(self, order: Order) -> bool:
        """Assumed: the times of the history are those at which orders were placed."""
        return (
            order.status in self.statuses
            and self.contract_code in (None, order.contract_code.upper())
            and self.margin_mode in (None, order.margin_mode)
            and self.algo_id in (None, order.order_id)
            and self.client_order_id in (None, order.client_order_id)
            and self.since <= order.created_at
            and (self.until is None or order.created_at <= self.until)
        )


class Item(NamedTuple):
    """One order to be cancelled; `algo_id` wins (HTX's Java SDK)."""

    contract_code: str
    algo_id: str | None
    client_order_id: str | None


def read_nothing(query: dict[str, str]) -> None:
    """Raise `Refused` for a parameter, where there is none to give."""
    _given(query, ())


def read_query(
    query: dict[str, str], call: V5Read, endpoint: Endpoint, contracts: Contracts, ms: int
) -> Wanted:
    """The parameters of a read at `ms`; raises `Refused` with what is wrong with them.

    `type` is required. Assumed: to ask for trailing orders brings what the book has of other types,
    too, since nobody has shown that it is heeded; to ask for others brings nothing. The history
    reaches back 90 days, in windows of 48 hours, the last one unless told (HTX's Java SDK; for
    ordinary orders HTX V5 docs, "Get Order History"). Assumed: a wider window is 1067.
    """
    form = _given(query, endpoint.row.filters)
    of_ours = _choice(form, "type", TYPES) == TRAILING
    code = form.get("contract_code")
    if code is not None and not contracts.exists(code, "cross"):
        raise Refused(UNKNOWN_CONTRACT)
    since, until, statuses = _reach(form, call, ms)
    return Wanted(
        statuses if of_ours else (),
        code and code.upper(),
        _choice(form, "margin_mode", _MODES) if "margin_mode" in form else None,
        form.get("algo_id"),
        form.get("algo_client_order_id"),
        since,
        until,
        _number(form, "from", 0),
        _choice({"direct": "next", **form}, "direct", _DIRECTS) == "prev",
        _number(form, "limit", _USUAL_PAGE, 1, _LARGEST_PAGE),
    )


def _given(query: dict[str, str], known: tuple[str, ...]) -> dict[str, str]:
    form = {name: text for name, text in query.items() if text}
    check_names(form, (*_SIGNATURE, *known))
    return form


def _reach(form: dict[str, str], call: V5Read, ms: int) -> tuple[int, int | None, tuple[int, ...]]:
    """From when, until when and in which states orders are meant."""
    match call:
        case Call.V5_OPEN_ORDERS:
            return 0, None, (READY,)
        case Call.V5_ORDER:
            if not any(name in form for name in _IDS):
                raise Refused(illegal("algo_id"))
            return 0, None, (READY, *ENDED)
        case Call.V5_HISTORY:
            return *_window(form, ms), _ended(form)
        case _:
            assert_never(call)


def knows_path(path: str, wanted: CancelForm) -> bool:
    """Whether a cancel at `path` is served where this form is wanted."""
    return path.endswith("cancel-orders") is (wanted == "hyphenated")


def read_items(form: Any, wanted: CancelForm, most: int) -> tuple[Item, ...]:
    """The orders of a cancel, at most `most` (more are 1067, assumed). Raises `Refused`."""
    if wanted != "array" and not isinstance(form, dict):
        raise Refused(illegal("orders"))
    rows = rows_of(form)
    if rows is None or not 1 <= len(rows) <= most:
        raise Refused(illegal("orders"))
    return tuple(map(_item, rows))


def rows_of(form: Any) -> list[Any] | None:
    """The rows of a cancel, None for what is none.

    An array (ccxt, gocryptotrader); assumed to do as well, since other clients send objects: one
    row alone (HTX.Net), and an object with one list, whatever its name.
    """
    if isinstance(form, dict):
        if "contract_code" in form:
            return [form]
        form = next(iter(form.values())) if len(form) == 1 else None
    return form if isinstance(form, list) else None


def _item(row: Any) -> Item:
    if not isinstance(row, dict):
        raise Refused(illegal("orders"))
    check_names(row, ("contract_code", *_IDS))
    for name, value in row.items():
        if not isinstance(value, str | None):
            raise Refused(illegal(name))
    code, algo_id, client_order_id = (row.get(name) for name in ("contract_code", *_IDS))
    if not code:
        raise Refused(illegal("contract_code"))
    if not algo_id and not client_order_id:
        raise Refused(illegal("algo_id"))
    return Item(code, algo_id or None, client_order_id or None)


def _choice(form: dict[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = form.get(name, "")
    if value not in allowed:
        raise Refused(illegal(name))
    return value


def _number(
    form: dict[str, str], name: str, default: int, least: int = 0, most: int = 10**18
) -> int:
    text = form.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or len(text) > 18 or not least <= int(text) <= most:
        raise Refused(illegal(name))
    return int(text)


def _ended(form: dict[str, str]) -> tuple[int, ...]:
    by_name = {STATES[status]: status for status in ENDED}
    names = form["states"].split(",") if "states" in form else list(by_name)
    if not by_name.keys() >= set(names):
        raise Refused(illegal("states"))
    return tuple(by_name[name] for name in names)


def _window(form: dict[str, str], ms: int) -> tuple[int, int]:
    until = ms
    if "start_time" in form and "end_time" not in form:
        until = _number(form, "start_time", 0) + _WINDOW
    until = _number(form, "end_time", until)
    since = _number(form, "start_time", max(0, until - _WINDOW))
    if not 0 <= until - since <= _WINDOW:
        raise Refused(illegal("start_time"))
    return max(since, ms - _REACH), until


def named_contract(form: Any) -> str | None:
    """The contract that is named; in a cancel on V5 that of its first order."""
    rows = rows_of(form) or [form]
    value = rows[0].get("contract_code") if isinstance(rows[0], dict) else None
    return value if isinstance(value, str) else None
