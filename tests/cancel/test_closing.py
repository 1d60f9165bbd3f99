"""Closing a session: guards are carried out, nothing else is sent, nothing stays behind."""

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from htx_async import ALL_CONTRACTS, HtxSession, InvalidRequest, SessionClosed, TokenBucket
from htx_async.cancel.guard import CancelGuard
from htx_async.enums import LimiterMode
from htx_async.limits.registry import account_key, shared_limiter
from htx_async.simulator import SimulatedExchange
from tests.support.virtual import VirtualLoop, own_tasks_left, run, virtual_session

GUARDED = ("A-USDT", "B-USDT", "C-USDT")
OTHERS = tuple(f"O{number}-USDT" for number in range(20))


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def with_orders(*codes: str) -> SimulatedExchange:
    exchange = SimulatedExchange()
    for code in codes:
        exchange.place(code, "sell", "close", 2)
    return exchange


class Fleet(TokenBucket):
    """A limiter of a fleet whose store takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.lease = 10.0

    def hear(self, listener: Callable[[str, LimiterMode, str], object]) -> Callable[[], None]:
        return lambda: None

    async def drain(self) -> None:
        await asyncio.sleep(0.2)


def closes(htx: HtxSession) -> list[float]:
    """When the transport of a virtual session was closed."""
    closed: list[float] = []
    transport, aclose = htx._opening.transport, htx._opening.transport.aclose

    async def noted() -> None:
        closed.append(now())
        await aclose()

    transport.aclose = noted  # type: ignore[method-assign]  # the seam
    return closed


# Cancelled while it closes -----------------------------------------------------------------------


def settings_of(what: str) -> dict[str, Any]:
    return {"keep_warm": True} if what == "keep_warm" else {"limiter": Fleet()}


@pytest.mark.parametrize("what", ["keep_warm", "fleet"])
@pytest.mark.parametrize("again", [0, 3])
def test_a_cancelled_closing_sends_nothing_and_leaves_nothing(what: str, again: int) -> None:
    """Cancelled after any number of turns, once or more: 15 calls wait for tokens and never go."""

    async def main(turn: int) -> None:
        exchange = with_orders(*OTHERS)
        htx = virtual_session(exchange, account=f"closing {what}", **settings_of(what))
        closed = closes(htx)
        calls = [asyncio.create_task(htx.cancel_all_trailing(code)) for code in OTHERS]
        await asyncio.sleep(0.03)
        closing = asyncio.create_task(htx.aclose())
        await turns(1)
        began = now()
        await turns(turn)
        is_felt = closing.cancel()
        for _ in range(again):
            await turns(turn)
            closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled() is is_felt
        assert now() - began < 0.25
        assert closed
        if what == "keep_warm":
            holders = shared_limiter(account_key(f"closing {what}")).holders
            assert htx not in holders
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.sleep(10)
        sent = [arrival for arrival in exchange.arrivals if arrival.contract_code in OTHERS]
        assert len(sent) <= 5
        with pytest.raises(SessionClosed):
            await htx.cancel_all_trailing(OTHERS[0])
        assert not own_tasks_left()

    for turn in range(12):
        run(main(turn))


async def test_a_cancelled_closing_closes_the_connections(exchange: SimulatedExchange) -> None:
    """Over real HTTP, in each of the turns that it takes."""
    for turn in range(6):
        htx = HtxSession(exchange.credentials, base_urls=exchange.url, keep_warm=True)
        assert (await htx.cancel_all_trailing("BTC-USDT")).is_clear
        http = htx._opening.transport._http
        closing = asyncio.create_task(htx.aclose())
        await turns(turn + 1)
        closing.cancel()
        await asyncio.wait([closing])
        assert http is not None
        assert http.closed


def test_a_cancellation_ends_the_grace() -> None:
    """Who waits no longer for the answers on the wire has them told as unknown."""

    async def main() -> None:
        exchange = with_orders("A-USDT")
        htx = virtual_session(exchange, latency=lambda: 5.0)
        call = asyncio.create_task(htx.cancel_all_trailing("A-USDT"))
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await htx.aclose(grace=30.0)
        assert now() < 0.7
        assert call.done()
        (error,) = await asyncio.gather(call, return_exceptions=True)
        assert "session was closed" in str(error)

    run(main())


# Guards and closing ------------------------------------------------------------------------------


def guarded(htx: HtxSession, guards: list[CancelGuard]) -> Coroutine[Any, Any, None]:
    async def strategy() -> None:
        async with htx.cancel_on_exit(GUARDED) as guard:
            guards.append(guard)
            await asyncio.Event().wait()

    return strategy()


@pytest.mark.parametrize("grace", [0.0, 0.5])
def test_only_guards_send_from_the_first_moment_of_closing(grace: float) -> None:
    """Beside single calls, a mass cancel in rounds, and both margin modes; at any moment."""

    async def main(at: float) -> None:
        exchange = with_orders(*GUARDED, *OTHERS)
        exchange.place("X-USDT", "buy", "open", margin_mode="cross")
        htx = virtual_session(exchange)
        guards: list[CancelGuard] = []

        async def cross() -> None:
            async with htx.cross.cancel_on_exit(["X-USDT"]) as guard:
                guards.append(guard)
                await asyncio.Event().wait()

        blocks = [asyncio.create_task(guarded(htx, guards)), asyncio.create_task(cross())]
        rest = [
            *(asyncio.create_task(htx.cancel_all_trailing(code)) for code in OTHERS[:10]),
            asyncio.create_task(htx.mass_cancel_trailing(OTHERS[10:], until_clear=True)),
            asyncio.create_task(htx.warm_up()),
        ]
        await asyncio.sleep(at)
        seen, began = len(exchange.arrivals), now()
        await htx.aclose(grace)
        # One way of the network is 0.04 s: what left before may arrive after.
        later = [a for a in exchange.arrivals[seen:] if a.at - began > 0.041]
        assert {arrival.contract_code for arrival in later} <= {*GUARDED, "X-USDT"}
        left = {order.contract_code for order in exchange.open_orders()}
        assert not left & {*GUARDED, "X-USDT"}
        seen = len(exchange.arrivals)
        assert all(guard.report is not None and guard.report.is_clear for guard in guards)
        for block in blocks:
            block.cancel()
        await asyncio.gather(*blocks, *rest, return_exceptions=True)
        await asyncio.sleep(5)
        assert len(exchange.arrivals) == seen

    for hundredths in (0, 1, 3, 5, 8, 20, 90, 110, 130):
        run(main(hundredths / 100 + 1e-4))


@pytest.mark.parametrize("reason", ["", " ", "a\nb", "\udcff", None, 5, b"over", ["over"]])
def test_a_reason_that_is_no_line_of_text_is_refused_and_ends_nothing(reason: Any) -> None:
    """With none a mass cancel would go on sending while its session closes, and with what is no
    text every report of a call on the wire would be lost: so it is said at once, and what runs goes
    on until the session is closed as it should be."""

    async def main() -> None:
        exchange = with_orders(*OTHERS)
        htx = virtual_session(exchange)
        mass = asyncio.create_task(htx.mass_cancel_trailing(OTHERS, look="none"))
        single = asyncio.create_task(htx.cancel_all_trailing(OTHERS[0], urgent=True))
        await asyncio.sleep(0.01)
        with pytest.raises(InvalidRequest, match="reason must be a line of text, not"):
            await htx.aclose(0.1, reason=reason)
        assert (await single).is_clear
        await htx.aclose(reason="the desk has closed")
        seen = len(exchange.arrivals)
        ended = {each.ended_by for each in (await mass).reports if not each.is_clear}
        assert ended == {"the desk has closed"}
        await asyncio.sleep(5)
        assert len(exchange.arrivals) == seen < len(OTHERS)

    run(main())


@pytest.mark.parametrize("margin", ["isolated", "cross"])
def test_the_list_of_contracts_is_no_exception(margin: str) -> None:
    """It is asked for again and again where it fails; not from the first moment of closing, however
    long a guard goes on."""

    async def main() -> None:
        exchange = with_orders(*GUARDED)
        exchange.latency = 0.5
        exchange.bad_gateway(call="contract_info", times=99)
        htx = virtual_session(exchange)
        guards: list[CancelGuard] = []
        block = asyncio.create_task(guarded(htx, guards))
        margin_calls = htx.cross if margin == "cross" else htx
        readers = [
            asyncio.create_task(margin_calls.contracts()),
            asyncio.create_task(margin_calls.mass_cancel_trailing(ALL_CONTRACTS)),
        ]
        await asyncio.sleep(0.1)
        began = now()
        await htx.aclose()
        asked = [a.at for a in exchange.arrivals if a.path.endswith("contract_info")]
        assert asked
        assert max(asked) <= began + 0.041
        assert guards[0].report is not None
        assert guards[0].report.is_clear
        block.cancel()
        await asyncio.gather(block, *readers, return_exceptions=True)

    run(main())


def test_closing_from_each_side_at_once_keeps_every_promise() -> None:
    """From inside of a block, from another task and twice, cancelled meanwhile."""

    async def main() -> None:
        exchange = with_orders(*GUARDED)
        htx = virtual_session(exchange)
        guards: list[CancelGuard] = []

        async def closing_inside() -> None:
            async with htx.cancel_on_exit(GUARDED[:2]) as guard:
                guards.append(guard)
                await asyncio.gather(htx.aclose(), htx.aclose(grace=1.0))

        async def other() -> None:
            async with htx.cancel_on_exit(GUARDED[1:]) as guard:
                guards.append(guard)
                await asyncio.sleep(0.01)

        tasks = [asyncio.create_task(closing_inside()), asyncio.create_task(other())]
        await turns(4)
        outside = [asyncio.create_task(htx.aclose()) for _ in range(2)]
        await turns(2)
        for task in (*tasks, *outside):
            task.cancel()
        await asyncio.wait([*tasks, *outside])
        assert not exchange.open_orders()
        assert all(guard.report is not None and guard.report.is_clear for guard in guards)

    run(main())


def at_the_end_of_its_loop(main: Callable[[], Awaitable[object]]) -> None:
    """Run `main` as `asyncio.run` does, which cancels what is left and waits for it."""

    async def entered() -> None:
        await main()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(entered())


@pytest.mark.parametrize("is_session_in_main", [True, False])
def test_a_failing_sibling_in_a_gather_leaves_no_order(is_session_in_main: bool) -> None:
    """`gather` ends with the sibling, and the loop's end cancels the strategy and its guard."""
    exchange = with_orders(*GUARDED, *OTHERS[:9])
    guards: list[CancelGuard] = []

    async def feed() -> None:
        await asyncio.sleep(0.5)
        raise RuntimeError("the feed broke")

    async def strategy(htx: HtxSession, codes: tuple[str, ...]) -> None:
        async with htx.cancel_on_exit(codes) as guard:
            guards.append(guard)
            await asyncio.Event().wait()

    async def alone(codes: tuple[str, ...]) -> None:
        async with virtual_session(exchange) as htx:
            await strategy(htx, codes)

    async def main() -> None:
        if is_session_in_main:
            async with virtual_session(exchange) as htx:
                await asyncio.gather(strategy(htx, GUARDED), strategy(htx, OTHERS[:9]), feed())
        await asyncio.gather(alone(GUARDED), alone(OTHERS[:9]), feed())

    with pytest.raises(RuntimeError, match="the feed broke"):
        at_the_end_of_its_loop(main)
    assert not exchange.open_orders()
    assert len(guards) == 2
    assert all(guard.report is not None and guard.report.is_clear for guard in guards)


def test_a_guard_whose_block_nobody_ends_goes_with_the_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Entered by hand, in a session that nobody closes; its account is logged."""
    exchange = with_orders(*GUARDED)
    guards = []

    async def main() -> None:
        guards.append(virtual_session(exchange).cancel_on_exit(GUARDED))
        await guards[0].__aenter__()

    at_the_end_of_its_loop(main)
    assert not exchange.open_orders()
    assert guards[0].report is not None
    assert "3 contracts in isolated margin clear, 6 orders cancelled" in caplog.text


def test_a_block_that_outlives_its_cancellation_is_guarded_at_its_end() -> None:
    """It may take its time to tidy up, and is waited for."""
    exchange = with_orders(*GUARDED)

    async def strategy() -> None:
        async with virtual_session(exchange) as htx, htx.cancel_on_exit(GUARDED):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(3)

    strategies = []

    async def main() -> None:
        strategies.append(asyncio.create_task(strategy()))
        await asyncio.sleep(0.1)

    at_the_end_of_its_loop(main)
    assert not exchange.open_orders()


# What is left of cancelled mass cancels ----------------------------------------------------------


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """What is freed here is freed by its last reference."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def mass_cancels() -> list[object]:
    return [each for each in gc.get_objects() if type(each).__name__ == "MassCancel"]


def test_a_cancelled_mass_cancel_is_forgotten() -> None:
    """After any number of turns: nothing keeps it, and what comes later has its own 10 s."""

    async def main(turn: int) -> None:
        exchange = with_orders("A-USDT")
        exchange.late(1000.0, times=1000)
        codes = [f"C{number}-USDT" for number in range(300)]
        async with virtual_session(exchange) as htx:
            before = {id(each) for each in mass_cancels()}
            tasks = [asyncio.create_task(htx.mass_cancel_trailing(codes)) for _ in range(3)]
            await turns(turn)
            known = [weakref.ref(each) for each in mass_cancels() if id(each) not in before]
            assert len(known) == (3 if turn else 0)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            del task, tasks
            await turns(2)
            assert [ref() for ref in known if ref() is not None] == []
            # Of the requests that were cut off, the tokens are back then.
            await asyncio.sleep(5)
            began = now()
            report = await htx.mass_cancel_trailing(["A-USDT"])
            assert now() - began == pytest.approx(10.0, abs=0.1)
            assert report.not_clear

    with no_garbage_collection():
        for turn in range(6):
            run(main(turn))
