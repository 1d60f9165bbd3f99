"""Cross margin: twins of every call, dated futures, and no order of the other mode touched."""

import asyncio
import inspect
import json
from dataclasses import replace
from typing import Any, Literal

import pytest

from htx_async import (
    ALL_CONTRACTS,
    CancelError,
    CancelReport,
    HtxSession,
    InvalidRequest,
    NotSent,
    Outcome,
    ReadFailed,
)
from htx_async.cross import CrossMargin
from htx_async.enums import ContractType, GenerationLike, MarginMode
from htx_async.simulator import Reply, Request, SimulatedExchange
from htx_async.simulator.account import V1Variant
from tests.support.virtual import run, virtual_session
from tests.support.witness import BTC, in_step, v1_session

DATED = "BTC-USDT-261225"
START_OF_PATH = "/linear-swap-api/v1/swap_"


def test_both_desks_have_the_same_calls() -> None:
    """Whatever a session can do in isolated margin it can do in cross margin."""
    own = {name for name in vars(CrossMargin) if not name.startswith("_")}
    for name in own:
        ours = inspect.signature(getattr(HtxSession, name)).parameters
        twin = inspect.signature(getattr(CrossMargin, name)).parameters
        assert set(twin) - set(ours) == {"pair", "contract_type"}
        assert set(ours) <= set(twin)
    assert {"cancel_all_trailing", "open_trailing", "trailing_history", "cancel_trailing"} <= own


def test_each_call_goes_to_its_twin() -> None:
    """All four private paths, and nothing to the isolated ones."""

    async def main() -> None:
        exchange = in_step()
        (order_id,) = exchange.place(BTC, "buy", "open", margin_mode="cross")
        async with v1_session(exchange) as htx:
            assert [one.order_id for one in await htx.cross.open_trailing(BTC)] == [order_id]
            report = await htx.cross.cancel_all_trailing(BTC, confirm=True)
            assert (report.confirmed, report.successes) == (True, (order_id,))
            assert [one.order_id for one in await htx.cross.trailing_history(BTC)] == [order_id]
            await htx.cross.cancel_trailing(BTC, [order_id])
        calls = ("cancelall", "cancel", "openorders", "hisorders")
        expected = {f"{START_OF_PATH}cross_track_{call}" for call in calls}
        assert {one.path for one in exchange.arrivals} == expected

    run(main())


def test_on_v5_a_pair_names_no_contract() -> None:
    """It has orders of several contracts, and its rows tell no type: nothing is sent."""

    async def main() -> None:
        exchange = SimulatedExchange(account="v5")
        exchange.place(BTC, "sell", "close", margin_mode="cross")
        async with virtual_session(exchange, generation="v5") as htx:
            with pytest.raises(NotSent, match="V5 knows a contract by its contract_code only"):
                await htx.cross.cancel_all_trailing(pair=BTC, contract_type="swap")
        assert not exchange.arrivals

    run(main())


@pytest.mark.parametrize("generation", ["v5", "auto"])
@pytest.mark.parametrize("variant", ["6002", "1051", "1066"])
def test_whoever_names_a_pair_of_a_moved_account_is_told_what_to_name(
    generation: GenerationLike, variant: V1Variant
) -> None:
    """Nothing goes to V5 without the name of a contract; the way out is that name, not the
    website. Its lists without one are not known to be of every contract."""

    async def main() -> None:
        exchange = SimulatedExchange(account="v5", v1_variant=variant, v5_unnamed="none")
        ids = exchange.place(BTC, "sell", "close", margin_mode="cross")
        named: dict[str, Any] = {"pair": BTC, "contract_type": "swap"}
        async with virtual_session(exchange, generation=generation) as htx:
            with pytest.raises(CancelError) as failed:
                await htx.cross.cancel_trailing(order_ids=ids, **named)
            assert "contract_code" in str(failed.value)
            with pytest.raises(ReadFailed, match="name one by that"):
                await htx.cross.open_trailing(**named)
            with pytest.raises(ReadFailed):
                await htx.cross.trailing_history(**named)
        assert not [one for one in exchange.arrivals if "v5/algo/cancel" in one.path]

    run(main())


def test_one_list_tells_of_the_whole_account() -> None:
    """`ALL_CONTRACTS` is one request in cross margin, filtered as ever; nothing may be named beside
    it, and a list that V5 is not known to have is no word of the account."""

    async def main() -> None:
        exchange = in_step()
        sells = [exchange.place(code, "sell", "open", margin_mode="cross") for code in (BTC, DATED)]
        exchange.place(BTC, "buy", "open", margin_mode="cross")
        exchange.place(BTC, "sell", "open")
        async with v1_session(exchange) as htx:
            rows = await htx.cross.open_trailing(ALL_CONTRACTS, "sell")
            assert {row.order_id for row in rows} == {order_id for (order_id,) in sells}
            assert len(exchange.arrivals) == 1
            with pytest.raises(InvalidRequest, match="name none beside it"):
                await htx.cross.open_trailing(ALL_CONTRACTS, pair=BTC)
            exchange.refuse(1014, call="openorders")
            with pytest.raises(ReadFailed, match="the account's open trailing orders in cross m"):
                await htx.cross.open_trailing(ALL_CONTRACTS)
        moved = SimulatedExchange(account="v5")
        moved.place(BTC, "sell", "open", margin_mode="cross")
        async with virtual_session(moved, generation="v5") as htx:
            with pytest.raises(ReadFailed):
                await htx.cross.open_trailing(ALL_CONTRACTS)

    run(main())


@pytest.mark.parametrize("mode", list(MarginMode))
def test_the_other_mode_s_orders_are_untouched(mode: MarginMode) -> None:
    """Cancels, confirmations and lists of one mode know nothing of the other."""

    async def main() -> None:
        exchange = in_step(cancel_delay=0.3)
        placed = {
            one.value: exchange.place(BTC, "buy", "open", 2, margin_mode=one.value)
            for one in MarginMode
        }
        other = next(one for one in MarginMode if one is not mode)
        async with v1_session(exchange) as htx:
            margin_calls = htx.cross if mode is MarginMode.CROSS else htx
            report = await margin_calls.cancel_all_trailing(BTC, confirm=True)
            mass = await margin_calls.mass_cancel_trailing([BTC], confirm=True)
            assert set(report.successes) == set(placed[mode])
            assert (report.margin_mode, report.confirmed) == (mode, True)
            assert mass.reports[0].outcome is Outcome.NOTHING_TO_CANCEL
            assert mass.reports[0].margin_mode is mode
            guard = margin_calls.cancel_on_exit([BTC], confirm=True)
            async with guard:
                pass
            assert guard.report is not None
            assert guard.report.reports[0].margin_mode is mode
            assert margin_calls.plan([BTC]).margin_mode is mode
            assert margin_calls.plan([BTC]).untouched[0] == f"trailing orders in {other} margin"
        assert {one.order_id for one in exchange.open_orders()} == set(placed[other])

    run(main())


def test_a_pair_with_its_type_names_a_contract() -> None:
    """Reads sort out what the list of the pair has of other types; a cancel takes its own."""

    async def main() -> None:
        exchange = in_step(cancel_delay=0.2)
        kinds = (ContractType.QUARTER, ContractType.NEXT_QUARTER)
        codes = (DATED, "BTC-USDT-270326")
        (swap,) = exchange.place(BTC, "buy", "open", margin_mode="cross")
        (near, far) = (
            exchange.place(code, "buy", "open", margin_mode="cross", contract_type=kind)[0]
            for code, kind in zip(codes, kinds, strict=True)
        )
        named: dict[str, Any] = {"pair": "btc-usdt", "contract_type": "quarter"}
        async with v1_session(exchange) as htx:
            found = await htx.cross.open_trailing(**named)
            assert [one.order_id for one in found] == [near]
            assert found[0].contract_type == "quarter"
            report = await htx.cross.cancel_all_trailing(**named, confirm=True)
            assert (report.successes, report.confirmed) == ((near,), True)
            assert (report.contract_code, report.pair) == ("", BTC)
            assert report.contract_type is ContractType.QUARTER
            assert report.message.startswith("BTC-USDT quarter in cross margin: ")
            assert [one.order_id for one in await htx.cross.trailing_history(**named)] == [near]
            by_code = await htx.cross.cancel_all_trailing("btc-usdt-270326", confirm=True)
            assert (by_code.successes, by_code.confirmed) == ((far,), True)
        assert [one.order_id for one in exchange.open_orders()] == [swap]

    run(main())


def test_a_failure_says_which_mode() -> None:
    """The message of a report and of an exception names cross margin; isolated is the usual."""

    async def main() -> None:
        exchange = in_step()
        exchange.refuse(1014, times=2)
        async with v1_session(exchange) as htx:
            for margin_calls, said in (
                (htx.cross, "BTC-USDT in cross margin: "),
                (htx, "BTC-USDT in isolated margin: "),
            ):
                with pytest.raises(CancelError) as caught:
                    await margin_calls.cancel_all_trailing(BTC)
                assert str(caught.value).startswith(said)
                report: CancelReport = caught.value.report
                assert ("cross" in report.model_dump_json()) == (margin_calls is htx.cross)

    run(main())


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"pair": BTC},
        {"contract_type": "swap"},
        {"contract_code": BTC, "pair": BTC},
        {"contract_code": BTC, "contract_type": "swap"},
        {"contract_code": BTC, "pair": BTC, "contract_type": "swap"},
        {"pair": BTC, "contract_type": "month"},
        {"pair": BTC, "contract_type": ""},
        {"pair": "", "contract_type": "swap"},
        {"pair": "BTC USDT", "contract_type": "swap"},
        {"contract_code": ""},
        {"contract_code": 5},
        {"pair": 5, "contract_type": "swap"},
        {"contract_code": BTC, "direction": ""},
        {"contract_code": BTC, "offset": "both"},
    ],
)
def test_names_that_do_not_name_one_contract_are_refused(names: dict[str, Any]) -> None:
    """By every call, before anything is sent."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            cross = htx.cross
            for call in (cross.cancel_all_trailing, cross.open_trailing, cross.trailing_history):
                with pytest.raises(InvalidRequest):
                    await call(**names)
            if not {"direction", "offset"} & set(names):
                with pytest.raises(InvalidRequest):
                    await cross.cancel_trailing(order_ids=["1"], **names)
        assert not exchange.arrivals

    run(main())


def test_a_call_without_ids_is_refused() -> None:
    """An order list left out never means all."""

    async def main() -> None:
        exchange = in_step()
        async with v1_session(exchange) as htx:
            with pytest.raises(InvalidRequest, match="never means all"):
                await htx.cross.cancel_trailing(BTC)
        assert not exchange.arrivals

    run(main())


def test_dated_futures_are_no_contracts_of_isolated_margin() -> None:
    """The exchange says so, and nothing in cross margin is touched by the mistake. What to do
    stands with it, for cancels and lists, and for no contract of another kind or mode."""
    hint = "A dated future exists in cross margin only: htx.cross, or --margin cross."

    async def main() -> None:
        exchange = in_step()
        exchange.place(DATED, "buy", "open", margin_mode="cross")
        async with v1_session(exchange) as htx:
            with pytest.raises(CancelError, match="1014") as refused:
                await htx.cancel_all_trailing(DATED)
            assert str(refused.value).endswith(f" {hint}")
            mass = await htx.mass_cancel_trailing([DATED], look="none")
            assert mass.reports[0].message.endswith(f" {hint}")
            with pytest.raises(ReadFailed, match="1014") as unread:
                await htx.open_trailing(DATED)
            assert str(unread.value).endswith(f" {hint}")
            exchange.unknown_contract(BTC)
            exchange.unknown_contract("ETH-USDT-260925")
            for calls, code in ((htx, BTC), (htx.cross, BTC), (htx.cross, "ETH-USDT-260925")):
                with pytest.raises(CancelError, match="1014") as other:
                    await calls.cancel_all_trailing(code)
                assert "dated" not in str(other.value)
        assert len(exchange.open_orders()) == 1

    run(main())


def test_each_mode_has_five_a_second_and_both_have_the_reads() -> None:
    """The twins' paths have limits of their own; lists of both count together."""

    async def main() -> None:
        exchange = in_step()
        codes = [f"C{number}-USDT" for number in range(10)]
        async with v1_session(exchange) as htx:
            for margin_calls in (htx, htx.cross):
                await margin_calls.mass_cancel_trailing(codes, confirm=True)
        for twin in ("", "cross_"):
            assert exchange.busiest(1.0, f"{START_OF_PATH}{twin}track_cancelall") == 5
        reads = [one.at for one in exchange.arrivals if one.path.endswith("orders")]
        assert max(sum(at <= one < at + 3.0 for one in reads) for at in reads) <= 72
        assert {one.err_code for one in exchange.arrivals} <= {None, 1051}

    run(main())


@pytest.mark.parametrize("account", ["v1", "v5"])
@pytest.mark.parametrize("shown", [0, 1, 2])
def test_a_v5_list_without_a_contract_may_be_of_less_than_all(
    shown: int, account: Literal["v1", "v5"]
) -> None:
    """V5 answers a list without a contract code, which shows the orders of so many contracts only,
    or none: what is open of others is found contract by contract."""
    codes = [f"C{number}-USDT" for number in range(6)]

    class Narrow(SimulatedExchange):
        """Shows less than all where no contract is named."""

        def handle(self, request: Request) -> Reply:
            reply = super().handle(request)
            if not request.path.endswith("/opens") or "contract_code=" in request.query:
                return reply
            body = json.loads(reply.body)
            body["data"] = [row for row in body["data"] if row["contract_code"] in codes[:shown]]
            return replace(reply, body=json.dumps(body).encode())

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def wall() -> float:
            return 1_700_000_000 + loop.time()

        exchange = Narrow(
            account=account,
            v1_variant="empty",
            v5_refusal=None,
            contracts=codes,
            clock=loop.time,
            now=wall,
        )
        for code in codes:
            exchange.place(code, "sell", "close", margin_mode="cross")
        await asyncio.sleep(2.0)
        async with virtual_session(exchange, generation="auto", now=wall) as htx:
            report = await htx.cross.mass_cancel_trailing(ALL_CONTRACTS, confirm=True)
        left = exchange.open_orders()
        # One that shows orders of two contracts is taken for one of all.
        assert report.is_clear
        assert len(left) == (4 if (shown, account) == (2, "v5") else 0)

    run(main())
