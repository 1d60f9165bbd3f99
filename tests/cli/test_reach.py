"""How far cancel-all reaches: all contracts, both margin modes, and until the orders are gone."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

from htx_async import CancelReport, MassCancelReport, Outcome, ReadFailed
from htx_async.cancel.judge import NOT_CONFIRMED, TOO_EARLY
from htx_async.cli.access import Fleet
from htx_async.cli.guard_account import Account, Ended
from htx_async.cli.intent import Intent, known
from htx_async.cli.result import Result
from htx_async.cli.words import besides, left_open, messages, summary
from htx_async.enums import MarginMode
from htx_async.report import OrderError
from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    CODE,
    after_plan,
    cancel_all,
    cli,
    exchange_of_the_command,
    one_by_one,
)

pytestmark = pytest.mark.slow

LISTED = ("ADA-USDT", "BTC-USDT", "ETH-USDT", "XRP-USDT")
ALWAYS = 999


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command(limit=1000) as opened:
        yield opened


@pytest.fixture
async def listing_exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command(contracts=(*LISTED, "BTC-USDT-261225")) as opened:
        yield opened


def calls(exchange: SimulatedExchange, since: int = 0) -> Counter[str]:
    """How often each call has arrived, by the end of its path."""
    return Counter(one.path.rpartition("/swap_")[2] for one in exchange.arrivals[since:])


def cancelled(exchange: SimulatedExchange) -> list[str | None]:
    """The contracts that a cancel-all has named."""
    return [one.contract_code for one in exchange.arrivals if one.path.endswith("_cancelall")]


async def test_all_looks_first_unless_told_not_to(listing_exchange: SimulatedExchange) -> None:
    """Of all listed contracts only the one with orders is cancelled; --look none cancels each. A
    dry run reads the public list alone and tells both times."""
    exchange = listing_exchange
    hit = exchange.place(CODE, "sell", "close", 2)
    everything = ("cancel-all", "--all", "--base-url", exchange.url)
    looked, blind, dry, dry_blind = await one_by_one(
        (*everything, "--yes", "--direction", "sell"),
        (*everything, "--yes", "--look", "none", "--json"),
        (*everything, "--dry-run"),
        (*everything, "--dry-run", "--look", "none", "--json"),
    )
    assert [one.code for one in (looked, blind, dry, dry_blind)] == [0, 0, 0, 0]
    assert after_plan(looked.err) == (
        "Open, by the look before: 2 orders on 1 contract in isolated margin.\n"
        f"{CODE} (isolated): cancelled\n"
    )
    lines = looked.out.splitlines()
    assert lines[2].split()[:4] == [CODE, "isolated", "cancelled", "2"]
    assert lines[3] == "3 contracts have no such order open in isolated margin."
    assert f"cancelled {CODE} (isolated) {' '.join(hit)}" in lines
    assert "took every cancel for 4 contracts (2 orders by id)" in lines[-1]
    reports = json.loads(blind.out)["reports"]
    assert tuple(one["contract_code"] for one in reports) == LISTED
    assert [len(one["attempts"]) for one in reports] == [1, 1, 1, 1]
    assert cancelled(exchange) == [CODE, *LISTED]
    beside = {"cross_track_openorders": 2}
    own = {"contract_info": 6, "track_openorders": 4, "track_cancelall": 5}
    assert calls(exchange) == own | beside
    told = " ".join(dry.out.split())
    assert "every one that the exchange lists: 4 in isolated margin" in told
    assert "reads 4 at most" in told
    assert re.search(r"time \d\.\d s if nothing is open, \d+\.\d s at most", told)
    assert told.endswith("Dry run: nothing was sent, but to read the public list of contracts.")
    plan = json.loads(dry_blind.out)
    assert (plan["reads"], plan["calls"], plan["look"]) == (0, 4, "none")
    assert tuple(plan["contract_codes"]) == LISTED


async def test_both_margin_modes_run_together(listing_exchange: SimulatedExchange) -> None:
    """Each on its own paths, told apart in plan, table, lists and JSON; dated futures are listed
    in cross margin only."""
    exchange = listing_exchange
    isolated = exchange.place(CODE, "sell", "close")
    cross = exchange.place(CODE, "sell", "close", margin_mode="cross")
    (future,) = exchange.place("BTC-USDT-261225", "buy", "open", margin_mode="cross")
    to = ("cancel-all", "--base-url", exchange.url)
    alone, both, dry, dry_json, everything = await one_by_one(
        (*to, CODE, "--yes", "--margin", "cross"),
        (*to, CODE, "--yes", "--margin", "both", "--json"),
        (*to, CODE, "--dry-run", "--margin", "both"),
        (*to, "--all", "--dry-run", "--margin", "both", "--json"),
        (*to, "--all", "--yes", "--margin", "both"),
    )
    assert [one.code for one in (alone, both, dry, dry_json, everything)] == [0] * 5
    assert after_plan(alone.err) == f"{CODE} (cross): cancelled\n"
    assert alone.out.splitlines()[2].split()[:4] == [CODE, "cross", "cancelled", "1"]
    assert f"cancelled {CODE} (cross) {cross[0]}" in alone.out.splitlines()
    accounts = json.loads(both.out)
    assert list(accounts) == ["isolated", "cross", "again"]
    assert accounts.pop("again") == []
    assert [one["outcome"] for one in accounts.values()] == ["cancelled", "nothing_to_cancel"]
    assert accounts["isolated"]["reports"][0]["successes"] == [*isolated]
    assert accounts["cross"]["reports"][0]["margin_mode"] == "cross"
    told = " ".join(dry.out.split())
    assert "trailing orders in isolated margin and in cross margin, all" in told
    assert "trailing orders in" not in told.partition("untouched")[2]
    assert "trailing orders that have triggered" in told.partition("untouched")[2]
    plans = json.loads(dry_json.out)
    assert [len(plans[margin]["contract_codes"]) for margin in ("isolated", "cross")] == [4, 5]
    assert everything.out.splitlines()[2].split()[:3] == ["BTC-USDT-261225", "cross", "cancelled"]
    assert f"cancelled BTC-USDT-261225 (cross) {future}" in everything.out
    assert exchange.open_orders() == ()


@pytest.mark.parametrize("generation", ["v1", "auto"])
async def test_what_was_only_looked_at_needs_no_person(
    listing_exchange: SimulatedExchange, generation: str
) -> None:
    """`--all --confirm` ends with 0 where most contracts have nothing to cancel: they are clear by
    a whole list, and told as looked at."""
    listing_exchange.place(CODE, "sell", "close")
    result = await cli(
        *("cancel-all", "--base-url", listing_exchange.url, "--all", "--yes", "--confirm"),
        HTX_GENERATION=generation,
    )
    assert result.code == 0
    assert "3 contracts have no such order open in isolated margin." in result.out
    assert "confirmed for 1 contract, and 3 contracts were only looked at." in result.out
    assert "need" not in result.out
    assert listing_exchange.open_orders() == ()


async def test_confirm_tells_what_the_lists_show(exchange: SimulatedExchange) -> None:
    """Gone is 0, once the delayed cancel has taken effect; still open is 4, with the ids; lists
    that cannot be read are 5, although the exchange took the cancel."""
    exchange.cancel_delay = 0.3
    exchange.place("ADA-USDT", "sell", "close")
    stays, goes = exchange.place("DOT-USDT", "sell", "close", 2)
    (taken,) = exchange.place("XRP-USDT", "sell", "close")
    exchange.reject_order(stays, 1048, "Insufficient close amount available.", times=ALWAYS)
    exchange.bad_gateway(call="openorders", contract_code="XRP-USDT", times=ALWAYS)
    gone, left, unread, as_json = await asyncio.gather(
        cli(*cancel_all(exchange, "ADA-USDT", "--confirm")),
        cli(*cancel_all(exchange, "DOT-USDT", "--confirm", "--deadline", "30")),
        cli(*cancel_all(exchange, "XRP-USDT", "EOS-USDT", "--confirm", "--deadline", "2")),
        cli(*cancel_all(exchange, "EOS-USDT", "--confirm", "--json")),
    )
    assert [one.code for one in (gone, left, unread, as_json)] == [0, 4, 5, 0]
    row = ["ADA-USDT", "isolated", "cancelled", "confirmed", "1"]
    assert gone.out.splitlines()[2].split()[:5] == row
    assert "Confirmed: the lists of isolated margin show none of them open. " in gone.out
    assert gone.out.endswith("Cross margin: none open.\n")
    assert [one.order_id for one in exchange.open_orders()] == [stays]
    lines = left.out.splitlines()
    assert lines[2].split()[:6] == ["DOT-USDT", "isolated", "partial", "still", "open", "1"]
    why = "(1048: Insufficient close amount available.)"
    assert f"still open DOT-USDT (isolated) {stays} {why}" in lines
    assert f"cancelled DOT-USDT (isolated) {goes}" in lines
    assert "Partial, orders may still be open: DOT-USDT." in lines[-1]
    rows = [line.split() for line in unread.out.splitlines()[2:4]]
    assert rows[0][:6] == ["XRP-USDT", "isolated", "cancelled", "not", "confirmed", "1"]
    assert rows[1][:6] == ["EOS-USDT", "isolated", "nothing", "to", "cancel", "confirmed"]
    assert f"cancelled XRP-USDT (isolated) {taken}" in unread.out
    assert "not confirmed by the list of open orders (no answer to believe" in unread.out
    last = unread.out.splitlines()[-1]
    assert last.startswith("NOT CLEAR after ")
    assert "1 of 2 contracts needs a person. " in last
    assert "Not confirmed, look at the exchange now: XRP-USDT." in last
    assert json.loads(as_json.out)["reports"][0]["confirmed"] is True


async def test_without_the_list_of_all_contracts_nothing_is_sent(
    listing_exchange: SimulatedExchange, refusing_url: str
) -> None:
    """Before the plan or after it: exit 6, and stderr says so."""
    exchange, asked = listing_exchange, asyncio.Event()
    exchange.place(CODE, "sell", "close")

    def latency() -> float:
        if not asked.is_set():
            asked.set()
            exchange.bad_gateway(call="contract_info", times=ALWAYS)
        return 0.0

    exchange.latency = latency
    args = ("cancel-all", "--all", "--margin", "both", "--base-url")
    dry, dead, late = await one_by_one(
        (*args, refusing_url, "--dry-run"),
        (*args, refusing_url, "--yes", "--json"),
        ("cancel-all", "--all", "--yes", "--json", "--base-url", exchange.url),
    )
    for result in (dry, dead, late._replace(err=after_plan(late.err))):
        assert (result.code, result.out) == (6, "")
        assert result.err.startswith("the list of contracts could not be read (http://127.0.0.1:")
        assert "No order was touched." in result.err
        assert result.err.count("\n") == 1
    assert set(calls(exchange)) <= {"contract_info", "cross_track_openorders"}


def report(outcome: Outcome, margin_mode: MarginMode, **update: object) -> CancelReport:
    settings = {"contract_code": CODE, "direction": None, "offset": None, "outcome": outcome}
    return CancelReport.model_validate({**settings, "margin_mode": margin_mode, **update})


def result_of(*reports: CancelReport, confirm: bool = False) -> Result:
    found = {one.margin_mode: MassCancelReport(reports=(one,), elapsed=1.0) for one in reports}
    return Result(found, confirm=confirm)


def test_one_margin_mode_may_not_have_begun() -> None:
    """Its account is null, the other's counts, and all clear there does not make it 0."""
    clear = MassCancelReport(reports=(report(Outcome.CANCELLED, MarginMode.ISOLATED),), elapsed=1.0)
    failure = ReadFailed("the list of contracts could not be read")
    result = Result({MarginMode.ISOLATED: clear, MarginMode.CROSS: failure}, confirm=False)
    assert result.not_begun == (failure,)
    assert (result.exit_code(interrupted=False), result.exit_code(interrupted=True)) == (6, 130)
    assert summary(result) == (
        "NOT CLEAR after 1.0 s in isolated margin: 0 of 1 contract need a person. "
        "Nothing was sent in cross margin."
    )
    document = json.loads(result.as_json())
    assert document["cross"] is None
    assert document["isolated"]["is_clear"] is True


def test_the_worst_of_both_margin_modes_counts() -> None:
    """One is refused and the other is not confirmed: 5, each named with its margin mode."""
    result = result_of(
        report(Outcome.REFUSED, MarginMode.ISOLATED),
        report(Outcome.CANCELLED, MarginMode.CROSS, warnings=(TOO_EARLY,)),
        confirm=True,
    )
    assert result.exit_code(interrupted=False) == 5
    assert result.exit_code(interrupted=True) == 5
    told = summary(result)
    assert "1 of 1 contract needs a person. Not confirmed, look at the exchange now: " in told
    unsure, refused = f"{CODE} in cross margin.", f"Refused, nothing was cancelled: {CODE} in iso"
    assert told.index(unsure) < told.index(refused)
    assert len([*messages(result)]) == 2


def test_what_was_only_looked_at_is_clear() -> None:
    """Nothing was sent for it, since a whole list had nothing to cancel: no list needs to confirm
    that; doubt about whose list it was is told all the same."""
    early = report(Outcome.NOTHING_TO_CANCEL, MarginMode.ISOLATED, warnings=(TOO_EARLY,))
    result = result_of(early, confirm=True)
    assert result.exit_code(interrupted=False) == 0
    assert "1 contract was only looked at. Cross margin was not looked at." in summary(result)
    assert [*messages(result), *besides(result)] == []
    doubt = early.model_copy(update={"warnings": (f"V5 was not asked, so {NOT_CONFIRMED}",)})
    assert result_of(doubt, confirm=True).exit_code(interrupted=False) == 5


def test_a_contract_in_both_margin_modes_is_one_contract() -> None:
    """In the last line, whatever came of it in either, and where something is told of many."""
    modes = (MarginMode.ISOLATED, MarginMode.CROSS)
    warned = {"warnings": ("it was not recorded",)}
    clear = result_of(*(report(Outcome.NOTHING_TO_CANCEL, mode, **warned) for mode in modes))
    assert summary(clear) == (
        "All clear after 1.0 s in isolated and cross margin: nothing to cancel on 1 contract."
    )
    assert [*besides(clear)] == ["Besides, for 1 contract: it was not recorded."]
    bad = result_of(*(report(Outcome.REFUSED, mode) for mode in modes))
    assert "1 of 1 contract needs a person. " in summary(bad)
    mixed = result_of(
        report(Outcome.CANCELLED, MarginMode.ISOLATED, confirmed=True),
        report(Outcome.NOTHING_TO_CANCEL, MarginMode.CROSS, warnings=(TOO_EARLY,)),
        confirm=True,
    )
    assert "took every cancel for 1 contract (" in summary(mixed)
    assert summary(mixed).endswith(
        "confirmed for 1 contract in isolated margin, and 1 contract in cross margin was only "
        "looked at."
    )


def test_what_both_rounds_of_a_guard_have_to_say_stands_once() -> None:
    """With the second; a first round that says something else says it, and both are summed up."""
    refused = result_of(report(Outcome.REFUSED, MarginMode.ISOLATED))
    unknown = result_of(report(Outcome.UNKNOWN, MarginMode.ISOLATED))
    ended = Ended("bot", 1, 0, was_silent=False, left=())
    alike = [*Account(ended, (refused, refused), shares=True).lines()]
    apart = [*Account(ended, (unknown, refused), shares=True).lines()]
    (told,) = messages(refused)
    assert alike.count(told) == apart.count(told) == 1
    (first,) = [one for one in alike if one.startswith("first round: NOT CLEAR after ")]
    assert alike.index(told) > alike.index(first)
    assert {*messages(unknown)} < {*apart}


def test_what_went_wrong_beside_many_calls_is_told_once() -> None:
    """With the number of contracts; what a contract in trouble says in full is not repeated."""
    both = {"warnings": ("it was not recorded",)}
    codes = ("ADA-USDT", "ETH-USDT")
    reports = [
        report(Outcome.CANCELLED, MarginMode.ISOLATED, contract_code=one, **both) for one in codes
    ]
    reports.append(report(Outcome.NOT_SENT, MarginMode.ISOLATED, **both))
    whole = MassCancelReport(reports=tuple(reports), elapsed=1.0)
    result = Result({MarginMode.ISOLATED: whole}, confirm=False)
    (told,) = messages(result)
    assert told.startswith(f"{CODE} in isolated margin: nothing was sent")
    assert [*besides(result)] == ["Besides, for 2 contracts: it was not recorded."]


def test_every_order_that_is_left_is_listed_once() -> None:
    """Still open with the reason if there was one, refused, settled."""
    errors = tuple(
        OrderError(order_id=one, err_code=code, err_msg="no")
        for one, code in (("1", 1048), ("2", 1048), ("3", 1063))
    )
    left = {"errors": errors, "still_open": ("4", "1"), "confirmed": False}
    result = result_of(report(Outcome.PARTIAL, MarginMode.CROSS, **left), confirm=True)
    assert [*left_open(result)] == [
        f"still open {CODE} (cross) 4",
        f"still open {CODE} (cross) 1 (1048: no)",
        f"refused {CODE} (cross) 2 (1048: no)",
        f"settled {CODE} (cross) 3 (1063: no)",
    ]


class MarginCalls:
    """Ends as it is told to."""

    def __init__(self, end: MassCancelReport | Exception) -> None:
        self._end = end

    async def mass_cancel_trailing(self, *args: Any, **settings: Any) -> MassCancelReport:
        if isinstance(self._end, Exception):
            raise self._end
        return self._end


async def test_an_error_of_its_own_in_one_margin_mode_hides_no_account_of_the_other() -> None:
    """What is known of both is in its notes, and nothing else that hangs on it."""
    error = KeyError("planted")
    error.add_note("planted")
    error.add_note("in a mass cancel of which this is known: nothing")
    account = result_of(report(Outcome.CANCELLED, MarginMode.ISOLATED, successes=("1",))).whole
    htx: Any = MarginCalls(account)
    htx.cross = MarginCalls(error)
    modes = tuple(MarginMode)
    intent = Intent((CODE,), modes, None, None, False, False, look=None, deadline=None)
    with pytest.raises(KeyError) as raised:
        await intent.carry_out(htx, 1.0, None)
    assert known(raised.value) == [
        "in a mass cancel of which this is known: nothing",
        "in a mass cancel in the other margin mode: 1 contract in isolated margin clear, "
        "1 order cancelled",
    ]


def test_a_fleet_shows_no_url() -> None:
    """What may end up in a traceback of somebody else's holds no password."""
    assert "planted" not in repr([Fleet("redis://:planted@127.0.0.1", 4, "planted")])


@pytest.mark.parametrize("confirm", [(), ("--confirm",)])
async def test_an_account_that_moves_after_the_look_is_cancelled_where_it_is(
    confirm: tuple[str, ...],
) -> None:
    """v1 has listed its orders and serves it no more: what waited for v1 goes to V5, and nothing is
    told as not sent."""
    moving = {"contracts": CODES, "v1_variant": "1051", "moves_at": 10}
    async with exchange_of_the_command(**moving) as exchange:
        for code in CODES:
            exchange.place(code, "sell", "close", 2)
            exchange.place(code, "sell", "close", 2, margin_mode="cross")
        args = ("--all", "--margin", "both", "--json", *confirm)
        result = await cli(*cancel_all(exchange, *args), HTX_GENERATION=None)
        assert exchange.open_orders() == ()
    assert result.code == 0
    document = json.loads(result.out)
    assert [document[mode]["not_clear"] for mode in ("isolated", "cross")] == [[], []]


CODES = tuple(f"C{number}-USDT" for number in range(8))
