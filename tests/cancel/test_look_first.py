"""A look first: what it leads to, contract by contract, and what is told of it."""

import asyncio
from typing import Literal

import pytest

from htx_async import ALL_CONTRACTS, CancelReport, MassCancelReport, Outcome
from htx_async.events import CallStarted, Event
from tests.support.endings import ending
from tests.support.generations import CODE
from tests.support.virtual import run
from tests.support.witness import START, Witness, in_step, now, v1_session

CODES = ["A-USDT", "B-USDT", "C-USDT"]


async def swept(exchange: Witness, events: list[Event] | None = None) -> MassCancelReport:
    listener = None if events is None else events.append
    async with v1_session(exchange, on_event=listener) as htx:
        return await htx.mass_cancel_trailing(ALL_CONTRACTS)


def test_an_empty_list_is_nothing_to_cancel() -> None:
    """Without a cancel, by the exchange's own list, with its read on record; not confirmed, for an
    order may be listed late."""

    async def main() -> None:
        report = (await swept(in_step(contracts=CODES[:1]))).reports[0]
        assert (report.outcome, report.confirmed) == (Outcome.NOTHING_TO_CANCEL, None)
        assert (report.attempts, len(report.reads), report.warnings) == ((), 1, ())
        assert (report.ended_by, report.ids_complete) == ("", True)
        assert "Confirmed" not in report.message
        assert report.elapsed > 0

    run(main())


def test_a_contract_with_orders_is_cancelled_with_its_reads_on_record() -> None:
    """The look comes first in the account; without `confirm` nobody looks again."""

    async def main() -> None:
        exchange = in_step(contracts=CODES[:1])
        ids = exchange.place(CODES[0], "buy", "open", 2)
        report = (await swept(exchange)).reports[0]
        assert (report.outcome, report.successes, report.confirmed) == (
            Outcome.CANCELLED,
            ids,
            None,
        )
        assert (len(report.reads), len(report.attempts)) == (1, 1)

    run(main())


def test_what_somebody_else_is_cancelling_is_waited_for() -> None:
    """It is listed, there is nothing to cancel of it any more, and a moment later it is gone."""

    async def main() -> None:
        exchange = in_step(contracts=CODES[:1], cancel_delay=1.1)
        exchange.place(CODES[0], "buy", "open", 2)
        async with v1_session(exchange) as one, v1_session(exchange) as other:
            await one.cancel_all_trailing(CODES[0])
            report = await other.mass_cancel_trailing(CODES[:1], look="only")
        assert report.outcome is Outcome.NOTHING_TO_CANCEL
        assert not exchange.open_orders()

    run(main())


def test_events_tell_of_cancels_only() -> None:
    """A contract that has nothing is no call."""

    async def main() -> None:
        exchange = in_step(contracts=CODES)
        exchange.place(CODES[1], "buy", "open")
        events: list[Event] = []
        await swept(exchange, events)
        started = [event.contract_code for event in events if isinstance(event, CallStarted)]
        assert started == [CODES[1]]

    run(main())


def test_each_contract_is_cancelled_as_soon_as_it_was_looked_at() -> None:
    """One whose list is late holds up no other."""

    async def main() -> None:
        exchange = in_step(contracts=CODES)
        for code in CODES:
            exchange.place(code, "buy", "open")
        exchange.late(2.0, contract_code=CODES[0], call="openorders")
        ended: dict[str, float] = {}

        def note(report: CancelReport) -> None:
            ended[report.contract_code] = now()

        async with v1_session(exchange) as htx:
            report = await htx.mass_cancel_trailing(ALL_CONTRACTS, on_report=note)
        assert report.is_clear
        assert max(ended[CODES[1]], ended[CODES[2]]) < 0.5 < 2.0 < ended[CODES[0]]

    run(main())


def test_orders_that_trigger_between_look_and_cancel_leave_nothing_to_cancel() -> None:
    """The exchange's 1051 is the last word then."""

    async def main() -> None:
        exchange = in_step(contracts=CODES[:1])
        (order_id,) = exchange.place(CODES[0], "buy", "open")

        def trigger(call: str) -> None:
            if call == "cancelall":
                exchange.trigger(order_id)

        exchange.before = trigger
        report = (await swept(exchange)).reports[0]
        assert (report.outcome, len(report.attempts)) == (Outcome.NOTHING_TO_CANCEL, 1)

    run(main())


@pytest.mark.parametrize("cross", [False, True])
def test_a_look_is_not_shared_between_sweeps(cross: bool) -> None:
    """Two at once, or one after the other: each reads for itself."""

    async def main() -> None:
        exchange = in_step(contracts=CODES)
        mode = "cross" if cross else "isolated"
        async with v1_session(exchange) as htx:
            margin_calls = htx.cross if cross else htx
            await margin_calls.mass_cancel_trailing(ALL_CONTRACTS)
            exchange.place(CODES[2], "buy", "open", margin_mode=mode)  # type: ignore[arg-type]  # one of the literals
            sweeps = [margin_calls.mass_cancel_trailing(ALL_CONTRACTS) for _ in range(2)]
            first, second = await asyncio.gather(*sweeps)
        assert first.is_clear
        assert second.is_clear
        assert not exchange.open_orders()
        reads = [one for one in exchange.arrivals if one.path.endswith("openorders")]
        # Their cancels wait for the same, so both are told of the one that was sent.
        assert len(reads) == 3 * (1 if cross else len(CODES))

    run(main())


@pytest.mark.parametrize("confirm", [False, True])
def test_what_was_not_sent_in_time_is_clear_by_its_list_alone_and_says_so(confirm: bool) -> None:
    """The deadline comes before the turn of most; an order that their lists do not show yet is in
    the warning, and what has an order on its list is not clear."""

    async def main() -> None:
        codes = [f"C{number}-USDT" for number in range(30)]
        exchange = in_step(contracts=codes)
        for code in codes[:6]:
            exchange.place(code, "buy", "open")
        async with v1_session(exchange) as htx:
            mass = await htx.mass_cancel_trailing(codes, deadline=0.9, confirm=confirm)
        outcomes = [report.outcome for report in mass.reports]
        assert outcomes[:5] == 5 * [Outcome.CANCELLED]
        assert not mass.reports[5].is_clear
        for report in mass.reports[6:]:
            assert (report.outcome, report.attempts) == (Outcome.NOTHING_TO_CANCEL, ())
            assert report.confirmed is None
            assert "no cancel was sent (its turn comes in " in report.warnings[0]

    run(main())


def test_rounds_look_each_time() -> None:
    """`until_clear` ends with a list that is empty: another cancel would find nothing."""

    async def main() -> None:
        exchange = in_step(contracts=CODES[:1])
        stays, goes = exchange.place(CODES[0], "buy", "open", 2)
        exchange.reject_order(stays, 1004)
        async with v1_session(exchange) as htx:
            mass = await htx.mass_cancel_trailing(ALL_CONTRACTS, until_clear=True)
        (report,) = mass.reports
        assert (report.outcome, set(report.successes)) == (Outcome.CANCELLED, {stays, goes})
        assert (len(report.attempts), len(report.reads)) == (2, 3)
        assert report.confirmed is None

    run(main())


EMPTY = b'{"status":"ok","data":{"errors":[],"successes":""},"ts":1700000000000}'
"""v1's cancel-all that says that there was nothing to cancel."""


@pytest.mark.parametrize("until_clear", [False, True])
@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("v5", [6001, 4007, None])
@pytest.mark.parametrize("nothing", ["1051", "empty"])
def test_a_nothing_that_a_list_speaks_against_is_not_believed(
    nothing: str, v5: Literal[6001, 4007] | None, cross: bool, until_clear: bool
) -> None:
    """v1's list shows orders, and one reply to the cancel says that there are none: another list
    decides, and what it shows is open, or goes in the next round."""

    async def main() -> None:
        exchange = in_step(contracts=CODES, v5_refusal=v5)
        mode: Literal["cross", "isolated"] = "cross" if cross else "isolated"
        ids = exchange.place(CODES[1], "buy", "open", 2, margin_mode=mode)
        if nothing == "1051":
            exchange.refuse(1051, "No orders to cancel.", call="cancelall")
        else:
            exchange.malform(EMPTY, call="cancelall")
        async with v1_session(exchange, generation="auto") as htx:
            margin_calls = htx.cross if cross else htx
            mass = await margin_calls.mass_cancel_trailing(ALL_CONTRACTS, until_clear=until_clear)
        report = mass.reports[1]
        assert mass.is_clear is until_clear is not bool(exchange.open_orders())
        assert report.outcome is (Outcome.CANCELLED if until_clear else Outcome.PARTIAL)
        found = report.successes if until_clear else report.still_open
        assert sorted(found) == sorted(ids)

    run(main())


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("behind", [0.5, 5.0])
@pytest.mark.parametrize("call", ["cancelall", "openorders"])
def test_the_clocks_of_some_replies_do_not_hide_an_order(
    call: Literal["cancelall", "openorders"], behind: float, times: int
) -> None:
    """Replies tell a time that is behind: an order from just before the call, which the cancel has
    missed, is no later one for that."""

    async def main() -> None:
        late: list[float] = []
        loop = asyncio.get_running_loop()
        exchange = Witness(clock=loop.time, now=lambda: START + loop.time() - sum(late))
        seen: list[str] = []

        def before(kind: str) -> None:
            late[:] = [behind] if kind == call and seen.count(kind) < times else []
            seen.append(kind)

        exchange.before = before
        # Refused as busy until nothing is left of it: so often its time is told, and nothing done.
        exchange.refuse(1004, "busy", call=call, times=times - 1 or 1)
        exchange.malform(EMPTY.replace(b"1700000000000", b"%d" % (1000 * START)), call="cancelall")
        missed = exchange.place(CODE, "sell", "close")
        await asyncio.sleep(0.1)
        async with v1_session(exchange) as htx:
            report = await ending(htx.cancel_all_trailing(CODE, confirm=True, deadline=20.0))
        assert (report.outcome, report.confirmed) == (Outcome.PARTIAL, False)
        assert report.still_open == missed

    run(main())
