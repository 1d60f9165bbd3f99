"""What goes in and out of the simulator, without I/O: requests, replies, the five reply shapes."""

import gzip
import json
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any, Literal, NamedTuple

from htx_async.simulator.endpoints import V5

Fate = Literal["answered", "dropped", "truncated"]
Shape = Literal[1, 2, 3, 4, 5]

# Private replies carry this type although they are JSON (ccxt issues #18252 and #25459).
TEXT = "text/plain;charset=UTF-8"
HTML = "text/html"

# What a removed call answered in 2024-01 (log in the official Java SDK).
OFFLINE = (
    "The interface is offline. For details about the address of the new interface, see the "
    "following bulletin:https://www.huobi.com.bo/support/en-us/detail/94916436903925"
)

_KEY_FAULT = 403

_BROKER = "channel_code"


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it arrived. `target` is the raw path and query; as that query may hold a
    signature, no repr shows it.
    """

    method: str
    target: str = field(repr=False)
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """As it came, still escaped."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """As it came; it may hold a signature."""
        return self.target.partition("?")[2]

    def header(self, name: str) -> str:
        """The value of a header whatever its case, or an empty string."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), "")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the peer is to see, `body` as it goes over the wire: `delay` seconds of silence, then
    what `fate` says.

    "answered": the whole body. "dropped": no byte, the connection is aborted. "truncated": all
    headers and the first half of the body.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    delay: float = 0.0
    fate: Fate = "answered"


class Refusal(NamedTuple):
    """What the exchange says of a request, or of one order, that it does not take."""

    code: int
    message: str


class Refused(Exception):
    """Ends the work on a request; `refusal` is the answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal)
        self.refusal = refusal


def illegal(name: str) -> Refusal:
    """1067 for the field `name`, which is unknown or holds what it may not."""
    return Refusal(1067, f"Illegal parameter {name}.")


class NotServed(LookupError):
    """A request for a row of the table of endpoints of which only an example could tell, and none
    was given to `SimulatedExchange.record`.
    """


def check_names(form: Iterable[str], known: Container[str]) -> None:
    """Raise `Refused` for a field that is not `known`."""
    for name in form:
        if name not in known:
            raise Refused(illegal(name))


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply before its common headers are added. `code` is the error code it carries, if any;
    `metered` says whether the application answered, which adds the `ratelimit-*` headers.
    """

    body: bytes
    status: int = 200
    code: int | str | None = None
    content_type: str = TEXT
    headers: Mapping[str, str] = field(default_factory=dict)
    metered: bool = True


Page = Callable[[int, str], Answer]
"""Makes an answer from the time (Unix ms) and the path of a request."""


def as_json(document: object) -> bytes:
    """Compact JSON; a Decimal has 18 places, as in live replies (recorded in ccxt's source)."""
    return _written(document).encode(errors="replace")


_PLAIN = json.JSONEncoder(ensure_ascii=False)


def _written(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:.18f}"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_name(k)}:{_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return _PLAIN.encode(value)


@cache
def _name(key: str) -> str:
    return _PLAIN.encode(key)


def read_json(body: bytes) -> Any:
    """The JSON value of a body, without a broker's `channel_code`; None for anything malformed.

    Published clients put it into the body of each order that they place, on v1 (ccxt and its pull
    request 12496, a live log; JKorf/HTX.Net) and on V5 (ccxt 4.5.90). Assumed: a body of any call
    may have it, whatever its value, and it changes nothing there. Nobody sends it in a query, where
    it is refused as any unknown parameter.
    """
    try:
        return json.loads(body, object_hook=_without_broker)
    except (ValueError, RecursionError):
        return None


def _without_broker(form: dict[str, Any]) -> dict[str, Any]:
    form.pop(_BROKER, None)
    return form


def accepted(data: object, ts: int) -> Answer:
    """v1's envelope around `data`; `ts` in Unix ms."""
    return Answer(as_json({"status": "ok", "data": data, "ts": ts}))


def accepted_on_v5(data: object, ts: int) -> Answer:
    """V5's envelope, as in the live replies that ccxt recorded."""
    return Answer(as_json({"code": 200, "message": "Success", "data": data, "ts": ts}))


def refused(refusal: Refusal, ts: int, path: str) -> Answer:
    """In the shape of the path's generation, with HTTP 200, as every captured body with an
    `err_code` came, and a V5 one with `code`.
    """
    return shaped(None, refusal.code, refusal.message, 200)(ts, path)


def not_found(ts: int, path: str) -> Answer:
    """Shape 5; below /v5/ as the review of gocryptotrader's pull request 2281 quotes it."""
    if path.startswith(V5):
        body = as_json({"code": 404, "message": "Resources do not exist"})
        return Answer(body, 404, 404, metered=False)
    return shaped(5, 404, "Not Found", 404)(ts, path)


def shaped(own_shape: Shape | None, code: int | str, message: str, status: int) -> Page:
    """An error in one of the five shapes in which the exchange refuses; None is 4 below /v5/, and
    else 1.

    1: private and reference calls, `err_code`. 2: market data, `err-code`. 3: full maintenance,
    neither code nor text (HTX API docs, "Maintenance with service suspended"). 4: V5, `code`, and
    for a key fault `msg` in the place of `message` (recorded by htx-api). 5: unknown paths, an
    integer `status`.
    """

    def page(ts: int, path: str) -> Answer:
        shape = own_shape or (4 if path.startswith(V5) else 1)
        words = "msg" if code == _KEY_FAULT else "message"
        documents: dict[Shape, dict[str, object]] = {
            1: {"status": "error", "err_code": code, "err_msg": message, "ts": ts},
            2: {"ts": ts, "status": "error", "err-code": code, "err-msg": message},
            3: {"status": "maintain"},
            4: {"code": code, words: message, "data": None, "ts": ts},
            5: {"timestamp": _iso(ts), "status": code, "error": message, "path": path},
        }
        by_the_call = shape in (1, 2, 4)
        carried = code if by_the_call else None
        return Answer(as_json(documents[shape]), status, carried, metered=by_the_call)

    return page


def contradiction(code: int, other: int | None) -> Page:
    """A success without anything in it that carries the error `code`, or an error of `code` that
    carries the `other` one, too; nobody has seen such a body.
    """

    def page(ts: int, path: str) -> Answer:
        on_v5 = path.startswith(V5)
        own, second = ("code", "err_code") if on_v5 else ("err_code", "code")
        words: dict[str, object] = {"message" if on_v5 else "err_msg": "Simulated."}
        body: dict[str, object]
        if other is not None:
            status = {} if on_v5 else {"status": "error"}
            body = {**status, own: code, second: other, **words, "data": None}
        elif on_v5:
            body = {"code": 200, second: code, **words, "data": []}
        else:
            nothing = {"errors": [], "successes": "", "orders": [], "total_size": 0}
            data = {**nothing, "total_page": 0, "current_page": 1}
            body = {"status": "ok", own: code, **words, "data": data}
        return Answer(as_json({**body, "ts": ts}), code=code)

    return page


def wrapped(
    request: Request,
    answer: Answer,
    metering: Mapping[str, str],
    overriding: Mapping[str, str],
    delay: float,
    fate: Fate,
) -> Reply:
    """The answer with all its headers, compressed if the request lets it.

    `overriding` headers replace those of the same name, whatever its case.
    """
    headers = {"Content-Type": answer.content_type, **answer.headers, **metering}
    body = answer.body
    if body and _asks_for_gzip(request.header("Accept-Encoding")):
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, mtime=0)
    replaced = {name.lower() for name in overriding}
    headers = {name: value for name, value in headers.items() if name.lower() not in replaced}
    return Reply(answer.status, headers | dict(overriding), body, delay, fate)


def _asks_for_gzip(accept_encoding: str) -> bool:
    """Whether the header names gzip, other than to forbid it with `q=0`."""
    for item in accept_encoding.lower().split(","):
        coding, _, weight = item.replace(" ", "").partition(";")
        if coding in ("gzip", "*"):
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _iso(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).isoformat(timespec="milliseconds")
