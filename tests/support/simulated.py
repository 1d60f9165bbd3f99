"""Requests to a simulated exchange, signed as a client signs them, and its replies."""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from htx_async.simulator import Reply, Request, SimulatedExchange
from tests.support.paths import DATA

PATH = "/linear-swap-api/v1/swap_track_cancelall"
KEY, SECRET = "access-for-tests", "secret-for-tests"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()


class Clock:
    """Seconds that stand still until told otherwise."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


def simulated(**options: Any) -> SimulatedExchange:
    """An exchange with known keys, whose wall clock stands at noon and whose own at zero."""
    known = {"access_key": KEY, "secret_key": SECRET, "now": Clock(NOON), "clock": Clock(0.0)}
    return SimulatedExchange(**{**known, **options})


def signed(
    host: str = "api.hbdm.com",
    *,
    at: float = NOON,
    path: str = PATH,
    method: str = "POST",
    secret: str = SECRET,
    **changed: str,
) -> str:
    """Path and query of a signed request; `changed` replaces parameters before signing."""
    params = {
        "AccessKeyId": KEY,
        "SignatureMethod": "HmacSHA256",
        "SignatureVersion": "2",
        "Timestamp": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        **changed,
    }
    query = urlencode(sorted(params.items()))
    text = "\n".join((method, host, path, query)).encode()
    digest = hmac.new(secret.encode(), text, hashlib.sha256).digest()
    return f"{path}?{query}&Signature={quote(base64.b64encode(digest), safe='')}"


def post(exchange: SimulatedExchange, body: object = None, target: str | None = None) -> Reply:
    """One call through `handle`, signed unless `target` says how; bytes go as they are."""
    form = {"contract_code": "BTC-USDT"} if body is None else body
    raw = form if isinstance(form, bytes) else json.dumps(form).encode()
    return exchange.handle(
        Request("POST", target or signed(), {"Host": "api.hbdm.com"}, raw),
    )


def document(reply: Reply) -> Any:
    return json.loads(reply.body)


def err_code(reply: Reply) -> Any:
    return document(reply).get("err_code")


# An extra field of live cross rows that the docs do not list.
EXTRA = {"trade_partition"}


def example(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text())


def path_of(call: str, mode: str) -> str:
    return f"/linear-swap-api/v1/swap_{'cross_' if mode == 'cross' else ''}track_{call}"


def ask(exchange: SimulatedExchange, call: str, mode: str, body: object) -> Reply:
    """One signed call to the path of `call` and `mode`."""
    return post(exchange, body, signed(path=path_of(call, mode)))


def kind(value: object) -> str:
    """The JSON type."""
    names = {bool: "boolean", int: "number", float: "number", str: "string", type(None): "null"}
    return names.get(type(value), type(value).__name__)


def differences(ours: Any, theirs: Any, where: str = "$") -> list[str]:
    """Where keys or JSON types differ, extra fields aside; lists are held to the first item."""
    if kind(ours) != kind(theirs):
        return [f"{where}: {kind(ours)}, documented {kind(theirs)}"]
    if isinstance(ours, dict):
        named = [f"{where}.{key}" for key in (ours.keys() ^ theirs.keys()) - EXTRA]
        both = [key for key in ours if key in theirs]
        return named + [
            found for key in both for found in differences(ours[key], theirs[key], f"{where}.{key}")
        ]
    if isinstance(ours, list) and ours and theirs:
        return [found for one in ours for found in differences(one, theirs[0], f"{where}[]")]
    return []


def ticking(**options: Any) -> tuple[SimulatedExchange, Callable[[float], None]]:
    """An exchange, and what sets both of its clocks to so many seconds after the start."""
    clock, now = Clock(0.0), Clock(NOON)
    exchange = simulated(clock=clock, now=now, limit=100, **options)

    def at(seconds: float) -> None:
        clock.seconds, now.seconds = seconds, NOON + seconds

    return exchange, at


CODE = "BTC-USDT"


def cancel_all(exchange: SimulatedExchange, mode: str = "isolated") -> Any:
    return document(ask(exchange, "cancelall", mode, {"contract_code": CODE}))


def listed(exchange: SimulatedExchange, mode: str = "isolated", **form: Any) -> list[str]:
    """Ids in openorders."""
    heard = document(ask(exchange, "openorders", mode, {"contract_code": CODE, **form}))
    return [row["order_id_str"] for row in heard["data"]["orders"]]


def history(exchange: SimulatedExchange, mode: str = "isolated", **form: Any) -> list[Any]:
    """Rows of hisorders."""
    wanted = {"contract_code": CODE, "status": "0", "trade_type": 0, "create_date": 90, **form}
    rows: list[Any] = document(ask(exchange, "hisorders", mode, wanted))["data"]["orders"]
    return rows


def cancel(exchange: SimulatedExchange, *ids: str, mode: str = "isolated") -> Any:
    wanted = {"contract_code": CODE, "order_id": ",".join(ids)}
    return document(ask(exchange, "cancel", mode, wanted))
