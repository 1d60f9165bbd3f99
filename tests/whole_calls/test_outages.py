"""Outages, and two hosts of which one is sick: calls outlast them, within the limit.

Judged by what reached the hosts, in virtual time; the last tests use real sockets.
"""

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import Any

import pytest

from htx_async import (
    CancelError,
    CancelReport,
    HtxSession,
    MassCancelReport,
    Outcome,
    OutcomeUnknown,
    RetryPolicy,
    TokenBucket,
)
from htx_async.simulator import SimulatedExchange
from tests.support.ledger import most_within
from tests.support.virtual import (
    FIRST,
    SECOND,
    Outage,
    Sickness,
    VirtualTransport,
    run,
    transport_of,
    virtual_session,
)

BTC = "BTC-USDT"
CANCEL_ALL = "/linear-swap-api/v1/swap_track_cancelall"
CANCEL = "/linear-swap-api/v1/swap_track_cancel"
OPEN_ORDERS = "/linear-swap-api/v1/swap_track_openorders"
FAILING: tuple[Sickness, ...] = ("bad_gateway", "page", "busy", "resets", "silent")
AT_ONCE: tuple[Sickness, ...] = ("bad_gateway", "page", "resets")
TWO = (FIRST, SECOND)


def now() -> float:
    return asyncio.get_running_loop().time()


def contracts(count: int) -> list[str]:
    return [f"C{number}-USDT" for number in range(count)]


def with_orders(codes: Sequence[str]) -> SimulatedExchange:
    exchange = SimulatedExchange()
    for code in codes:
        exchange.place(code, "buy", "close", 1)
    return exchange


def policy(seed: int, **settings: Any) -> RetryPolicy:
    return RetryPolicy(random=random.Random(seed).random, **settings)


def opened(
    exchange: SimulatedExchange, *outages: Outage, latency: float = 0.0, **settings: Any
) -> HtxSession:
    """A session that meets these outages."""
    htx = virtual_session(exchange, lambda: latency, **settings)
    transport_of(htx).outages = [*outages]
    return htx


async def ending(call: Any) -> CancelReport:
    try:
        report = await call
    except CancelError as error:
        report = error.report
    assert isinstance(report, CancelReport)
    return report


def assert_within_the_limit(line: VirtualTransport) -> None:
    """Five in any second on each path that cancels, wherever they arrived."""
    for path in (CANCEL_ALL, CANCEL):
        assert most_within(line.seen(path), 1.0) <= 5


def gaps(moments: Sequence[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(moments)]


# When the next one comes


@pytest.mark.parametrize("what", AT_ONCE)
@pytest.mark.parametrize("seed", range(40))
def test_four_requests_outlast_two_seconds(what: Sickness, seed: int) -> None:
    """Failures at once, one host: 0.1 to 0.2 s, then 0.4 to 0.8 s, then 2.2 to 4 s from the first,
    and then it is told as unknown."""

    async def main() -> None:
        async with opened(with_orders([BTC]), Outage(what), retry=policy(seed)) as htx:
            report = await ending(htx.cancel_all_trailing(BTC))
            moments = transport_of(htx).seen(CANCEL_ALL)
        assert report.outcome is Outcome.UNKNOWN
        assert len(moments) == 4
        second, third, _ = gaps(moments)
        assert 0.1 <= second <= 0.201
        assert 0.4 <= third <= 0.801
        assert 2.2 <= moments[3] - moments[0] <= 4.001

    run(main())


@pytest.mark.parametrize("what", AT_ONCE)
def test_the_second_request_goes_to_another_host_at_once(what: Sickness) -> None:
    """Where there is one; and the third waits all the same."""

    async def main() -> None:
        async with opened(with_orders([BTC]), Outage(what), base_urls=TWO) as htx:
            await ending(htx.cancel_all_trailing(BTC))
            line = transport_of(htx)
        moments = line.seen(CANCEL_ALL)
        assert [met.host for met in line.met] == [FIRST, SECOND, FIRST, SECOND]
        assert moments[1] - moments[0] < 0.001
        assert 0.4 <= moments[2] - moments[1] <= 0.801
        assert 2.2 <= moments[3] - moments[0] <= 4.001

    run(main())


@pytest.mark.parametrize("deadline", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(10))
def test_a_short_deadline_shortens_the_waits(deadline: float, seed: int) -> None:
    """All four go within it, the last in time for an answer."""

    async def main() -> None:
        async with opened(with_orders([BTC]), Outage("bad_gateway"), retry=policy(seed)) as htx:
            await ending(htx.cancel_all_trailing(BTC, deadline=deadline))
            moments = transport_of(htx).seen(CANCEL_ALL)
        assert len(moments) == 4
        assert 0.43 * deadline < moments[3] < 0.81 * deadline

    run(main())


@pytest.mark.parametrize("attempt_timeout", [0.3, 1.0, 3.0])
def test_a_time_out_is_followed_at_once(attempt_timeout: float) -> None:
    """The time for a wait has passed already; the fourth still comes after 2.2 s."""

    async def main() -> None:
        settings: dict[str, Any] = {
            "attempt_timeout": attempt_timeout,
            "limiter": TokenBucket(50),
            "deadline": 20,
        }
        async with opened(with_orders([BTC]), Outage("silent"), **settings) as htx:
            await ending(htx.cancel_all_trailing(BTC))
            moments = transport_of(htx).seen(CANCEL_ALL)
        second, third, fourth = gaps(moments)
        assert second == pytest.approx(attempt_timeout, abs=0.01)
        assert third == pytest.approx(attempt_timeout, abs=0.01)
        rest = max(attempt_timeout, 2.2 - 2 * attempt_timeout)
        assert fourth == pytest.approx(rest, abs=0.01)

    run(main())


@pytest.mark.parametrize("deadline", [None, 2.5])
def test_a_busy_exchange_is_left_alone_for_a_second_each_time(deadline: float | None) -> None:
    """1004 from either host: the exchange asks not to repeat cancels while it lasts, and a short
    deadline is no reason to."""

    async def main() -> None:
        async with opened(with_orders([BTC]), Outage("busy"), base_urls=TWO) as htx:
            report = await ending(htx.cancel_all_trailing(BTC, deadline=deadline))
            moments = transport_of(htx).seen(CANCEL_ALL)
        assert report.outcome is Outcome.UNKNOWN
        assert len(moments) == (4 if deadline is None else 3)
        assert min(gaps(moments)) >= 1.0
        assert moments[-1] - moments[0] <= 4.001

    run(main())


@pytest.mark.parametrize("what", ["bad_gateway", "page", "resets", "refusing"])
@pytest.mark.parametrize("seed", range(40))
def test_a_tenth_of_a_second_costs_little(what: Sickness, seed: int) -> None:
    """At most 0.3 s with one base URL, and 1 s where two fail together."""

    async def main(base_urls: Sequence[str], most: float) -> None:
        settings: dict[str, Any] = {"retry": policy(seed), "base_urls": base_urls, "latency": 0.02}
        async with opened(with_orders([BTC]), Outage(what, end=0.1), **settings) as htx:
            report = await htx.cancel_all_trailing(BTC)
        assert report.outcome is Outcome.CANCELLED
        assert report.elapsed - 0.04 <= most

    run(main([FIRST], 0.3))
    run(main(TWO, 1.0))


@pytest.mark.slow
@pytest.mark.parametrize("hosts", [1, 2])
@pytest.mark.parametrize("what", [*FAILING, "refusing"])
def test_two_seconds_end_cancelled_in_99_of_100_runs(what: Sickness, hosts: int) -> None:
    """Whatever the failure, with one base URL or two that fail together."""

    async def main(seed: int) -> bool:
        settings: dict[str, Any] = {
            "retry": policy(seed),
            "base_urls": TWO[:hosts],
            "latency": 0.04,
        }
        async with opened(with_orders([BTC]), Outage(what, end=2.0), **settings) as htx:
            report = await ending(htx.cancel_all_trailing(BTC))
        return report.outcome is Outcome.CANCELLED

    assert sum(run(main(seed)) for seed in range(100)) >= 99


@pytest.mark.parametrize("what", [*FAILING, "refusing"])
@pytest.mark.parametrize("how", ["gather", "mass", "urgent", "guard"])
def test_forty_contracts_outlast_a_second(what: Sickness, how: str) -> None:
    """All are cancelled, five in any second at most, and first attempts go before repeats."""
    codes = contracts(40)

    async def main() -> None:
        exchange = with_orders(codes)
        async with opened(exchange, Outage(what, end=1.0), latency=0.04) as htx:
            if how == "gather":
                # Repeats go behind first attempts: those of the first come after ten seconds.
                calls = (htx.cancel_all_trailing(code, deadline=20.0) for code in codes)
                await asyncio.gather(*calls)
            elif how == "guard":
                async with htx.cancel_on_exit(codes):
                    pass
            else:
                report = await htx.mass_cancel_trailing(codes, urgent=how == "urgent")
                report.raise_for_outcome()
            assert_within_the_limit(transport_of(htx))
        assert not exchange.open_orders()

    run(main())


# What goes on to its deadline


def assert_sparing(moments: Sequence[float], free: int = 4) -> None:
    """Beyond the first four at most one in two seconds."""
    assert min(gaps(moments[free - 1 :]), default=2.0) >= 1.999


@pytest.mark.parametrize("what", FAILING)
@pytest.mark.parametrize("how", ["until_clear", "guard", "guard until_clear"])
def test_what_must_end_clear_outlasts_a_long_outage(what: Sickness, how: str) -> None:
    """Twenty seconds of it, with a deadline of 60: cancelled, and the exchange spared meanwhile."""
    codes = contracts(2)

    async def main() -> None:
        exchange = with_orders(codes)
        async with opened(exchange, Outage(what, end=20.0), latency=0.04) as htx:
            if how == "until_clear":
                report = await htx.mass_cancel_trailing(codes, until_clear=True, deadline=60.0)
            else:
                clear = how.endswith("until_clear")
                async with htx.cancel_on_exit(codes, deadline=60.0, until_clear=clear) as guard:
                    pass
                assert guard.report is not None
                report = guard.report
            line = transport_of(htx)
            assert_within_the_limit(line)
        assert report.outcomes == {Outcome.CANCELLED: 2}
        assert not exchange.open_orders()
        assert report.elapsed < 26
        for body in {met.body for met in line.met}:
            lost = [met.at for met in line.met if met.body == body]
            assert len(lost) > 4
            assert_sparing(lost)

    run(main())


@pytest.mark.parametrize("what", FAILING)
@pytest.mark.parametrize("hosts", [1, 2])
def test_a_mass_cancel_until_clear_of_forty_outlasts_it_within_the_limit(
    what: Sickness, hosts: int
) -> None:
    """Repeats of all of them share the five a second with first attempts."""
    codes = contracts(40)

    async def main() -> None:
        exchange = with_orders(codes)
        settings: dict[str, Any] = {"latency": 0.04, "base_urls": TWO[:hosts]}
        async with opened(exchange, Outage(what, end=15.0), **settings) as htx:
            report = await htx.mass_cancel_trailing(codes, until_clear=True, deadline=90.0)
            assert_within_the_limit(transport_of(htx))
        assert report.outcomes == {Outcome.CANCELLED: 40}

    run(main())


def test_an_outage_between_two_rounds_does_not_end_until_clear() -> None:
    """Cancelled, then unknown for ten seconds, then nothing left: clear."""

    async def main() -> None:
        exchange = with_orders([BTC])
        async with opened(exchange, Outage("bad_gateway", 1.0, 11.0), latency=0.04) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True, deadline=30.0)
        (one,) = report.reports
        assert one.outcome is Outcome.CANCELLED
        assert 11.0 < one.elapsed < 15.0

    run(main())


@pytest.mark.parametrize("what", FAILING)
def test_cancels_by_ids_go_on_to_their_deadline(what: Sickness) -> None:
    """A repeat harms nothing, so `repeat_unknown=False` is not about them."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 25)
        settings: dict[str, Any] = {"latency": 0.04, "retry": RetryPolicy(repeat_unknown=False)}
        async with opened(exchange, Outage(what, end=12.0), **settings) as htx:
            report = await htx.cancel_trailing(BTC, ids, deadline=30.0)
            assert_within_the_limit(transport_of(htx))
        assert report.outcome is Outcome.CANCELLED
        assert set(report.successes) == set(ids)
        assert not exchange.open_orders()

    run(main())


@pytest.mark.parametrize("repeat", [True, False])
def test_a_confirmation_goes_on_to_the_deadline(repeat: bool) -> None:
    """The cancel was taken, then the lists cannot be read for eight seconds: confirmed after."""

    async def main() -> None:
        exchange = with_orders([BTC])
        settings: dict[str, Any] = {"retry": RetryPolicy(repeat_unknown=repeat), "latency": 0.04}
        async with opened(exchange, Outage("bad_gateway", 0.1, 8.0), **settings) as htx:
            report = await htx.cancel_all_trailing(BTC, confirm=True, deadline=20.0)
            assert_sparing(transport_of(htx).seen(OPEN_ORDERS)[:-1])
        assert report.outcome is Outcome.CANCELLED
        assert report.confirmed is True

    run(main())


@pytest.mark.parametrize("how", ["single", "mass", "until_clear", "guard"])
def test_a_cancel_all_is_not_repeated_against_the_caller_s_will(how: str) -> None:
    """`repeat_unknown=False` holds for every kind of cancel-all: one request, told as unknown."""

    async def main() -> None:
        exchange = with_orders([BTC])
        settings: dict[str, Any] = {"retry": RetryPolicy(repeat_unknown=False), "base_urls": TWO}
        async with opened(exchange, Outage("resets"), **settings) as htx:
            if how == "single":
                with pytest.raises(OutcomeUnknown):
                    await htx.cancel_all_trailing(BTC)
            elif how == "guard":
                guard = htx.cancel_on_exit([BTC], deadline=9.0)
                with pytest.raises(ExceptionGroup):
                    async with guard:
                        pass
            else:
                is_until = how == "until_clear"
                report = await htx.mass_cancel_trailing([BTC], deadline=9.0, until_clear=is_until)
                assert report.outcome is Outcome.UNKNOWN
            assert len(transport_of(htx).met) == 1
        assert now() < 1.0

    run(main())


def test_until_clear_ends_where_asking_again_is_no_use() -> None:
    """An answer was lost, then the key was refused: unknown, and not asked until the deadline."""

    async def main() -> None:
        exchange = with_orders([BTC])
        exchange.lose_before_work()
        exchange.refuse(403, times=99)
        async with opened(exchange) as htx:
            report = await htx.mass_cancel_trailing([BTC], until_clear=True, deadline=60.0)
        assert report.outcome is Outcome.UNKNOWN
        assert len(exchange.arrivals) == 2

    run(main())


# Two hosts of which one is sick


async def mass(htx: HtxSession, codes: list[str], how: str) -> MassCancelReport:
    if how == "guard":
        async with htx.cancel_on_exit(codes, look="none") as guard:
            pass
        assert guard.report is not None
        return guard.report
    return await htx.mass_cancel_trailing(codes, urgent=how == "urgent", look="none")


def took(codes: list[str], how: str, *outages: Outage) -> tuple[float, VirtualTransport]:
    """Seconds that a mass cancel over two hosts takes, until all is clear."""

    async def main() -> tuple[float, VirtualTransport]:
        exchange = with_orders(codes)
        async with opened(exchange, *outages, latency=0.04, base_urls=TWO) as htx:
            report = await mass(htx, codes, how)
            line = transport_of(htx)
            assert_within_the_limit(line)
        assert report.outcomes == {Outcome.CANCELLED: len(codes)}
        return report.elapsed, line

    return run(main())


@pytest.mark.parametrize("how", ["mass", "urgent", "guard"])
@pytest.mark.parametrize("what", ["silent", "resets", "bad_gateway", "page", "unreachable"])
def test_a_sick_first_host_costs_forty_contracts_little(what: Sickness, how: str) -> None:
    """What the first ones learn steers the others: all cancelled, no more than the time for one
    attempt and 1.5 s later than with two healthy hosts."""
    codes = contracts(40)
    healthy, _ = took(codes, how)
    sick, line = took(codes, how, Outage(what, host=FIRST))
    assert sick <= healthy + (3.0 if what == "silent" else 1.0) + 1.5
    assert len(line.met) <= 5


@pytest.mark.parametrize("what", ["silent", "bad_gateway"])
def test_a_second_host_that_hiccups_is_still_the_better_one(what: Sickness) -> None:
    """One blip of the healthy host does not send all of them back to the sick one."""
    codes = contracts(40)
    healthy, _ = took(codes, "mass")
    blip = Outage("resets", 5.0, 5.2, SECOND)
    sick, line = took(codes, "mass", Outage(what, host=FIRST), blip)
    assert sick <= healthy + 3.0 + 1.5 + 1.1
    assert sum(met.host == FIRST for met in line.met) <= 10


@pytest.mark.parametrize("how", ["mass", "urgent", "guard", "gather"])
@pytest.mark.parametrize("what", ["refusing", "unreachable"])
def test_a_first_host_without_connections_changes_no_order(what: Sickness, how: str) -> None:
    """An unused token serves the next base URL at once: sixty contracts go in the order given."""
    codes = contracts(60)

    async def main() -> None:
        exchange = with_orders(codes)
        outage = Outage(what, host=FIRST)
        async with opened(exchange, outage, latency=0.04, base_urls=TWO) as htx:
            if how == "gather":
                await asyncio.gather(*map(htx.cancel_all_trailing, codes))
            else:
                (await mass(htx, codes, how)).raise_for_outcome()
            assert_within_the_limit(transport_of(htx))
        assert [arrival.contract_code for arrival in exchange.arrivals] == codes

    run(main())


@pytest.mark.parametrize("what", ["silent", "bad_gateway", "refusing"])
def test_a_host_that_recovers_is_used_again(what: Sickness) -> None:
    """Sick for ten seconds: avoided for thirty, then one attempt finds out, and the rest follow."""

    async def main() -> None:
        exchange = SimulatedExchange()
        outage = Outage(what, end=10.0, host=FIRST)
        async with opened(exchange, outage, latency=0.04, base_urls=TWO) as htx:
            await htx.cancel_all_trailing(BTC)
            await asyncio.sleep(20.0)
            await htx.cancel_all_trailing(BTC)
            await asyncio.sleep(20.0)
            await htx.mass_cancel_trailing(contracts(3))
            hosts = [f"http://{arrival.host}" for arrival in exchange.arrivals]
        assert hosts[:2] == [SECOND, SECOND]
        assert hosts[2:].count(FIRST) == 1

    run(main())


def test_a_host_that_stays_silent_is_asked_sparingly() -> None:
    """One attempt in thirty seconds, whoever else calls meanwhile."""

    async def main() -> None:
        exchange = SimulatedExchange()
        outage = Outage("silent", host=FIRST)
        async with opened(exchange, outage, latency=0.04, base_urls=TWO) as htx:
            for _ in range(10):
                await htx.mass_cancel_trailing(contracts(10), look="none")
                await asyncio.sleep(10.0)
            line = transport_of(htx)
        assert 5 < len(line.met) <= 5 + now() / 30

    run(main())


def test_silence_counts_though_the_caller_s_deadline_comes_first() -> None:
    """Deadlines shorter than the time for one attempt: the second call goes to the healthy host."""

    async def main() -> None:
        exchange = with_orders([BTC])
        outage = Outage("silent", host=FIRST)
        async with opened(exchange, outage, base_urls=TWO) as htx:
            first = await ending(htx.cancel_all_trailing(BTC, deadline=1.5))
            second = await ending(htx.cancel_all_trailing(BTC, deadline=1.5))
        assert (first.outcome, second.outcome) == (Outcome.UNKNOWN, Outcome.CANCELLED)

    run(main())


@pytest.mark.parametrize("what", ["silent", "bad_gateway", "refusing"])
def test_lists_go_where_the_cancels_have_learnt_to_go(what: Sickness) -> None:
    """Confirmations of forty contracts share what is known of the hosts."""
    codes = contracts(40)

    async def main() -> None:
        exchange = with_orders(codes)
        async with opened(exchange, Outage(what, host=FIRST), base_urls=TWO) as htx:
            report = await htx.mass_cancel_trailing(codes, confirm=True, look="none")
            lists = [met for met in transport_of(htx).met if met.path == OPEN_ORDERS]
        assert report.is_clear
        assert not lists

    run(main())


def test_a_sick_host_is_not_asked_first_for_the_list_of_contracts() -> None:
    """The public call shares the memory, and adds to it."""

    async def main() -> None:
        exchange = with_orders([BTC])
        async with opened(exchange, Outage("silent", host=FIRST), base_urls=TWO) as htx:
            assert await htx.contracts() == (BTC,)
            await htx.cancel_all_trailing(BTC)
            began = now()
            assert await htx.contracts() == (BTC,)
            assert now() - began < 0.1
            assert len(transport_of(htx).met) == 1

    run(main())


def test_a_warm_up_tells_which_host_is_sick() -> None:
    """One that is silent or answers 502 is tried last from then on."""

    async def main(what: Sickness) -> None:
        exchange = with_orders([BTC])
        async with opened(exchange, Outage(what, host=FIRST), base_urls=TWO) as htx:
            first, second = await htx.warm_up()
            assert first.problem is not None
            assert second.problem is None
            report = await htx.cancel_all_trailing(BTC)
        assert [attempt.base_url for attempt in report.attempts] == [SECOND]

    for what in ("silent", "bad_gateway"):
        run(main(what))


# A slow exchange


@pytest.mark.parametrize("how", ["mass", "urgent", "guard", "until_clear", "confirm"])
def test_a_slow_exchange_leaves_nothing_unsent(how: str) -> None:
    """Round trips of two seconds, a hundred contracts, no deadline given: it grows with them."""
    codes = contracts(100)

    async def main() -> None:
        exchange = with_orders(codes)
        async with opened(exchange, latency=1.0) as htx:
            if how in ("until_clear", "confirm"):
                more: dict[str, Any] = {how: True}
                report = await htx.mass_cancel_trailing(codes, **more)
            else:
                report = await mass(htx, codes, how)
        assert report.outcomes == {Outcome.CANCELLED: 100}

    run(main())


def test_a_slow_exchange_has_time_for_many_ids() -> None:
    """Ten to a request: 300 orders' ids have the same patience."""

    async def main() -> None:
        exchange = SimulatedExchange()
        ids = exchange.place(BTC, "buy", "close", 600)
        async with opened(exchange, latency=1.0) as htx:
            report = await htx.cancel_trailing(BTC, ids)
        assert report.outcome is Outcome.CANCELLED

    run(main())


def test_a_slow_exchange_on_v5_has_time_for_all() -> None:
    """The orders are listed first, and the cancels share the five a second."""
    codes = contracts(100)

    async def main() -> None:
        exchange = SimulatedExchange(account="v5", v1_variant="6002")
        for code in codes:
            exchange.place(code, "buy", "close", 1)
        async with opened(exchange, latency=1.0, generation="v5") as htx:
            report = await htx.mass_cancel_trailing(codes)
        assert not exchange.open_orders()
        assert Outcome.NOT_SENT not in report.outcomes

    run(main())


def test_silence_makes_no_deadline_longer() -> None:
    """Only answers do: a dead exchange is told as such in the time that was due."""

    async def main() -> None:
        exchange = with_orders(contracts(100))
        async with opened(exchange, Outage("silent")) as htx:
            report = await htx.mass_cancel_trailing(contracts(100))
        assert report.elapsed == pytest.approx(19 * 1.5 + 10, abs=0.1)

    run(main())


def test_a_deadline_that_was_given_does_not_grow() -> None:
    """It is the caller's own."""

    async def main() -> None:
        exchange = with_orders(contracts(100))
        async with opened(exchange, latency=1.0) as htx:
            report = await htx.mass_cancel_trailing(contracts(100), deadline=20.0)
        assert report.elapsed <= 20.01
        assert Outcome.NOT_SENT in report.outcomes

    run(main())
