"""The public list of contracts, in virtual time over the simulated exchange."""

import asyncio
import pickle
from collections.abc import Callable

import pytest

from htx_async import ReadFailed, SessionClosed
from tests.support.virtual import run
from tests.support.witness import Witness, in_step, now, v1_session

CODES = ("BTC-USDT", "ETH-USDT", "BTC-USDT-261225")


def test_each_margin_mode_has_its_contracts() -> None:
    """Dated futures exist in cross margin only; one public request tells."""

    async def main() -> None:
        exchange = in_step(contracts=CODES)
        async with v1_session(exchange) as htx:
            assert set(await htx.contracts()) == {"BTC-USDT", "ETH-USDT"}
            assert set(await htx.cross.contracts()) == set(CODES)
        assert [one.method for one in exchange.arrivals] == ["GET", "GET"]

    run(main())


def test_contracts_of_the_other_margin_mode_are_left_out() -> None:
    """By what the list says of them; one that says nothing is kept, duplicates count once."""
    rows = (
        b'{"contract_code":"A-USDT","support_margin_mode":"cross"},'
        b'{"contract_code":"B-USDT","support_margin_mode":"isolated"},'
        b'{"contract_code":"C-USDT"},{"contract_code":"C-USDT"}'
    )

    async def main() -> None:
        exchange = in_step()
        body = b'{"status":"ok","data":[%s],"ts":1}' % rows
        exchange.malform(body, call="contract_info", times=2)
        async with v1_session(exchange) as htx:
            assert await htx.contracts() == ("B-USDT", "C-USDT")
            assert await htx.cross.contracts() == ("A-USDT", "C-USDT")

    run(main())


def test_the_list_is_read_anew_each_time() -> None:
    """Contracts are listed and delisted."""

    async def main() -> None:
        exchange = in_step(contracts=["A-USDT"])
        async with v1_session(exchange) as htx:
            assert await htx.contracts() == ("A-USDT",)
            exchange.place("B-USDT", "buy", "open")
            assert await htx.contracts() == ("A-USDT", "B-USDT")

    run(main())


@pytest.mark.parametrize(
    ("arm", "reason"),
    [
        (lambda one: one.lose_before_work(times=9, call="contract_info"), "answer was lost"),
        (lambda one: one.bad_gateway(times=9, call="contract_info"), "no list of contracts"),
        (lambda one: one.maintain(times=9, call="contract_info"), "no list of contracts"),
        (lambda one: one.malform(b"[", times=9, call="contract_info"), "no list of contracts"),
        (lambda one: None, "no list of contracts"),
    ],
    ids=["lost", "gateway", "maintenance", "unreadable", "empty"],
)
def test_a_list_that_cannot_be_had_says_why(arm: Callable[[Witness], object], reason: str) -> None:
    """After two rounds, each base URL asked in each; it says what was done and what to do."""

    async def main() -> None:
        exchange = in_step(contracts=())
        arm(exchange)
        async with v1_session(exchange) as htx:
            with pytest.raises(ReadFailed) as caught:
                await htx.contracts()
        text = str(caught.value)
        assert reason in text
        assert "http://127.0.0.1:1" in text
        assert "No order was touched. Call again, or name the contracts." in text
        assert str(pickle.loads(pickle.dumps(caught.value))) == text  # noqa: S301 - our own bytes
        assert len(exchange.arrivals) == 2

    run(main())


@pytest.mark.parametrize("lost", [0, 1])
def test_one_lost_answer_is_made_up_for(lost: int) -> None:
    """The next round asks again."""

    async def main() -> None:
        exchange = in_step(contracts=["A-USDT"])
        if lost:
            exchange.truncate(call="contract_info")
        async with v1_session(exchange) as htx:
            assert await htx.contracts() == ("A-USDT",)
        assert len(exchange.arrivals) == 1 + lost

    run(main())


def test_it_uses_neither_reads_nor_trades_nor_keys() -> None:
    """Any number of lists, within the public budget: the account's calls go at once."""

    async def main() -> None:
        exchange = in_step(contracts=["A-USDT"])
        async with v1_session(exchange) as htx:
            lists = [asyncio.create_task(htx.contracts()) for _ in range(30)]
            await asyncio.sleep(0.1)
            began = now()
            await htx.open_trailing("A-USDT")
            await htx.cancel_all_trailing("A-USDT")
            assert now() - began < 0.1
            await asyncio.gather(*lists)
        instants = [one.at for one in exchange.arrivals if one.method == "GET"]
        assert max(sum(at <= one < at + 3.0 for one in instants) for at in instants) <= 24

    run(main())


def test_a_closed_session_reads_no_list() -> None:
    """It says so, and nothing is sent."""

    async def main() -> None:
        exchange = in_step(contracts=["A-USDT"])
        htx = v1_session(exchange)
        await htx.aclose()
        with pytest.raises(SessionClosed):
            await htx.contracts()
        assert not exchange.arrivals

    run(main())
