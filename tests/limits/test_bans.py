"""What follows a refusal for the rate: who waits, who asks, and what is told, in virtual time."""

import asyncio
import itertools
import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import pytest

from htx_async import (
    CancelError,
    CancelReport,
    HtxSession,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    ReadFailed,
    TokenBucket,
)
from htx_async.events import EndpointPaused, Event
from htx_async.simulator import Request, SimulatedExchange
from htx_async.simulator.messages import Reply
from tests.support.virtual import run, virtual_session

pytestmark = pytest.mark.usefixtures("tasks")

BTC = "BTC-USDT"
CANCEL_ALL = "/linear-swap-api/v1/swap_track_cancelall"
AT = 1_800_000_000
HTML = b"<!DOCTYPE html><html><title>Attention required</title></html>"

Refusal = Callable[[float], Reply]
"""The refusal that asks for so many seconds."""


def now() -> float:
    return asyncio.get_running_loop().time()


def seconds_429(asked: float) -> Reply:
    return Reply(429, {"Retry-After": f"{asked:g}"}, b"")


def date_429(asked: float) -> Reply:
    sent, until = formatdate(AT, usegmt=True), formatdate(AT + asked, usegmt=True)
    return Reply(429, {"Retry-After": until, "Date": sent}, HTML)


def reset_1032(asked: float) -> Reply:
    ts = AT * 1000
    body = b'{"status":"error","err_code":1032,"err_msg":"exceeded","ts":%d}' % ts
    return Reply(200, {"ratelimit-reset": f"{ts + asked * 1000:.0f}"}, body)


def both(asked: float) -> Reply:
    reply = reset_1032(asked)
    # Seven seconds that a reset at this very moment would not outweigh.
    return Reply(429, {**reply.headers, "Retry-After": "7" if asked else "0"}, reply.body)


def code_429(asked: float) -> Reply:
    return Reply(200, {"Retry-After": f"{asked:g}"}, b'{"code":429,"message":"slow down"}')


def mixed_429(asked: float) -> Reply:
    body = b'{"status":"error","code":429,"data":null,"success":false}'
    return Reply(200, {"Retry-After": f"{asked:g}"}, body)


FORMS = [seconds_429, date_429, reset_1032, both, code_429, mixed_429]


class Banned(SimulatedExchange):
    """Refuses each request to `path` with `refusal` until loop time `until`, and notes when."""

    def __init__(self, refusal: Callable[[], Reply], until: float, path: str = CANCEL_ALL) -> None:
        super().__init__(now=lambda: AT + now())
        self.refusal, self.until, self.path = refusal, until, path
        self.asked: list[float] = []
        self.silent: set[int] = set()
        """Which of them get no answer, counted from 0."""

    def handle(self, request: Request) -> Reply:
        if request.path != self.path:
            return super().handle(request)
        self.asked.append(now())
        if len(self.asked) - 1 in self.silent:
            return Reply(200, {}, b"", delay=1e6)
        return self.refusal() if now() < self.until else super().handle(request)


def session(exchange: SimulatedExchange, **settings: Any) -> HtxSession:
    return virtual_session(exchange, lambda: 0.02, now=exchange_clock, **settings)


def exchange_clock() -> datetime:
    return datetime.fromtimestamp(AT + now(), UTC)


async def ending(call: Any) -> CancelReport | CancelError:
    try:
        report = await call
    except CancelError as error:
        return error
    assert isinstance(report, CancelReport)
    return report


def begun(htx: HtxSession, count: int, **settings: Any) -> list[asyncio.Task[Any]]:
    calls = (htx.cancel_all_trailing(f"C{number}-USDT", **settings) for number in range(count))
    return [asyncio.create_task(ending(call)) for call in calls]


def reset_now(asked: float) -> Reply:
    return Reply(429, {**reset_1032(0).headers, "Retry-After": f"{asked:g}"}, reset_1032(0).body)


@pytest.mark.parametrize("form", [*FORMS, reset_now])
@pytest.mark.parametrize("asked", [0, 1, 3, 9, 60])
def test_a_call_waits_for_what_it_was_asked_for(form: Refusal, asked: float) -> None:
    """A period at least, and however long if its deadline allows."""

    async def main() -> None:
        exchange = Banned(lambda: form(asked), until=0.5)
        async with session(exchange, account=None) as htx:
            report = await htx.cancel_all_trailing(BTC, deadline=90.0)
        assert report.is_clear
        first, second = exchange.asked
        assert second - first == pytest.approx(max(1.0, asked) + 0.04, abs=0.01)
        assert report.attempts[0].paused == pytest.approx(asked)

    run(main())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("asked", [6, 9, 11, 60, 600, 3600])
def test_what_is_asked_for_beyond_the_deadline_ends_the_call_at_once(
    form: Refusal, asked: float
) -> None:
    """With what was asked for in `retry_after`, so that the caller can come back then."""

    async def main() -> None:
        exchange = Banned(lambda: form(asked), until=1e9)
        async with session(exchange) as htx:
            with pytest.raises(RateLimited, match="asks to wait") as caught:
                await htx.cancel_all_trailing(BTC, deadline=5.0)
            assert caught.value.retry_after == pytest.approx(asked)
            assert now() < 0.1
        assert len(exchange.asked) == 1

    run(main())


@pytest.mark.parametrize(
    "headers",
    [{}, {"Retry-After": "0"}, {"Retry-After": "-3"}, {"Retry-After": "nan"},
     {"Retry-After": "1e9"}, {"Retry-After": "soon"}, {"ratelimit-reset": str(AT * 1000)},
     {"ratelimit-reset": str(AT * 1000 - 5)}, {"ratelimit-reset": "0", "Retry-After": "0"},
     {"Retry-After": formatdate(AT - 60, usegmt=True), "Date": formatdate(AT, usegmt=True)}],
)  # fmt: skip
@pytest.mark.parametrize("count", [1, 30])
def test_a_refusal_that_names_no_time_costs_one_request_a_second(
    headers: dict[str, str], count: int
) -> None:
    """A time in the past or at this very moment, none at all or nonsense: after the first five,
    which are under way together, one asks each second, however many wait."""

    async def main() -> None:
        body = b'{"status":"error","err_code":1032,"err_msg":"","ts":%d}' % (AT * 1000)
        exchange = Banned(lambda: Reply(200, headers, body), until=1e9)
        async with session(exchange) as htx:
            calls = begun(htx, count, deadline=4.0)
            await asyncio.gather(*calls)
        assert 4 <= len(exchange.asked) <= min(5, count) + 4
        assert 3.0 < now() < 4.1

    run(main())


def test_after_ten_seconds_one_asks_and_the_others_wait_for_its_answer() -> None:
    """A ban of 25 s that asks for a minute: of forty that wait one asks every ten seconds, and once
    it is over they all go, five a second."""

    async def main() -> None:
        exchange = Banned(lambda: seconds_429(60), until=25.0)
        async with session(exchange) as htx:
            met = begun(htx, 5, deadline=120.0)
            await asyncio.sleep(0.01)
            waiting = await asyncio.gather(*begun(htx, 40, deadline=60.0))
            # Each that asked was told to wait for a minute, which its deadline does not allow.
            kinds = [type(one) for one in waiting]
            assert kinds == [RateLimited] * 2 + [CancelReport] * 38
            assert now() < 40.0
            assert exchange.asked[5:8] == pytest.approx([10.06, 20.10, 30.14], abs=0.03)
            assert exchange.busiest() <= 5
            assert {type(one) for one in await asyncio.gather(*met)} == {CancelReport}
            assert now() > 60.0

    run(main())


@pytest.mark.parametrize("asked", [0, 3, 60])
def test_of_all_urgent_calls_together_one_asks_each_second(asked: float) -> None:
    """Also those that were refused themselves; when the ban is over, they are through at once."""

    async def main() -> None:
        exchange = Banned(lambda: seconds_429(asked), until=6.5)
        async with session(exchange) as htx:
            ordinary = begun(htx, 5, deadline=100.0)
            await asyncio.sleep(0.1)
            report = await htx.mass_cancel_trailing(
                [f"U{number}-USDT" for number in range(8)], urgent=True, deadline=15.0
            )
            assert report.is_clear
            refused = [at for at in exchange.asked[5:] if at < 6.5]
            assert len(refused) == pytest.approx(6, abs=1)
            assert min(b - a for a, b in itertools.pairwise(refused)) >= 1.0
            assert now() < 6.5 + 1.1 + 1.1
            assert all(isinstance(one, CancelReport) for one in await asyncio.gather(*ordinary))

    run(main())


@pytest.mark.parametrize("ending_of_it", ["cancelled", "silent", "closed", "late"])
def test_when_the_one_that_asks_gets_no_answer_the_next_asks(ending_of_it: str) -> None:
    """Cancelled, timed out, its session closed, or its deadline over: nobody waits for ever."""

    async def main() -> None:
        exchange = Banned(lambda: seconds_429(2), until=1.0)
        exchange.silent = {1}
        htx, other = session(exchange), session(exchange)
        with pytest.raises(RateLimited):
            await htx.cancel_all_trailing(BTC, deadline=1.5)
        deadline = 2.5 if ending_of_it == "late" else 30.0
        asks = asyncio.create_task(ending(htx.cancel_all_trailing("A-USDT", deadline=deadline)))
        await asyncio.sleep(0.01)
        waits = begun(other, 3, deadline=20.0)
        await asyncio.sleep(2.2)
        assert len(exchange.asked) == 2
        if ending_of_it == "cancelled":
            asks.cancel()
        elif ending_of_it == "closed":
            await htx.aclose()
        reports = await asyncio.gather(*waits)
        assert all(isinstance(one, CancelReport) for one in reports)
        assert now() < (7.0 if ending_of_it == "silent" else 3.5)
        await asyncio.gather(asks, return_exceptions=True)
        await other.aclose()
        await htx.aclose()

    run(main())


def test_a_deadline_before_the_endpoint_opens_is_told_at_once() -> None:
    """Those who wait and those who come: not sent, with the seconds that would be needed."""

    async def main() -> None:
        exchange = Banned(lambda: seconds_429(9), until=1.0)
        async with session(exchange, limiter=TokenBucket(1)) as htx:
            first = begun(htx, 1, deadline=30.0)
            await asyncio.sleep(0.01)
            waits = begun(htx, 2, deadline=5.0)
            for one in await asyncio.gather(*waits):
                assert isinstance(one, NotSent)
            assert now() < 0.1
            with pytest.raises(NotSent, match=r"turn comes in (9\.9|10\.0)"):
                await htx.cancel_all_trailing(BTC, deadline=5.0)
            assert isinstance((await first[0]), CancelReport)

    run(main())


@pytest.mark.parametrize("form", FORMS)
def test_lists_wait_like_cancels_and_none_goes_in_their_place(form: Refusal) -> None:
    """Lists, too: what was asked for, or the end at once, and no list in its place."""

    async def main() -> None:
        path = "/linear-swap-api/v1/swap_track_openorders"
        exchange = Banned(lambda: form(3), until=0.5, path=path)
        async with session(exchange) as htx:
            with pytest.raises(ReadFailed, match="asks to wait 3 s") as caught:
                await htx.open_trailing(BTC, deadline=2.0)
            assert caught.value.attempts[-1].paused == pytest.approx(3)
            assert now() < 0.1
            assert await htx.open_trailing(BTC, deadline=9.0) == ()
        assert exchange.asked[1] - exchange.asked[0] == pytest.approx(3.04, abs=0.01)

    run(main())


@pytest.mark.parametrize("form", FORMS)
def test_a_cancel_on_v5_waits_like_one_on_v1(form: Refusal) -> None:
    """The cancel by ids of an account on V5."""

    async def main() -> None:
        exchange = Banned(lambda: form(3), until=0.5, path="/v5/algo/cancel_orders")
        exchange.move()
        ids = exchange.place(BTC, "buy", "close", 2)
        async with session(exchange, generation="v5") as htx:
            report = await htx.cancel_trailing(BTC, ids, deadline=9.0)
        assert set(report.successes) == set(ids)
        assert exchange.asked[1] - exchange.asked[0] == pytest.approx(3.04, abs=0.2)

    run(main())


def test_the_event_tells_for_how_long_the_endpoint_is_closed() -> None:
    """Ten seconds of the minute that was asked for."""

    async def main() -> None:
        events: list[Event] = []
        exchange = Banned(lambda: seconds_429(60), until=0.5)
        async with session(exchange, on_event=events.append) as htx:
            await htx.cancel_all_trailing(BTC, deadline=90.0)
        assert [e.seconds for e in events if isinstance(e, EndpointPaused)] == [10.0]

    run(main())


def test_a_limiter_that_only_knows_pauses_is_paused_for_ten_seconds_at_most() -> None:
    """A limiter of one's own hears of a refusal as before."""

    class Plain:
        def __init__(self) -> None:
            self.pauses: list[float] = []
            self.take = TokenBucket().take

        def pause(self, endpoint: str, seconds: float) -> None:
            self.pauses.append(seconds)

        def earliest(self, endpoint: str, *, urgent: bool = False) -> float | None:
            return None

    async def main() -> None:
        limiter = Plain()
        exchange = Banned(lambda: seconds_429(60), until=0.5)
        async with session(exchange, limiter=limiter) as htx:
            assert (await htx.cancel_all_trailing(BTC, deadline=90.0)).is_clear
        assert limiter.pauses == [10.0]
        assert exchange.asked[1] - exchange.asked[0] == pytest.approx(60.04, abs=0.01)

    run(main())


OBJECTS = [
    b'{"message":"Forbidden"}',
    b'{"message":"Too Many Requests","status":429}',
    b'{"error":{"code":1020,"message":"denied"}}',
    b'{"type":"about:blank","title":"Access denied","status":403,"cloudflare_error":true}',
    b"{}",
]
"""What content networks, gateways and firewalls say as JSON."""


@pytest.mark.parametrize("body", [HTML, b"", b"error 1015", b"[]", *OBJECTS])
def test_a_page_with_429_is_told_as_not_the_exchange_s(body: bytes) -> None:
    """In the error that the caller reads, with what to do about it."""

    async def main() -> None:
        exchange = Banned(lambda: Reply(429, {"Retry-After": "60"}, body), until=1e9)
        async with session(exchange) as htx:
            with pytest.raises(RateLimited, match="something in front of the exchange answered"):
                await htx.cancel_all_trailing(BTC)
            with pytest.raises(RateLimited, match="this address rather than the account"):
                await htx.cancel_all_trailing(BTC, urgent=True)

    run(main())


@pytest.mark.parametrize("body", [HTML, b"", b"error 1020", *OBJECTS])
def test_a_page_with_403_is_told_as_not_the_exchange_s(body: bytes) -> None:
    """It proves nothing, so the outcome is unknown."""

    async def main() -> None:
        exchange = Banned(lambda: Reply(403, {}, body), until=1e9)
        async with session(exchange) as htx:
            with pytest.raises(OutcomeUnknown) as caught:
                await htx.cancel_all_trailing(BTC)
        assert "HTTP 403, and something in front of the exchange answered" in str(caught.value)

    run(main())


@pytest.mark.parametrize(
    "body",
    [b'{"status":"error","err_co', b'{"status":"ok","data":', b'{"status":"error","message":"no"}',
     b'{"status":"ok","data":{"errors":[],"successes":""},"ts":1}', b'{"code":0,"msg":"ok"}'],
)  # fmt: skip
def test_words_that_may_be_the_exchange_s_are_not_laid_to_others(body: bytes) -> None:
    """Cut off, or odd, with 403: unknown, and nobody in front of it is named."""

    async def main() -> None:
        exchange = Banned(lambda: Reply(403, {}, body), until=1e9)
        async with session(exchange) as htx:
            with pytest.raises(OutcomeUnknown) as caught:
                await htx.cancel_all_trailing(BTC)
        assert "HTTP 403, and the reply is not complete JSON" in str(caught.value)

    run(main())


@pytest.mark.parametrize("code", [b"1051", b"1065", b"200", b"0", b'"no-such"', b"null"])
def test_of_a_mixed_shape_nothing_but_a_rate_limit_is_believed(code: bytes) -> None:
    """`status` of one shape and `code` of another: any other code may not end a call."""

    async def main() -> None:
        body = b'{"status":"error","code":%s,"data":null,"success":false}' % code
        exchange = Banned(lambda: Reply(200, {}, body), until=1e9)
        async with session(exchange) as htx:
            with pytest.raises(OutcomeUnknown):
                await htx.cancel_all_trailing(BTC)

    run(main())


def test_words_of_the_exchange_with_429_are_its_own() -> None:
    """A refusal in its own shape is no page of somebody else."""

    async def main() -> None:
        exchange = Banned(lambda: both(60), until=1e9)
        async with session(exchange) as htx:
            with pytest.raises(RateLimited) as caught:
                await htx.cancel_all_trailing(BTC)
        assert "something in front" not in str(caught.value)
        assert caught.value.code == 1032

    run(main())


@pytest.mark.parametrize("seed", range(40))
def test_any_ban_is_met_by_few_requests_and_every_call_ends_in_time(seed: int) -> None:
    """Bans of any length that ask for any time, lost answers, cancelled callers, urgent ones and
    short deadlines, two sessions: no call lasts longer than it may, each of the account's reports
    is true to the book, a ban is asked about once in each second at most, apart from what was under
    way when it began and from those who got no answer, and afterwards everybody goes."""
    chance = random.Random(seed)

    async def main() -> None:
        form, asked = chance.choice(FORMS), chance.choice([0, 0.25, 2, 9, 60])
        until = chance.uniform(0.5, 30)
        exchange = Banned(lambda: form(asked), until)
        exchange.silent = set(chance.sample(range(5, 15), 2))
        sessions = [session(exchange, attempt_timeout=1.0) for _ in range(2)]
        calls, cancelled = [], 0
        for number in range(40):
            code, deadline = f"C{number}-USDT", chance.choice([0.5, 3.0, 12.0, 45.0])
            exchange.place(code, "buy", "close", 1)
            urgent = chance.random() < 0.2
            htx = chance.choice(sessions)
            call = htx.cancel_all_trailing(code, deadline=deadline, urgent=urgent)
            task = asyncio.create_task(timed(call, deadline))
            calls.append(task)
            if chance.random() < 0.15:
                asyncio.get_running_loop().call_later(chance.uniform(0, 20), task.cancel)
                cancelled += 1
            await asyncio.sleep(chance.choice([0.0, 0.0, 0.3, 1.5]))
        await asyncio.gather(*calls, return_exceptions=True)
        for task in calls:
            assert task.cancelled() or task.exception() is None
            if not task.cancelled() and isinstance(one := task.result(), CancelReport):
                held = {order.contract_code for order in exchange.open_orders()}
                assert one.contract_code not in held
        seconds = min(until, max(exchange.asked))
        assert sum(at < until for at in exchange.asked) <= 5 + seconds + cancelled + 4
        await asyncio.sleep(max(0.0, 90 - now()))
        start = now()
        after = [one.cancel_all_trailing("LAST-USDT", deadline=5.0) for one in sessions]
        assert all(one.is_clear for one in await asyncio.gather(*after))
        assert now() - start < 0.2
        assert exchange.busiest() <= 5
        for htx in sessions:
            await htx.aclose()

    run(main())


async def timed(call: Any, deadline: float) -> CancelReport | CancelError:
    began = now()
    result = await ending(call)
    assert now() - began <= deadline + 0.1
    return result
