"""`HtxSession` over real HTTP on loopback: settings, hosts, limits, lifetime."""

import asyncio
import random
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiolimiter import AsyncLimiter

from htx_async import (
    CancelReport,
    Credentials,
    Direction,
    HtxSession,
    InvalidRequest,
    NotSent,
    Offset,
    Outcome,
    OutcomeUnknown,
    ReadFailed,
    RetryPolicy,
    SessionClosed,
    TokenBucket,
    Verdict,
)
from htx_async.events import AttemptEnded
from htx_async.simulator import SimulatedExchange
from tests.support.gauge import Gauge

BTC = "BTC-USDT"
KEYS = Credentials("an-access-key", "a-secret-key")


async def test_the_first_lines_of_the_readme_work(
    exchange: SimulatedExchange, htx: HtxSession
) -> None:
    """Place, cancel by both filters, read the report, as JSON too."""
    ids = exchange.place(BTC, "buy", "close", 3)
    kept = exchange.place(BTC, "sell", "close", 1) + exchange.place(BTC, "buy", "open", 1)
    report = await htx.cancel_all_trailing(BTC, "buy", "close")
    assert report.outcome is Outcome.CANCELLED
    assert set(report.successes) == set(ids)
    assert {order.order_id for order in exchange.open_orders()} == set(kept)
    assert CancelReport.model_validate_json(report.model_dump_json()) == report
    assert '"is_clear":true' in report.model_dump_json()


async def test_directions_and_offsets_are_words_or_enums(
    exchange: SimulatedExchange, htx: HtxSession
) -> None:
    """The StrEnums and the plain strings ask for the same."""
    exchange.place(BTC, "buy", "open", 1)
    assert (await htx.cancel_all_trailing(BTC, Direction.BUY, Offset.OPEN)).successes
    exchange.place(BTC, "sell", "open", 1)
    assert (await htx.cancel_all_trailing(BTC, direction="sell")).successes
    exchange.place(BTC, "sell", "close", 1)
    report = await htx.cancel_all_trailing(BTC, offset="close")
    assert (report.direction, report.offset) == (None, Offset.CLOSE)


@pytest.mark.parametrize(
    "arguments",
    [
        ("",),
        (None,),
        ("BTC USDT",),
        (" BTC-USDT",),
        ("BTC/USDT",),
        (BTC, ""),
        (BTC, "both"),
        (BTC, "BUY"),
        (BTC, None, ""),
        (BTC, None, "both"),
    ],
)
async def test_wrong_arguments_are_refused_before_anything_is_sent(
    exchange: SimulatedExchange, htx: HtxSession, arguments: tuple[Any, ...]
) -> None:
    """An empty filter above all must never widen what is cancelled."""
    exchange.place(BTC, "buy", "close", 1)
    with pytest.raises(InvalidRequest) as caught:
        await htx.cancel_all_trailing(*arguments)
    assert caught.value.__context__ is None
    assert not exchange.arrivals


@pytest.mark.parametrize("deadline", [0, -1, float("nan"), float("inf"), "5", True])
async def test_a_deadline_is_a_positive_number_of_seconds(htx: HtxSession, deadline: Any) -> None:
    """A call without an end, or that ended before it began, is not made."""
    with pytest.raises(InvalidRequest, match="deadline"):
        await htx.cancel_all_trailing(BTC, deadline=deadline)


def without_host_check() -> ssl.SSLContext:
    """A context that takes any certificate of any known authority."""
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


@pytest.mark.parametrize(
    "settings",
    [
        {"base_urls": ()},
        {"base_urls": "http://api.hbdm.com"},
        {"base_urls": "ftp://api.hbdm.com"},
        {"base_urls": "https://api.hbdm.com/path"},
        {"account": ""},
        {"account": 7},
        {"http": object()},
        {"now": 5},
        {"limiter": TokenBucket},
        {"limiter": 5},
        {"retry": 4},
        {"deadline": 0},
        {"attempt_timeout": float("inf")},
        {"ssl": False},
        {"ssl": without_host_check()},
    ],
)
def test_settings_that_cannot_work_are_refused_by_the_constructor(
    settings: dict[str, Any],
) -> None:
    """Each of them is told before a strategy relies on the session."""
    with pytest.raises(InvalidRequest):
        HtxSession(KEYS, **settings)


def test_credentials_are_credentials() -> None:
    """A pair of strings in their place is told, not tried."""
    with pytest.raises(InvalidRequest, match="Credentials"):
        HtxSession(("access", "secret"))  # type: ignore[arg-type]  # wrong on purpose


async def test_keys_come_from_the_environment(
    exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`from_env` takes the same settings as the constructor."""
    simulated = SimulatedExchange(access_key="plain-access", secret_key="plain-secret")
    file = tmp_path / "secret"
    file.write_text("plain-secret\n")
    monkeypatch.setenv("HTX_ACCESS_KEY", "plain-access")
    monkeypatch.setenv("HTX_SECRET_KEY_FILE", str(file))
    async with simulated, HtxSession.from_env(base_urls=simulated.url, deadline=5.0) as htx:
        assert (await htx.cancel_all_trailing(BTC)).is_clear


async def test_a_session_opens_on_first_use(exchange: SimulatedExchange) -> None:
    """Without `async with`, the first call opens it and `aclose` ends it."""
    htx = HtxSession(exchange.credentials, base_urls=[exchange.url + "/"])
    assert (await htx.cancel_all_trailing(BTC)).is_clear
    await htx.aclose()
    await htx.aclose()
    with pytest.raises(SessionClosed):
        await htx.cancel_all_trailing(BTC)


async def test_a_refusing_host_is_passed_over_at_once(
    exchange: SimulatedExchange, refusing_url: str
) -> None:
    """Not sent, so the next host gets the request, with the same token's worth of time."""
    async with HtxSession(exchange.credentials, base_urls=[refusing_url, exchange.url]) as htx:
        report = await htx.cancel_all_trailing(BTC)
        assert [a.verdict for a in report.attempts] == [Verdict.NOT_SENT, Verdict.REFUSED]
        assert [a.base_url for a in report.attempts] == [refusing_url, exchange.url]
        assert not report.attempts[0].sent
        assert report.outcome is Outcome.NOTHING_TO_CANCEL
        again = await htx.cancel_all_trailing(BTC)
        assert [a.base_url for a in again.attempts] == [exchange.url]


async def test_a_host_that_does_not_connect_costs_a_second(
    exchange: SimulatedExchange, black_hole_url: str
) -> None:
    """Not the whole time of an attempt, while another host is left to try."""
    async with HtxSession(exchange.credentials, base_urls=[black_hole_url, exchange.url]) as htx:
        report = await htx.cancel_all_trailing(BTC)
    assert report.is_clear
    assert 0.9 < report.attempts[0].wire < 2.0
    assert "no connection within 1 s" in report.attempts[0].message


async def test_when_no_host_answers_the_call_ends_not_sent_at_its_deadline(
    refusing_url: str,
) -> None:
    """It is tried until then, and every attempt is on record."""
    loop, gauge = asyncio.get_running_loop(), Gauge()
    settings: dict[str, Any] = {"retry": RetryPolicy(random=lambda: 0.0)}
    async with HtxSession(KEYS, account="no-host", base_urls=refusing_url, **settings) as htx:
        start = loop.time()
        with pytest.raises(NotSent, match="nothing was sent") as caught:
            await htx.cancel_all_trailing(BTC, deadline=0.5)
        took = loop.time() - start
        assert 0.45 <= took <= 0.55 + gauge.lost_since(start)
        gauge.stop()
        report = caught.value.report
    assert len(report.attempts) > 2
    assert {a.verdict for a in report.attempts} == {Verdict.NOT_SENT}


async def test_a_black_hole_alone_ends_not_sent_at_the_deadline(black_hole_url: str) -> None:
    """A connection that hangs is cut when the time is up."""
    loop, gauge = asyncio.get_running_loop(), Gauge()
    async with HtxSession(KEYS, account="no-host", base_urls=black_hole_url) as htx:
        start = loop.time()
        with pytest.raises(NotSent) as caught:
            await htx.cancel_all_trailing(BTC, deadline=0.3)
        late = gauge.lost_since(start)
        gauge.stop()
    assert 0.25 <= caught.value.report.elapsed <= 0.35 + late


@asynccontextmanager
async def connected(exchange: SimulatedExchange, network: str) -> AsyncIterator[HtxSession]:
    """A session over a network of the given kind."""
    connector = aiohttp.TCPConnector(force_close=network == "cold", limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        if network == "jittered":
            exchange.latency = lambda: random.uniform(0, 0.05)
        settings: dict[str, Any] = {"base_urls": exchange.url, "http": http, "generation": "v1"}
        async with HtxSession(exchange.credentials, **settings) as htx:
            yield htx


@pytest.mark.parametrize("network", ["plain", "jittered", "cold"])
async def test_twenty_calls_at_once_keep_the_limit(
    exchange: SimulatedExchange, network: str
) -> None:
    """Never more than five in any second as the exchange counts them, and none refused."""
    async with connected(exchange, network) as htx:
        reports = await asyncio.gather(
            *(htx.cancel_all_trailing(f"C{number}-USDT") for number in range(20))
        )
    assert all(len(report.attempts) == 1 for report in reports)
    assert len(exchange.arrivals) == 20
    assert exchange.busiest() <= 5


async def test_an_async_limiter_may_be_handed_in(exchange: SimulatedExchange) -> None:
    """The limit is then kept as far as that limiter keeps it."""
    settings: dict[str, Any] = {"base_urls": exchange.url, "limiter": AsyncLimiter(2, 0.2)}
    async with HtxSession(exchange.credentials, **settings) as htx:
        reports = await asyncio.gather(
            *(htx.cancel_all_trailing(f"C{number}-USDT") for number in range(4))
        )
    assert all(report.is_clear for report in reports)


async def test_a_callers_session_is_used_and_left_open(exchange: SimulatedExchange) -> None:
    """Its connections serve, and it outlives ours."""
    async with aiohttp.ClientSession(raise_for_status=True) as http:
        async with HtxSession(exchange.credentials, base_urls=exchange.url, http=http) as htx:
            assert (await htx.cancel_all_trailing(BTC)).is_clear
        assert not http.closed
        await http.close()
        htx = HtxSession(exchange.credentials, base_urls=exchange.url, http=http)
        with pytest.raises(SessionClosed, match="http="):
            await htx.cancel_all_trailing(BTC)


async def test_a_callers_session_closed_in_mid_call_is_no_reason_to_forget(
    exchange: SimulatedExchange,
) -> None:
    """The answer was lost and the repeat cannot go: unknown, with the first attempt on record."""
    exchange.place(BTC, "buy", "close", 2)
    exchange.lose_after_work()
    async with aiohttp.ClientSession() as http:
        lost = asyncio.Event()
        settings: dict[str, Any] = {
            "http": http,
            "base_urls": exchange.url,
            "retry": RetryPolicy(base=0.2, random=lambda: 0.9),
            "on_event": lambda event: lost.set() if isinstance(event, AttemptEnded) else None,
        }
        async with HtxSession(exchange.credentials, **settings) as htx:
            call = asyncio.ensure_future(htx.cancel_all_trailing(BTC, deadline=1.5))
            async with asyncio.timeout(5):
                await lost.wait()
            await http.close()
            with pytest.raises(OutcomeUnknown) as caught:
                await call
    assert caught.value.report.attempts[0].verdict is Verdict.UNKNOWN


@pytest.mark.parametrize("settings", [{}, {"confirm": True}, {"until_clear": True}])
async def test_a_callers_session_closed_in_mid_call_ends_it_at_once(
    exchange: SimulatedExchange, settings: dict[str, Any]
) -> None:
    """Nothing is tried again through what stays closed, and the report says what is to be done."""
    exchange.place(BTC, "buy", "close", 2)
    exchange.latency = 0.05
    codes = [BTC, *(f"C{number}-USDT" for number in range(7))]
    async with aiohttp.ClientSession() as http:
        attempts: list[object] = []
        given: dict[str, Any] = {"http": http, "base_urls": exchange.url}
        given["on_event"] = [attempts.append]
        async with HtxSession(exchange.credentials, **given) as htx:
            call = asyncio.ensure_future(htx.mass_cancel_trailing(codes, **settings))
            await asyncio.sleep(0)
            await http.close()
            async with asyncio.timeout(5):
                report = await call
    assert report.outcomes == {Outcome.NOT_SENT: len(codes)}
    assert all("open a session with another. Call again." in str(one) for one in report.reports)
    ended = [event for event in attempts if isinstance(event, AttemptEnded)]
    assert len(ended) < 40
    assert len(exchange.open_orders()) == 2


async def test_a_list_through_a_callers_session_closed_in_mid_call_ends_at_once(
    exchange: SimulatedExchange,
) -> None:
    """As a cancel does, and what closed it is told once."""
    async with aiohttp.ClientSession() as http:
        htx = HtxSession(exchange.credentials, base_urls=exchange.url, http=http)
        async with htx, asyncio.timeout(5):
            call = asyncio.ensure_future(htx.open_trailing(BTC))
            await asyncio.sleep(0)
            await http.close()
            with pytest.raises(ReadFailed) as caught:
                await call
    assert str(caught.value).count("session was closed") == 1


async def test_warming_up_ends_with_its_session(exchange: SimulatedExchange) -> None:
    """Closed in the middle, it says so, and no connection is made afterwards."""
    exchange.latency = 30.0
    htx = HtxSession(exchange.credentials, base_urls=exchange.url)
    warming = asyncio.create_task(htx.warm_up())
    await asyncio.sleep(0)
    await htx.aclose()
    (result,) = await warming
    assert result.problem == "the session was closed"


async def test_a_proxy_never_sees_a_signed_request_in_the_clear() -> None:
    """Plain http would go through it as it is; over https it is a tunnel."""
    async with aiohttp.ClientSession(proxy="http://127.0.0.1:9") as http:
        with pytest.raises(InvalidRequest, match="proxy"):
            HtxSession(KEYS, base_urls="http://127.0.0.1:8", http=http)
        HtxSession(KEYS, http=http)


async def test_closing_while_a_call_is_on_the_wire_ends_it_unknown(
    exchange: SimulatedExchange,
) -> None:
    """The connection is reset, the call raises, and `aclose` returns when it has."""
    exchange.late(30.0, times=5)
    arrived = asyncio.Event()
    exchange.latency = lambda: arrived.set() or 0.0  # type: ignore[func-returns-value]  # a tap
    htx = HtxSession(exchange.credentials, base_urls=exchange.url)
    call = asyncio.ensure_future(htx.cancel_all_trailing(BTC))
    async with asyncio.timeout(5):
        await arrived.wait()
        await htx.aclose()
    with pytest.raises(OutcomeUnknown, match="closed"):
        await call


def test_two_event_loops_one_after_the_other_share_the_limit() -> None:
    """`asyncio.run` twice in a row: the exchange still sees five in any second."""
    exchange = SimulatedExchange()
    serving, done = threading.Event(), threading.Event()

    async def serve() -> None:
        async with exchange:
            serving.set()
            await asyncio.to_thread(done.wait, 30)

    async def seven_calls() -> None:
        settings: dict[str, Any] = {"base_urls": exchange.url, "generation": "v1"}
        async with HtxSession(exchange.credentials, **settings) as htx:
            await asyncio.gather(*(htx.cancel_all_trailing(f"C{n}-USDT") for n in range(7)))

    server = threading.Thread(target=asyncio.run, args=[serve()])
    server.start()
    try:
        assert serving.wait(10)
        asyncio.run(seven_calls())
        asyncio.run(seven_calls())
    finally:
        done.set()
        server.join()
    assert len(exchange.arrivals) == 14
    assert exchange.busiest() <= 5


def test_a_second_live_loop_on_one_account_is_refused_on_entering() -> None:
    """The error names `limiter=`, which is the way to run two."""

    async def enter(htx: HtxSession) -> None:
        async with htx:
            pass

    first = asyncio.new_event_loop()
    try:
        # Held on to: a session that is garbage holds no account.
        opened = first.run_until_complete(HtxSession(KEYS, account="two loops").__aenter__())
        with pytest.raises(InvalidRequest, match="limiter="):
            asyncio.run(enter(HtxSession(KEYS, account="two loops")))
        assert opened.generation
    finally:
        first.close()
