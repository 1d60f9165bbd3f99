"""Points of V5 on which its clients disagree: whichever holds, the orders are cancelled, and what
is not known is said."""

import asyncio
import json
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, get_args

import pytest

from htx_async import CancelReport, HtxSession, Outcome, ReadFailed
from htx_async.simulator import Reply, Request, SimulatedExchange
from htx_async.simulator.serve_v5 import RowOrder
from htx_async.simulator.v5_forms import CancelForm
from tests.support.endings import ending
from tests.support.generations import CODE, session_of, wall
from tests.support.virtual import SOAK, run

OTHER = {"algo_id": "77", "type": "trigger", "state": "active", "contract_code": CODE}
ODD = {**OTHER, "type": None}
SEEDS = 200 if SOAK else 24

Change = Callable[[list[Any], bool], Any]
"""What becomes of the rows of a page; the second: whether it is the first one of a list."""


def as_recorded(rows: list[Any], is_first: bool) -> Any:
    return rows


def null_for_empty(rows: list[Any], is_first: bool) -> Any:
    return rows or None


def alone(rows: list[Any], is_first: bool) -> Any:
    return rows[0] if len(rows) == 1 else rows


def with_row(row: dict[str, Any]) -> Change:
    """The same row, of the smallest number, in front of all others."""
    return lambda rows, is_first: [*[{**row, "id": "1"}] * is_first, *rows]


CHANGES: dict[str, Change] = {
    "as ccxt recorded it": as_recorded,
    "null for empty": null_for_empty,
    "one alone": alone,
    "with a row of another type": with_row(OTHER),
}


class Told(SimulatedExchange):
    """An exchange on which `change` has its way with `data` of V5's replies."""

    change: Change = staticmethod(as_recorded)

    def handle(self, request: Request) -> Reply:
        reply = super().handle(request)
        if not request.path.startswith("/v5/algo") or b'"data":[' not in reply.body:
            return reply
        is_first = request.path.endswith("opens") and "from=" not in request.query
        body = json.loads(reply.body)
        body["data"] = type(self).change(body["data"], is_first)
        return replace(reply, body=json.dumps(body).encode())


def exchange_of(change: Change, **settings: Any) -> SimulatedExchange:
    told = type("Told", (Told,), {"change": staticmethod(change)})
    made: SimulatedExchange = told(clock=asyncio.get_running_loop().time, now=wall, **settings)
    return made


async def cancelled(htx: HtxSession, how: str, ids: tuple[str, ...]) -> CancelReport:
    """All of the contract, in one of the ways that there are."""
    if how == "by ids":
        return await ending(htx.cancel_trailing(CODE, ids, deadline=60.0))
    if how == "guard":
        async with htx.cancel_on_exit([CODE], deadline=60.0) as guard:
            pass
        assert guard.report is not None
        return guard.report.reports[0]
    return await ending(htx.cancel_all_trailing(CODE, confirm=how == "confirm", deadline=60.0))


class Drawn(NamedTuple):
    change: str
    form: CancelForm
    order: RowOrder
    inclusive: bool
    page: int
    how: str
    moved: bool
    orders: int


def drawn(seed: int) -> Drawn:
    chance = random.Random(seed)
    return Drawn(
        chance.choice([*CHANGES]),
        chance.choice(get_args(CancelForm)),
        chance.choice(get_args(RowOrder)),
        chance.random() < 0.5,
        chance.choice([2, 10, 50, 100]),
        chance.choice(["all", "confirm", "by ids", "guard"]),
        chance.random() < 0.5,
        chance.choice([1, 2, 11, 60]),
    )


@pytest.mark.parametrize("part", range(4))
def test_no_disagreement_keeps_an_order_open(part: int) -> None:
    """Over pairs and more of them: everything is cancelled, with all ids, and told as that."""

    async def main(seed: int) -> None:
        how = drawn(seed)
        exchange = exchange_of(
            CHANGES[how.change],
            account="v5",
            v1_variant="6002",
            v5_cancel=how.form,
            v5_order=how.order,
            v5_inclusive=how.inclusive,
            v5_page=how.page,
        )
        ids = exchange.place(CODE, "sell", "close", how.orders)
        settings = {} if how.moved else {"generation": "v5"}
        async with session_of(exchange, latency=lambda: 0.02, **settings) as htx:
            report = await cancelled(htx, how.how, ids)
        assert not exchange.open_orders(), (seed, how, report)
        assert report.outcome is Outcome.CANCELLED, (seed, how, report)
        assert sorted(report.successes) == sorted(ids), (seed, how)
        assert report.ids_complete

    for seed in range(part * SEEDS // 4, (part + 1) * SEEDS // 4):
        run(main(seed))


@pytest.mark.parametrize("count", [3, 150])
@pytest.mark.parametrize("form", get_args(CancelForm))
def test_a_row_that_cannot_be_read_keeps_no_other_order_open(form: CancelForm, count: int) -> None:
    """What could be read is cancelled; that there may be more is said."""

    async def main() -> None:
        exchange = exchange_of(with_row(ODD), account="v5", v5_cancel=form)
        exchange.place(CODE, "sell", "close", count)
        async with session_of(exchange, latency=lambda: 0.02, generation="v5") as htx:
            report = await ending(htx.cancel_all_trailing(CODE, deadline=60.0))
        assert not exchange.open_orders()
        assert report.outcome is Outcome.UNKNOWN
        assert "of its rows could not be read" in report.message
        assert len(report.successes) == count

    run(main())


@pytest.mark.parametrize("every", [0.02, 0.1, 0.5])
@pytest.mark.parametrize("page", [2, 100])
def test_a_strategy_that_keeps_placing_keeps_no_older_order_open(page: int, every: float) -> None:
    """However fast: what was open when the call began is cancelled, and the call ends."""

    async def main() -> None:
        exchange = exchange_of(as_recorded, account="v5", v5_page=page)
        ids = exchange.place(CODE, "sell", "close", 40)

        async def strategy() -> None:
            while True:
                exchange.place(CODE, "sell", "close")
                await asyncio.sleep(every)

        async with session_of(exchange, latency=lambda: 0.04, generation="v5") as htx:
            await asyncio.sleep(2.0)
            placing = asyncio.create_task(strategy())
            report = await ending(htx.cancel_all_trailing(CODE, deadline=30.0))
            placing.cancel()
        assert not {*ids} & {order.order_id for order in exchange.open_orders()}
        assert {*ids} <= {*report.successes}
        assert report.outcome is Outcome.CANCELLED
        assert report.elapsed < 15

    run(main())


@pytest.mark.parametrize("settings", [{}, {"generation": "v5"}])
@pytest.mark.parametrize(("behind", "age"), [(3.0, 2.0), (2.0, 1.6), (600.0, 300.0)])
def test_a_clock_that_is_always_behind_hides_no_order(
    behind: float, age: float, settings: dict[str, str]
) -> None:
    """Every reply tells a time from before the orders that it lists were placed: nothing follows of
    when the call began, and the list is read to its end."""

    async def main() -> None:
        class Late(Told):
            def handle(self, request: Request) -> Reply:
                reply = super().handle(request)
                head, mark, ts = reply.body.rpartition(b'"ts":')
                if not mark:
                    return reply
                late = int(ts.rstrip(b"} ")) - round(1000 * behind)
                return replace(reply, body=b'%s"ts":%d}' % (head, late))

        loop = asyncio.get_running_loop()
        exchange = Late(account="v5", v1_variant="6002", v5_page=10, clock=loop.time, now=wall)
        ids = exchange.place(CODE, "sell", "close", 60)
        await asyncio.sleep(age)
        async with session_of(exchange, latency=lambda: 0.04, **settings) as htx:
            assert len(await htx.open_trailing(CODE)) == 60
            report = await ending(htx.cancel_all_trailing(CODE, confirm=True, deadline=30.0))
        assert not exchange.open_orders()
        assert (report.outcome, report.confirmed) == (Outcome.CANCELLED, True)
        assert sorted(report.successes) == sorted(ids)

    run(main())


@pytest.mark.parametrize("number", [None, "", "-4"])
def test_a_page_of_rows_that_nobody_can_go_on_from_is_no_end(number: str | None) -> None:
    """Where `type` is not heeded, a page may hold others' rows alone; without numbers nobody knows
    what comes after it: unknown, never nothing."""

    def others(rows: list[Any], is_first: bool) -> Any:
        return [{**OTHER, "id": number}] * 10 if is_first and rows else rows

    async def main() -> None:
        exchange = exchange_of(others, account="v5")
        exchange.place(CODE, "sell", "close", 8)
        async with session_of(exchange, latency=lambda: 0.02, generation="v5") as htx:
            report = await ending(htx.cancel_all_trailing(CODE, confirm=True))
            with pytest.raises(ReadFailed):
                await htx.open_trailing(CODE)
        assert not report.is_clear
        assert report.confirmed is None

    run(main())
