"""What people and tests in any language ask of a running simulation and do to it, without I/O.

Plain JSON over HTTP below /_control, a path that the exchange does not have. It is no part of the
exchange: no request here is signed, counted, late or on record, and none is lost in an outage.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple, get_args
from urllib.parse import parse_qsl

from htx_async.simulator.contracts import CONTRACT_TYPES, is_well_formed
from htx_async.simulator.endpoints import MarginMode
from htx_async.simulator.faults import Outage
from htx_async.simulator.messages import Reply, Request, as_json, read_json
from htx_async.simulator.orders import DIRECTIONS, OFFSETS, Order
from htx_async.simulator.settings import InvalidSetting, Reader, form, number, one_of, text, whole

if TYPE_CHECKING:
    from htx_async.simulator.exchange import SimulatedExchange

ROOT = "/_control"

_MOST_ORDERS = 1000
_LONGEST_NAME = 64

_HERE = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?")


def is_control(path: str) -> bool:
    """Whether a path is below /_control."""
    return path == ROOT or path.startswith(f"{ROOT}/")


class Control:
    """The commands on one exchange; each answers 200 and a document, or what was wrong:

    * GET /_control: the account's generation, contracts, counts of orders and requests, pending
      faults, outage and refill.
    * GET /_control/orders: the book; `contract_code`, `margin_mode` and `state` (open, ended) in
      the query choose. POST: place `n` orders, as `SimulatedExchange.place`; 200 with their ids.
    * GET /_control/arrivals: the requests so far, without queries, which hold signatures.
    * POST /_control/faults: `kind` is a method of `Misbehaviour`, the other fields its arguments.
      DELETE: forget those that nobody has met.
    * POST /_control/rejections: as `SimulatedExchange.reject_order`.
    * POST /_control/triggers, /_control/outage, /_control/refill, /_control/move: as the methods
      `trigger`, `outage`, `refill` and `move`.

    400 for a body or query that cannot be, 404 and 405 for a path or method that there is not: all
    with `{"error": ...}`, and nothing has happened. 403 for a peer that is not on this machine, and
    for what a web page in a browser may have sent: with an Origin, or for another Host.
    """

    def __init__(self, exchange: "SimulatedExchange") -> None:
        self._exchange = exchange
        self._commands: dict[str, dict[str, Callable[[Request], object]]] = {
            "": {"GET": self._state},
            "/orders": {"GET": self._orders, "POST": self._place},
            "/arrivals": {"GET": self._arrivals},
            "/faults": {"POST": self._fault, "DELETE": self._disarm},
            "/rejections": {"POST": self._reject},
            "/triggers": {"POST": self._trigger},
            "/outage": {"POST": self._outage},
            "/refill": {"POST": self._refill},
            "/move": {"POST": self._move},
        }

    def handle(self, request: Request, peer: str) -> Reply:
        """Carry out one command that came from the address `peer`."""
        if foreign := _foreign(request, peer):
            return _reply(403, {"error": foreign})
        commands = self._commands.get(request.path.removeprefix(ROOT).rstrip("/"))
        if commands is None:
            paths = [f"{ROOT}{path}" for path in self._commands]
            return _reply(404, {"error": "there is no such path", "paths": paths})
        if request.method not in commands:
            allowed = ", ".join(commands)
            return _reply(405, {"error": f"here one asks with {allowed}"}, {"Allow": allowed})
        try:
            return _reply(200, commands[request.method](request))
        except InvalidSetting as error:
            return _reply(400, {"error": str(error)})

    def _state(self, request: Request) -> object:
        exchange = self._exchange
        form(_query(request), {}, ())
        left = exchange.outage_left
        return {
            "generation": exchange.generation,
            "contracts": exchange.contracts,
            "open": {mode: len(exchange.open_orders(None, mode)) for mode in get_args(MarginMode)},
            "ended": len(exchange.ended_orders()),
            "requests": len(exchange.arrivals),
            "busiest_second": exchange.busiest(),
            "faults": exchange.armed,
            "outage_left": round(left, 3),
            "refill": exchange.refill_rate,
        }

    def _orders(self, request: Request) -> object:
        asked = form(_query(request), _WHICH_ORDERS, ())
        is_open = asked.pop("state", "open") == "open"
        find = self._exchange.open_orders if is_open else self._exchange.ended_orders
        found = find(**asked)
        if not found:
            # One that was taken off the list may have orders all the same.
            self._check_contract(asked)
        return {"orders": [_row(order) for order in found]}

    def _check_contract(self, asked: Mapping[str, Any]) -> None:
        code = asked.get("contract_code")
        if code is not None and not self._exchange.has_contract(code):
            raise InvalidSetting(f"there is no contract {code} here")

    def _place(self, request: Request) -> object:
        asked = form(read_json(request.body), _ORDER, ("contract_code",))
        listed = {one.upper() for one in self._exchange.contracts}
        is_new = asked["contract_code"].upper() not in listed
        ids = self._exchange.place(**{"direction": "sell", "offset": "close", **asked})
        return {"order_ids": ids, "listed_now": is_new}

    def _arrivals(self, request: Request) -> object:
        form(_query(request), {}, ())
        names = ("at", "method", "path", "contract_code", "err_code")
        return {
            "arrivals": [
                {name: getattr(one, name) for name in names} for one in self._exchange.arrivals
            ]
        }

    def _fault(self, request: Request) -> object:
        body = read_json(request.body)
        given = body if isinstance(body, dict) else {}
        kind = _FAULTS[one_of("kind", given.get("kind"), _FAULTS)]
        asked = form(body, {"kind": text, **kind.fields, **_WHICH}, kind.required)
        self._check_contract(asked)
        getattr(self._exchange, asked.pop("kind"))(**asked)
        return {"faults": self._exchange.armed}

    def _disarm(self, request: Request) -> object:
        self._exchange.disarm()
        return {"faults": 0}

    def _reject(self, request: Request) -> object:
        asked = form(read_json(request.body), _REJECTION, ("order_id", "err_code"))
        self._exchange.reject_order(**asked)
        return {"order_id": asked["order_id"]}

    def _trigger(self, request: Request) -> object:
        asked = form(read_json(request.body), _TRIGGER, ("order_id",))
        self._exchange.trigger(**asked)
        return {"order_id": asked["order_id"]}

    def _outage(self, request: Request) -> object:
        asked = form(
            read_json(request.body),
            {"seconds": number, "kind": _choice(*get_args(Outage))},
            ("seconds",),
        )
        self._exchange.outage(**asked)
        return {"outage_left": round(self._exchange.outage_left, 3)}

    def _refill(self, request: Request) -> object:
        asked = form(read_json(request.body), {"rate": number}, ("rate",))
        self._exchange.refill(**asked)
        return {"refill": self._exchange.refill_rate}

    def _move(self, request: Request) -> object:
        self._exchange.move(**form(read_json(request.body or b"{}"), {"after": number}, ()))
        return {"generation": self._exchange.generation}


def _foreign(request: Request, peer: str) -> str:
    """Why a request is not carried out; "" if it comes from a program on this machine.

    A page in a browser here could be made to send one: it says its Origin with whatever changes
    something, and a page whose host was given this machine's address afterwards says that Host.
    """
    try:
        is_here = ipaddress.ip_address(peer).is_loopback
    except ValueError:
        is_here = False
    if not is_here:
        return "only programs on this machine may ask"
    if any(name.lower() == "origin" for name in request.headers):
        return "a web page may not ask: the request has an Origin"
    if not _HERE.fullmatch(request.header("Host").lower()):
        return "the Host must be 127.0.0.1 or localhost"
    return ""


def _query(request: Request) -> dict[str, str]:
    return dict(parse_qsl(request.query, keep_blank_values=True))


def _reply(status: int, document: object, headers: Mapping[str, str] | None = None) -> Reply:
    kind = {"Content-Type": "application/json", "X-Content-Type-Options": "nosniff"}
    return Reply(status, {**kind, **(headers or {})}, as_json(document))


def _row(order: Order) -> dict[str, object]:
    """Numbers of money as text, since JSON's are no decimals."""
    exact = ("volume", "callback_rate", "active_price")
    return {**asdict(order), **{name: str(getattr(order, name)) for name in exact}}


def _contract_code(name: str, value: Any) -> str:
    code = text(name, value)
    if len(code) > _LONGEST_NAME or not code.isprintable() or not is_well_formed(code):
        raise InvalidSetting(f"{name} is a contract's, such as BTC-USDT")
    return code


def _choice(*known: object) -> Reader:
    return lambda name, value: one_of(name, value, known)


def _above_zero(name: str, value: Any) -> float:
    return number(name, value, most=1e12, above=True)


def _up_to(most: int) -> Reader:
    return lambda name, value: whole(name, value, 1, most)


def _line(name: str, value: Any) -> str:
    if not text(name, value).isprintable():
        raise InvalidSetting(f"{name} is a line of text")
    return str(value)


def _status(name: str, value: Any) -> int:
    return whole(name, value, 200, 599)


def _flag(name: str, value: Any) -> bool:
    return bool(one_of(name, value, (True, False)))


def _code(name: str, value: Any) -> int | str:
    return value if isinstance(value, str) and value else whole(name, value, 0)


def _bytes(name: str, value: Any) -> bytes:
    if not isinstance(value, str):
        raise InvalidSetting(f"{name} is a text")
    return value.encode(errors="replace")


_MODE = _choice(*get_args(MarginMode))

_WHICH_ORDERS: dict[str, Reader] = {
    "contract_code": text,
    "margin_mode": _MODE,
    "state": _choice("open", "ended"),
}
_ORDER: dict[str, Reader] = {
    "contract_code": _contract_code,
    "direction": _choice(*DIRECTIONS),
    "offset": _choice(*OFFSETS, "both"),
    "n": _up_to(_MOST_ORDERS),
    "margin_mode": _MODE,
    "contract_type": _choice(*CONTRACT_TYPES),
    "volume": _above_zero,
    "callback_rate": _above_zero,
    "active_price": _above_zero,
    "reduce_only": _choice(0, 1),
    "client_order_id": text,
}
_OUTAGE: dict[str, Reader] = {"seconds": number, "kind": _choice(*get_args(Outage))}
_TRIGGER: dict[str, Reader] = {"order_id": text, "after": number, "fail_code": whole}
_REJECTION: dict[str, Reader] = {
    "order_id": text,
    "err_code": whole,
    "err_msg": text,
    "times": _up_to(_MOST_ORDERS),
}
_WHICH: dict[str, Reader] = {
    "times": _up_to(_MOST_ORDERS),
    "contract_code": _contract_code,
    "call": text,
}


class _Kind(NamedTuple):
    fields: dict[str, Reader]
    required: tuple[str, ...]


def _kind(*required: str, **fields: Reader) -> _Kind:
    return _Kind(fields, required)


_FAULTS: dict[object, _Kind] = {
    "late": _kind("seconds", seconds=number),
    "lose_before_work": _kind(),
    "lose_after_work": _kind(),
    "truncate": _kind(),
    "bad_gateway": _kind(after_work=_flag),
    "malform": _kind("body", body=_bytes, status=_status, after_work=_flag),
    "refuse": _kind("code", code=_code, message=text, shape=_choice(1, 2, 3, 4, 5), status=_status),
    "contradict": _kind("code", code=whole, other=whole, after_work=_flag),
    "maintain": _kind(),
    "retire": _kind(path_gone=_flag),
    "redirect": _kind("status", "location", status=_status, location=_line),
    "too_many": _kind(retry_after=number, body=_bytes),
}
