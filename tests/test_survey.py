"""A look first: what it leads to, contract by contract, and what is told of it."""

import asyncio

import pytest

from htx_async import ALL_CONTRACTS, CancelReport, MassCancelReport, Outcome
from htx_async.events import CallStarted, Event
from tests.test_reading import Witness, in_step, now, v1_session
from tests.virtual import run

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
            desk = htx.cross if cross else htx
            await desk.mass_cancel_trailing(ALL_CONTRACTS)
            exchange.place(CODES[2], "buy", "open", margin_mode=mode)  # type: ignore[arg-type]  # one of the literals
            sweeps = [desk.mass_cancel_trailing(ALL_CONTRACTS) for _ in range(2)]
            first, second = await asyncio.gather(*sweeps)
        assert first.is_clear
        assert second.is_clear
        assert not exchange.open_orders()
        reads = [one for one in exchange.arrivals if one.path.endswith("openorders")]
        assert len(reads) == 3 * (1 if cross else len(CODES))

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
