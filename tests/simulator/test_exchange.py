"""The simulated exchange, held against published vectors and captures.

The helpers below sign with lines of their own, as simulator and client do with theirs.
"""

import asyncio
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from htx_async.simulator import Order, Request, SimulatedExchange
from tests.support.simulated import (
    KEY,
    NOON,
    PATH,
    SECRET,
    Clock,
    document,
    err_code,
    post,
    signed,
    simulated,
)


@dataclass
class Heard:
    status: int
    headers: Any
    body: bytes


class Client:
    """Signed calls over real HTTP, by hand."""

    def __init__(self, exchange: SimulatedExchange, session: aiohttp.ClientSession) -> None:
        self.exchange = exchange
        self.host = exchange.url.removeprefix("http://")
        self._session = session

    async def post(
        self, contract_code: str = "BTC-USDT", target: str | None = None, **headers: str
    ) -> Heard:
        url = URL(self.exchange.url + (target or signed(self.host)), encoded=True)
        form = json.dumps({"contract_code": contract_code})
        options: Any = {"data": form, "headers": headers, "allow_redirects": False}
        async with self._session.post(url, **options) as response:
            return Heard(response.status, response.headers, await response.read())

    async def get(self, path: str) -> Heard:
        async with self._session.get(self.exchange.url + path) as response:
            return Heard(response.status, response.headers, await response.read())


@asynccontextmanager
async def serving(**options: Any) -> AsyncIterator[Client]:
    async with simulated(**options) as exchange, aiohttp.ClientSession() as session:
        yield Client(exchange, session)


async def arrived(exchange: SimulatedExchange, n: int) -> None:
    """Let the loop turn until `n` requests are on record."""
    while len(exchange.arrivals) < n:  # noqa: ASYNC110 - the exchange has no event to wait for
        await asyncio.sleep(0)


VECTORS = {
    "huobi_Golang privateurlbuilder_test.go": (
        "access",
        "secret",
        "GET",
        "api.huobi.pro",
        "/v1/account/accounts",
        "",
        "2019-11-21T10:00:00",
        "rWnLcMt3XBAsmXoNHtTQVpvMbH/cE1PXFwQAGeYwt3s=",
    ),
    "huobi_Golang, with business parameters": (
        "access",
        "secret",
        "GET",
        "api.huobi.pro",
        "/v1/account/history",
        "&account-id=123&currency=btc",
        "2019-11-21T10:00:00",
        "SGZYJ9Ub/hFerEBbSWsCxl8Djk+LRBgEZOB4fLc4T9Q=",
    ),
    "huobi_CSharp SignerTest": (
        "abcdefg-hijklmn-opqrst-uvwxyz",
        "12345-67890-12345-67890",
        "GET",
        "api.huobi.pro",
        "/v1/account/accounts",
        "",
        "2020-04-01T12:34:56",
        "3IUZcEak4IIRrh7/idFrP2Jj77MaWGXR/oQbe9gL4+I=",
    ),
    "HTX.Net HTXRestClientTests": (
        "e2xxxxxx-99xxxxxx-84xxxxxx-7xxxx",
        "XXXXXXXXXX",
        "GET",
        "api.huobi.pro",
        "/v1/order/orders",
        "&order-id=1234567890",
        "2017-05-11T15:19:30",
        "2ZQ7/roKBjdnAv8z5DymwzgSaOPyPgJl0BIlq9fa94w=",
    ),
    "pybotters test_auth.py, a POST": (
        "e2xxxxxx-99xxxxxx-84xxxxxx-7xxxx",
        "b0xxxxxx-c6xxxxxx-94xxxxxx-dxxxx",
        "POST",
        "api-cloud.bittrade.co.jp",
        "/v1/order/orders/place",
        "",
        "2017-05-11T15:19:30",
        "/yTARtqPKvYXF9PkmdgkruvfJWSr8umI6HOrNgvs4uk=",
    ),
}


@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS)
@pytest.mark.parametrize("spoil", [False, True], ids=["published", "spoiled"])
def test_published_signatures_verify_and_changed_ones_do_not(
    vector: tuple[str, ...], spoil: bool
) -> None:
    """Published signatures verify (the unknown path is then 404), and a changed one does not."""
    access, secret, method, host, path, extra, timestamp, signature = vector
    if spoil:
        signature = ("A" if signature[0] != "A" else "B") + signature[1:]
    target = (
        f"{path}?AccessKeyId={access}&SignatureMethod=HmacSHA256&SignatureVersion=2"
        f"&Timestamp={quote(timestamp)}{extra}&Signature={quote(signature, safe='')}"
    )
    now = Clock(datetime.fromisoformat(timestamp + "+00:00").timestamp())
    exchange = simulated(access_key=access, secret_key=secret, now=now)
    reply = exchange.handle(Request(method, target, {"host": host}, b'{"not": "signed"}'))
    assert (reply.status, err_code(reply)) == ((200, 403) if spoil else (404, None))


@pytest.mark.parametrize("with_port", [True, False])
async def test_both_spellings_of_the_host_verify_over_http(with_port: bool) -> None:
    """A signature over the bare host or over host:port is accepted from the real Host header."""
    async with serving() as client:
        client.exchange.place("BTC-USDT", "buy", "close")
        heard = await client.post(target=signed(client.host if with_port else "127.0.0.1"))
    assert json.loads(heard.body)["status"] == "ok"
    assert client.exchange.open_orders() == ()


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (signed(AccessKeyId="another"), "Incorrect Access key [Access key错误]"),
        (PATH, "Incorrect Access key [Access key错误]"),
        (signed(SignatureMethod="HmacSHA512"), "Incorrect signature method [错误的签名方法]"),
        (signed(secret="another"), "Verification failure [校验失败]"),
        (signed("api.hbdm.vn"), "Verification failure [校验失败]"),
        (signed(method="GET"), "Verification failure [校验失败]"),
        (signed(SignatureVersion="1"), "Verification failure [校验失败]"),
        (signed(Timestamp="2026-03-01T12:00:00Z"), "Verification failure [校验失败]"),
        (signed(Timestamp="2026-03-01T12:00:00.000"), "Verification failure [校验失败]"),
        (signed(Timestamp="2026-13-01T12:00:00"), "Verification failure [校验失败]"),
        (signed() + "&Timestamp=2026-03-01T12%3A00%3A00", "Verification failure [校验失败]"),
        (signed().partition("&Signature=")[0], "Verification failure [校验失败]"),
        (signed(path=PATH + "x").replace("cancelallx", "cancelall"), "Verification failure"),
    ],
)
def test_a_wrong_signature_is_403(target: str, text: str) -> None:
    """Each fault of key or signature is err_code 403 with HTTP 200, and nothing is cancelled."""
    exchange = simulated()
    exchange.place("BTC-USDT", "buy", "open")
    reply = post(exchange, target=target)
    assert (reply.status, err_code(reply)) == (200, 403)
    assert document(reply)["err_msg"].startswith(text)
    assert len(exchange.open_orders()) == 1


def test_an_unescaped_plus_does_not_verify() -> None:
    """A raw plus in a signature arrives as a space, while other raw signs are harmless."""
    moments = (NOON + second for second in range(200))
    target = next(one for at in moments if "%2B" in (one := signed(at=at)) and "%2F" in one)
    assert err_code(post(simulated(), target=target)) == 1051
    harmless = target.replace("%2F", "/").replace("%3D", "=").replace("%3A", ":")
    assert err_code(post(simulated(), target=harmless)) == 1051
    assert err_code(post(simulated(), target=target.replace("%2B", "+"))) == 403


@pytest.mark.parametrize(
    ("skew", "expected"), [(-300, 1051), (300, 1051), (-301, 12001), (301, 12001)]
)
def test_a_timestamp_is_valid_for_five_minutes(skew: int, expected: int) -> None:
    """More than five minutes off, either way, is 12001, even though the signature verifies."""
    assert err_code(post(simulated(), target=signed(at=NOON + skew))) == expected


def test_a_stale_timestamp_may_be_answered_403() -> None:
    """`stale_code` selects the other of the two answers the exchange may give."""
    reply = post(simulated(stale_code=403), target=signed(at=NOON - 600))
    assert err_code(reply) == 403
    assert document(reply)["err_msg"] == "Verification failure [校验失败]"


def test_keys_are_fresh_and_the_secret_never_shows() -> None:
    """Every instance has its own keys, and no repr of exchange, request or arrival leaks one."""
    first, second = SimulatedExchange(), SimulatedExchange()
    assert first.credentials.access_key != second.credentials.access_key
    exchange = simulated()
    request = Request("POST", signed(), {"Host": "api.hbdm.com"})
    exchange.handle(request)
    shown = f"{exchange!r} {exchange.credentials!r} {request!r} {exchange.arrivals!r}"
    assert SECRET not in shown + repr(vars(exchange))
    assert "Signature" not in shown
    assert KEY not in shown


def test_successes_are_one_comma_joined_string() -> None:
    """All orders of the contract go; their ids come joined, oldest first, with 19 digits each."""
    exchange = simulated()
    ids = exchange.place("BTC-USDT", "buy", "close", 2) + exchange.place("BTC-USDT", "sell", "open")
    (other,) = exchange.place("ETH-USDT", "sell", "both")
    assert document(post(exchange)) == {
        "status": "ok",
        "data": {"errors": [], "successes": ",".join(ids)},
        "ts": NOON * 1000,
    }
    assert all(len(one) == 19 and one.isdigit() and float(one) != int(one) for one in ids)
    assert exchange.open_orders() == (Order(other, "ETH-USDT", "sell", "both"),)


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({}, []),
        ({"direction": "buy"}, ["sell open", "sell close", "sell both"]),
        ({"offset": "close"}, ["buy open", "buy both", "sell open", "sell both"]),
        (
            {"direction": "sell", "offset": "open"},
            ["buy open", "buy close", "buy both", "sell close", "sell both"],
        ),
    ],
)
def test_filters_are_independent(filters: dict[str, str], left: list[str]) -> None:
    """`direction` and `offset` each filter, together mean AND; `offset` misses one-way orders."""
    exchange = simulated()
    for direction in ("buy", "sell"):
        for offset in ("open", "close", "both"):
            exchange.place("BTC-USDT", direction, offset)
    post(exchange, {"contract_code": "btc-usdt", **filters})
    assert [f"{one.direction} {one.offset}" for one in exchange.open_orders("btc-usdt")] == left


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", 1030),
        (b"{", 1030),
        (b"\xff", 1030),
        (b"[" * 100_000, 1030),
        ([], 1030),
        ({}, 1066),
        ({"contract_code": ""}, 1066),
        ({"direction": "buy"}, 1066),
        ({"contract_code": 7}, 1067),
        ({"contract_code": "BTC-USDT", "marginMode": "isolated"}, 1067),
        ({"contract_code": "BTC-USDT", "\ud800": 1}, 1067),
        ({"contract_code": "BTC-USDT", "direction": "long"}, 1035),
        ({"contract_code": "BTC-USDT", "direction": None}, 1035),
        ({"contract_code": "BTC-USDT", "offset": "both"}, 1036),
        ({"contract_code": "BTC-USDT", "offset": ""}, 1036),
        ({"contract_code": "BTC-USDT-210625"}, 1014),
        ({"contract_code": "BTC"}, 1014),
        ({"contract_code": "BTC-USDT"}, 1051),
        ({"contract_code": "龙虾-USDT"}, 1051),
    ],
)
def test_bodies_are_judged(body: object, expected: int) -> None:
    """Malformed, incomplete and undocumented bodies each get their documented code, HTTP 200."""
    exchange = simulated()
    reply = post(exchange, body)
    assert (reply.status, err_code(reply)) == (200, expected)
    assert exchange.arrivals[0].err_code == expected


def test_contracts_exist_unless_told_otherwise() -> None:
    """`contracts` closes the list, placing opens it again, `unknown_contract` removes one."""
    exchange = simulated(contracts={"BTC-USDT"})
    exchange.unknown_contract("btc-usdt")
    exchange.place("ETH-USDT", "buy", "open")
    codes = ("BTC-USDT", "ETH-USDT", "XRP-USDT")
    answers = [err_code(post(exchange, {"contract_code": code})) for code in codes]
    assert answers == [1014, None, 1014]


def test_a_wrong_order_is_not_placed() -> None:
    """The book takes only the documented values, so that a typing error in a test is found."""
    with pytest.raises(ValueError, match="direction"):
        simulated().place("BTC-USDT", "buy", "opne")  # type: ignore[arg-type]  # what is wrong


@pytest.mark.parametrize(
    ("code", "stays"),
    [(1004, True), (1017, False), (1061, False), (1062, False), (1063, False), (1071, False)],
)
def test_an_order_may_be_rejected_on_its_own(code: int, stays: bool) -> None:
    """A rejected order is in `errors` beside the successes; it stays unless the code says gone."""
    exchange = simulated()
    bad, good = exchange.place("BTC-USDT", "buy", "open", 2)
    exchange.reject_order(bad, code, "text")
    assert document(post(exchange))["data"] == {
        "errors": [{"order_id": bad, "err_code": code, "err_msg": "text"}],
        "successes": good,
    }
    assert [one.order_id for one in exchange.open_orders()] == ([bad] if stays else [])
    again = document(post(exchange))
    assert again["data"]["successes"] == bad if stays else again["err_code"] == 1051


def test_only_an_open_order_can_be_rejected() -> None:
    """A rejection that could never take effect is refused."""
    with pytest.raises(ValueError, match="open order"):
        simulated().reject_order("1", 1004)


def test_the_sixth_arrival_in_a_second_is_refused() -> None:
    """Refused arrivals count too, and only what has left the sliding window makes room."""
    clock = Clock(0.0)
    exchange = simulated(clock=clock)
    answered = []
    for tenths in (0, 1, 2, 3, 4, 9, 10, 12, 19, 20):
        clock.seconds = tenths / 10
        answered.append(err_code(post(exchange)))
    # The refusal at 0.9 takes the place that the arrival at 0.0 gives up at 1.0.
    assert answered == [*[1051] * 5, 1032, 1032, 1051, 1051, 1051]
    assert exchange.busiest() == 6
    assert exchange.busiest(0.3) == 3
    assert exchange.busiest(0.31) == 4
    assert exchange.busiest(path="/elsewhere") == 0


def test_hammering_keeps_the_door_shut() -> None:
    """Whoever never pauses is refused for ever, since a refused arrival holds a place as well."""
    clock = Clock(0.0)
    exchange = simulated(clock=clock, limit=2, interval=1.0)
    answered = []
    for tenths in range(0, 40, 4):
        clock.seconds = tenths / 10
        answered.append(err_code(post(exchange)))
    assert answered == [1051, 1051, *[1032] * 8]


def test_rate_limit_headers_count_down_and_name_the_reset() -> None:
    """The headers count down, and `ratelimit-reset` is the Unix ms at which one more is let in."""
    clock, now = Clock(0.0), Clock(NOON)
    exchange = simulated(clock=clock, now=now, limit=2, interval=0.5)
    seen = []
    for offset in (0.0, 0.125, 0.25):
        clock.seconds, now.seconds = offset, NOON + offset
        headers = post(exchange).headers
        assert (headers["ratelimit-limit"], headers["ratelimit-interval"]) == ("2", "500")
        seen.append((headers["ratelimit-remaining"], int(headers["ratelimit-reset"])))
    base = int(NOON * 1000)
    assert seen == [("1", base + 500), ("0", base + 500), ("0", base + 625)]
    clock.seconds = 0.625
    assert err_code(post(exchange)) == 1051


def test_a_limit_makes_sense() -> None:
    """A limit that would let nobody in is refused."""
    with pytest.raises(ValueError, match="limit"):
        SimulatedExchange(limit=0)


def test_the_public_clock_has_its_own_limit() -> None:
    """The timestamp needs no signature, is 240 per 3 s, and spends nothing of the private path."""
    exchange = simulated()
    replies = [exchange.handle(Request("GET", "/api/v1/timestamp", {})) for _ in range(241)]
    assert document(replies[0]) == {"status": "ok", "ts": NOON * 1000}
    assert replies[0].headers["ratelimit-limit"] == "240"
    assert replies[0].headers["ratelimit-interval"] == "3000"
    assert [err_code(one) for one in replies[239:]] == [None, 1032]
    assert post(exchange).headers["ratelimit-remaining"] == "4"
    assert exchange.busiest() == 1
    assert exchange.busiest(3.0, path="/api/v1/timestamp") == 241


@pytest.mark.parametrize(("method", "path"), [("GET", "/nope"), ("GET", PATH), ("POST", "/x?y=1")])
def test_unknown_paths_are_404(method: str, path: str) -> None:
    """An unknown path, or a known one with another method, is HTTP 404 in the fifth shape."""
    reply = simulated().handle(Request(method, path, {}))
    assert reply.status == 404
    assert document(reply) == {
        "timestamp": "2026-03-01T12:00:00.000+00:00",
        "status": 404,
        "error": "Not Found",
        "path": path.partition("?")[0],
    }


async def test_arrivals_are_on_record_without_the_signature() -> None:
    """An arrival tells when, what and how answered over HTTP, and nothing of the query."""
    async with serving(clock=Clock(7.5)) as client:
        await client.post("ETH-USDT")
        await client.get("/api/v1/timestamp?x=1")
        await client.get("/nope")
    seen = [
        (one.at, one.method, one.path, one.contract_code, one.err_code, one.host)
        for one in client.exchange.arrivals
    ]
    assert seen == [
        (7.5, "POST", PATH, "ETH-USDT", 1051, client.host),
        (7.5, "GET", "/api/v1/timestamp", None, None, client.host),
        (7.5, "GET", "/nope", None, None, client.host),
    ]


async def test_arrivals_are_on_the_clock_of_the_loop() -> None:
    """Without `clock=` the running loop's time counts, and outside of a loop a monotonic one."""
    loop = asyncio.get_running_loop()
    exchange = SimulatedExchange()
    before = loop.time()
    post(exchange)
    await asyncio.to_thread(post, exchange)
    inside, outside = (one.at for one in exchange.arrivals)
    assert before <= inside <= loop.time()
    assert outside <= time.monotonic()


@pytest.mark.parametrize(
    ("accepted", "zipped"),
    [
        ("gzip, deflate", True),
        ("deflate;q=0.5, gzip;q=0.8", True),
        ("*", True),
        ("deflate", False),
        ("gzip; q=0", False),
    ],
)
def test_gzip_if_asked_for(accepted: str, zipped: bool) -> None:
    """The body is compressed exactly when Accept-Encoding lets it."""
    request = Request("GET", "/api/v1/timestamp", {"accept-encoding": accepted})
    reply = simulated().handle(request)
    assert ("Content-Encoding" in reply.headers) == zipped
    body = gzip.decompress(reply.body) if zipped else reply.body
    assert json.loads(body)["status"] == "ok"


async def test_replies_look_like_the_captures() -> None:
    """A private reply over HTTP is text/plain, gzip, with the four rate limit headers."""
    async with serving() as client:
        heard = await client.post()
    assert heard.status == 200
    assert json.loads(heard.body)["err_code"] == 1051
    expected = {
        "Content-Type": "text/plain;charset=UTF-8",
        "Content-Encoding": "gzip",
        "ratelimit-limit": "5",
        "ratelimit-interval": "1000",
        "ratelimit-remaining": "4",
        "ratelimit-reset": str(int(NOON * 1000) + 1000),
    }
    assert expected.items() <= dict(heard.headers).items()


def test_headers_can_be_replaced() -> None:
    """`reply_headers` overrides whatever the case of the name, and can change on the way."""
    exchange = simulated(reply_headers={"RateLimit-Limit": "72"})
    exchange.reply_headers["ratelimit-interval"] = "3000"
    headers = {name.lower(): value for name, value in post(exchange).headers.items()}
    assert len(headers) == len(post(exchange).headers)
    assert (headers["ratelimit-limit"], headers["ratelimit-interval"]) == ("72", "3000")


def test_latency_is_added_to_every_answer() -> None:
    """`latency` is seconds or a callable, and comes on top of a fault's own delay."""
    exchange = simulated(latency=0.25)
    exchange.late(2.0)
    assert [post(exchange).delay, post(exchange).delay] == [2.25, 0.25]
    exchange.latency = iter((0.5,)).__next__
    assert exchange.handle(Request("GET", "/nope", {})).delay == 0.5


async def test_late_work_is_done_at_arrival() -> None:
    """With `late` the orders are gone while the client still waits."""
    async with serving() as client:
        client.exchange.place("BTC-USDT", "buy", "open")
        client.exchange.late(0.02)
        waiting = asyncio.create_task(client.post())
        await arrived(client.exchange, 1)
        assert client.exchange.open_orders() == ()
        assert not waiting.done()
        assert json.loads((await waiting).body)["status"] == "ok"


@pytest.mark.parametrize("worked", [False, True])
async def test_a_lost_connection_tells_nothing_of_the_work(worked: bool) -> None:
    """The client hears nothing; the orders are gone only if it was lost after the work."""
    async with serving() as client:
        client.exchange.place("BTC-USDT", "buy", "open")
        if worked:
            client.exchange.lose_after_work()
        else:
            client.exchange.lose_before_work()
        with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            await client.post()
        assert len(client.exchange.open_orders()) == (0 if worked else 1)
        assert client.exchange.arrivals[0].err_code is None
        await client.post()
    assert len(client.exchange.arrivals) == 2


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_a_truncated_body_ends_halfway_with_the_work_done(encoding: str) -> None:
    """The work is done and the body ends halfway, before its promised length."""
    async with serving() as client:
        client.exchange.place("BTC-USDT", "buy", "open")
        client.exchange.truncate()
        with pytest.raises(aiohttp.ClientPayloadError):
            await client.post(**{"Accept-Encoding": encoding})
        assert client.exchange.open_orders() == ()
        assert json.loads((await client.post()).body)["err_code"] == 1051


@pytest.mark.parametrize("worked", [False, True])
async def test_a_bad_gateway_answers_html_without_limit_headers(worked: bool) -> None:
    """The gateway answers HTML with HTTP 502, with no rate limit headers; work is on request."""
    async with serving() as client:
        client.exchange.place("BTC-USDT", "buy", "open")
        client.exchange.bad_gateway(after_work=worked)
        heard = await client.post()
    assert (heard.status, heard.headers["Content-Type"]) == (502, "text/html")
    assert "ratelimit-limit" not in heard.headers
    assert b"502 Bad Gateway" in heard.body
    assert len(client.exchange.open_orders()) == (0 if worked else 1)


@pytest.mark.parametrize("worked", [False, True])
async def test_a_malformed_body_reaches_the_client_as_it_is(worked: bool) -> None:
    """Any bytes reach the client as they are, under the usual headers."""
    async with serving() as client:
        client.exchange.place("BTC-USDT", "buy", "open")
        client.exchange.malform(b'{"status":"ok"\xff', 203, after_work=worked)
        heard = await client.post()
    assert (heard.status, heard.body) == (203, b'{"status":"ok"\xff')
    assert heard.headers["ratelimit-limit"] == "5"
    assert len(client.exchange.open_orders()) == (0 if worked else 1)


TS = int(NOON * 1000)
ISO = "2026-03-01T12:00:00.000+00:00"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"code": 1056}, {"status": "error", "err_code": 1056, "err_msg": "no", "ts": TS}),
        (
            {"code": 1056, "code_as_text": True},
            {"status": "error", "err_code": "1056", "err_msg": "no", "ts": TS},
        ),
        (
            {"code": "invalid-parameter", "shape": 2},
            {"ts": TS, "status": "error", "err-code": "invalid-parameter", "err-msg": "no"},
        ),
        ({"code": 0, "shape": 3}, {"status": "maintain"}),
        ({"code": 1067, "shape": 4}, {"code": 1067, "message": "no", "data": None, "ts": TS}),
        (
            {"code": 503, "shape": 5, "status": 503},
            {"timestamp": ISO, "status": 503, "error": "no", "path": PATH},
        ),
    ],
)
def test_refusals_come_in_five_shapes(options: dict[str, Any], expected: dict[str, Any]) -> None:
    """`refuse` speaks each documented shape, leaves the book alone and goes on record."""
    exchange = simulated()
    exchange.place("BTC-USDT", "buy", "open")
    exchange.refuse(message="no", **options)
    reply = post(exchange)
    assert reply.status == options.get("status", 200)
    assert document(reply) == expected
    carried = (expected.get(name) for name in ("err_code", "err-code", "code"))
    assert exchange.arrivals[0].err_code == next((one for one in carried if one), None)
    assert len(exchange.open_orders()) == 1


def test_maintenance_is_one_word() -> None:
    """In maintenance the body is the third shape and nothing else."""
    exchange = simulated()
    exchange.maintain()
    assert document(post(exchange)) == {"status": "maintain"}


def test_a_retired_call_answers_10000_or_404() -> None:
    """A removed call answers 10000, or 404 once its path is gone."""
    exchange = simulated()
    exchange.retire()
    exchange.retire(path_gone=True)
    offline, gone = post(exchange), post(exchange)
    assert (offline.status, err_code(offline)) == (200, 10000)
    assert document(offline)["err_msg"].startswith("The interface is offline.")
    assert (gone.status, document(gone)["status"], document(gone)["path"]) == (404, 404, PATH)
    assert "ratelimit-limit" not in gone.headers


async def test_a_redirect_has_its_location_and_no_body() -> None:
    """A redirect carries its status and its location, and no body."""
    async with serving() as client:
        client.exchange.redirect(307, "https://example.invalid/")
        heard = await client.post()
    assert (heard.status, heard.body) == (307, b"")
    assert heard.headers["Location"] == "https://example.invalid/"


def test_429_comes_with_its_body_and_retry_after_only_if_asked_for() -> None:
    """HTTP 429 comes with the body asked for, and with Retry-After only if asked for."""
    exchange = simulated()
    exchange.too_many()
    exchange.too_many(1.5, b"slow down")
    bare, full = post(exchange), post(exchange)
    assert (bare.status, bare.body, "Retry-After" in bare.headers) == (429, b"", False)
    assert (full.status, full.body, full.headers["Retry-After"]) == (429, b"slow down", "1.5")


def test_faults_queue_and_wait_for_their_contract() -> None:
    """Faults go oldest first, `times` each, only to the contract named; what is left stays."""
    exchange = simulated(limit=100)
    exchange.refuse(1004, times=2, contract_code="eth-usdt")
    exchange.refuse(1056)
    exchange.refuse(1059)
    wanted = ("BTC-USDT", "ETH-USDT", "XRP-USDT", "BTC-USDT", "ETH-USDT", "ETH-USDT")
    answers = [err_code(post(exchange, {"contract_code": code})) for code in wanted]
    assert answers == [1056, 1004, 1059, 1051, 1004, 1051]


def test_faults_leave_public_calls_alone() -> None:
    """A fault waits for a private request."""
    exchange = simulated()
    exchange.refuse(1056)
    assert exchange.handle(Request("GET", "/api/v1/timestamp", {})).status == 200
    assert err_code(post(exchange)) == 1056


def test_a_fault_needs_a_turn() -> None:
    """Arming a fault for no request at all is a mistake."""
    with pytest.raises(ValueError, match="times"):
        simulated().maintain(times=0)


def test_the_rate_limit_is_judged_before_faults() -> None:
    """Over the limit a refusal stays armed, while a fault of the connection acts on the 1032."""
    clock = Clock(0.0)
    exchange = simulated(clock=clock, limit=1)
    exchange.place("BTC-USDT", "buy", "open")
    post(exchange, {"contract_code": "ETH-USDT"})
    exchange.late(3.0)
    exchange.lose_after_work()
    exchange.refuse(1056)
    late, lost, plain = post(exchange), post(exchange), post(exchange)
    assert (err_code(late), late.delay) == (1032, 3.0)
    assert (lost.fate, err_code(plain), plain.fate) == ("dropped", 1032, "answered")
    assert len(exchange.open_orders()) == 1
    clock.seconds = 1.0
    assert err_code(post(exchange)) == 1056


async def test_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """No access log is written, for a signed URL is a credential."""
    caplog.set_level(logging.DEBUG)
    async with serving() as client:
        await client.post()
    assert KEY not in caplog.text
    assert "Signature" not in caplog.text
    assert not [one for one in caplog.records if one.name.startswith("aiohttp.access")]


async def test_closing_does_not_wait_for_late_answers() -> None:
    """Leaving aborts requests still being delayed, at once, and leaves no task behind."""
    before = asyncio.all_tasks()
    async with aiohttp.ClientSession() as session:
        async with simulated() as exchange:
            exchange.late(600, times=2)
            client = Client(exchange, session)
            waiting = [asyncio.create_task(client.post()) for _ in range(2)]
            await arrived(exchange, 2)
            waiting[0].cancel()
            started = time.perf_counter()
        assert time.perf_counter() - started < 0.5
        assert asyncio.all_tasks() - before <= set(waiting)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(outcomes[0], asyncio.CancelledError)
    assert isinstance(outcomes[1], aiohttp.ClientConnectionError)


async def test_an_exchange_opens_and_closes() -> None:
    """The URL exists while it is open; the port can be chosen; it may open again, not twice."""
    exchange = simulated()
    with pytest.raises(RuntimeError, match="closed"):
        _ = exchange.url
    async with exchange:
        port = URL(exchange.url).port
        assert exchange.url == f"http://127.0.0.1:{port}"
        with pytest.raises(RuntimeError, match="already open"):
            await exchange.__aenter__()
        taken = simulated(port=port)
        with pytest.raises(OSError, match="address already in use"):
            await taken.__aenter__()
    assert repr(exchange) == "<SimulatedExchange closed>"
    async with taken:
        assert URL(taken.url).port == port
