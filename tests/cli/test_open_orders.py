"""open as a process: which orders it shows, how, and what it cannot read."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from htx_async import TrailingOrder
from htx_async.cli.listing import listing
from htx_async.cli.words import V1_ALONE
from htx_async.enums import MarginMode
from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    CODE,
    Terminal,
    ended,
    exchange_of_the_command,
    one_by_one,
    plain,
    started,
)

pytestmark = pytest.mark.slow

LISTED = ("ADA-USDT", "BTC-USDT", "BTC-USDT-261225", "ETH-USDT")
ALWAYS = 999


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command(contracts=LISTED) as opened:
        yield opened


def rows(out: str) -> list[list[str]]:
    """The cells of a table, up to the empty line after it."""
    return [line.split() for line in out.partition("\n\n")[0].splitlines()[2:]]


async def test_open_orders_in_all_forms(exchange: SimulatedExchange) -> None:
    """All contracts or those that are named, either margin mode or, unless one is named, both,
    filtered, as a table, as JSON with exact numbers, and none at all; nothing but lists is asked
    for, of cross margin one, and the last line says how each mode was read."""
    sell, buy = (exchange.place(CODE, side, "close", volume=2)[0] for side in ("sell", "buy"))
    one_way = exchange.place("ETH-USDT", "sell", "both", callback_rate="0.005")[0]
    future = exchange.place("BTC-USDT-261225", "sell", "open", margin_mode="cross")[0]
    to = ("open", "--base-url", exchange.url)
    bare, filtered, both, as_json, none, no_json = await one_by_one(
        (*to, "--margin", "isolated"),
        (*to, CODE, "ETH-USDT", "--direction", "sell", "--offset", "close"),
        (*to, "--deadline", "20"),
        (*to, "--margin", "cross", "btc-usdt-261225", CODE, "--json"),
        (*to, "ADA-USDT"),
        (*to, "ADA-USDT", "--json"),
    )
    # That v1 alone was asked has to be told where it shows nothing.
    alone = f"{V1_ALONE}\n"
    for result, told in ((bare, ""), (filtered, ""), (both, ""), (none, alone)):
        assert (result.code, result.err) == (0, told)
    # An array has no room for it.
    by_one = "cross margin: 1 contract, by one list"
    for result, read, told in (
        (as_json, "cross margin: the whole account, by one list", ""),
        (no_json, f"isolated margin: 1 contract, by one list; {by_one}", alone),
    ):
        assert (result.code, result.err) == (0, f"Read: {read}.\n{told}")
    assert bare.out.splitlines()[0].split() == [
        *("contract", "margin", "direction", "offset", "volume", "callback", "activation"),
        *("state", "age", "order", "id"),
    ]
    cells = {row[-1]: row for row in rows(bare.out)}
    assert cells.keys() == {sell, buy, one_way}
    assert cells[sell][:8] == [
        *(CODE, "isolated", "sell", "close", "2", "5%", "50000", "waiting"),
    ]
    assert cells[one_way][3:6] == ["both", "1", "0.5%"]
    assert bare.out.endswith(
        "3 open trailing orders. Read: isolated margin: 3 contracts, by a list each.\n"
    )
    assert {row[-1] for row in rows(filtered.out)} == {sell, one_way}
    assert [row[:2] for row in rows(both.out)][-1] == ["BTC-USDT-261225", "cross"]
    assert both.out.endswith(
        "4 open trailing orders. Read: isolated margin: 3 contracts, by a list each; cross margin: "
        "the whole account, by one list.\n"
    )
    one_list = [
        one for one in exchange.arrivals if one.path.endswith("/swap_cross_track_openorders")
    ]
    # Of the default, of two contracts that were named, and of one that was, twice.
    assert len(one_list) == 5
    (order,) = json.loads(as_json.out)
    assert (order["order_id"], order["margin_mode"]) == (future, "cross")
    assert Decimal(order["callback_rate"]) == Decimal("0.05")
    assert isinstance(order["volume"], str)
    assert none.out == (
        "No such trailing orders are open. Read: isolated margin: 1 contract, by one list; cross "
        "margin: 1 contract, by one list.\n"
    )
    assert json.loads(no_json.out) == []
    asked = {one.path.rpartition("/swap_")[2] for one in exchange.arrivals}
    assert asked == {"contract_info", "track_openorders", "cross_track_openorders"}


async def test_what_cannot_be_read_is_told(exchange: SimulatedExchange, refusing_url: str) -> None:
    """Exit 5 with the reason on stderr, once where many share it, the orders of the others on
    stdout; without the list of all contracts too; wrong usage and missing keys are 2."""
    (order,) = exchange.place(CODE, "sell", "close")
    exchange.refuse(
        1014, "[red]no[/] \x1b[2J", call="openorders", contract_code="ADA-USDT", times=9
    )
    dead = [f"C{number}-USDT" for number in range(7)]
    to = ("open", "--margin", "isolated", "--base-url", exchange.url)
    dead_to = ("open", "--margin", "isolated", "--base-url", refusing_url)
    plainly, as_json, nothing, many, no_list, usage, two_lists = await one_by_one(
        (*to, CODE, "ADA-USDT"),
        (*to, CODE, "ADA-USDT", "--json"),
        (*to, "ADA-USDT"),
        (*dead_to, "--deadline", "1", "--json", *dead),
        dead_to,
        (*to, "BTC USDT"),
        (*to, "--all", CODE),
    )
    assert [one.code for one in (plainly, as_json, nothing, many, no_list)] == [5] * 5
    failure = "ADA-USDT's open trailing orders in isolated margin could not be read: refused by "
    for result in (plainly, as_json, nothing):
        assert result.err.startswith(failure)
        assert 'saying "[red]no[/] \\x1b[2J"' in result.err
    assert rows(plainly.out)[0][-1] == order
    assert plainly.out.endswith(
        "1 open trailing order. Read: isolated margin: 1 contract, by one list; "
        "others could not be read.\n"
    )
    assert [one["order_id"] for one in json.loads(as_json.out)] == [order]
    assert nothing.out == "Nothing could be read.\n"
    assert many.err.count("could not be read: ") == many.err.count("\n") == 1
    assert many.err.startswith(f"{', '.join(dead)}'s open trailing orders in isolated margin")
    assert json.loads(many.out) == []
    assert no_list.err.startswith("the list of contracts could not be read (")
    assert (usage.code, usage.out, two_lists.code, two_lists.out) == (2, "", 2, "")
    assert "may hold letters" in usage.err
    assert "--all means every contract" in two_lists.err


def page(**fields: Any) -> bytes:
    """A list of one order, such as the exchange might send one day."""
    row = {"order_id_str": "1", "contract_code": CODE, "direction": "sell", "offset": "close"}
    orders = {"orders": [{**row, **fields}], "total_page": 1, "current_page": 1, "total_size": 1}
    return json.dumps({"status": "ok", "data": orders, "ts": 1}).encode()


async def test_a_narrow_terminal_gets_a_part_of_the_table_and_no_foreign_markup(
    exchange: SimulatedExchange,
) -> None:
    """A narrow one gets part of the table, unfolded, and is told so; foreign text is no markup."""
    words = page(direction="[red]x[/red]", offset=":boom:")
    exchange.malform(words, call="openorders", times=2)
    narrow, wide = Terminal(80), Terminal(150)
    command = ("-m", "htx_async", "open", CODE, "--margin", "isolated", "--base-url", exchange.url)
    parts, whole = await asyncio.gather(
        narrow.ended(await narrow.started(*command)), wide.ended(await wide.started(*command))
    )
    for terminal in (narrow, wide):
        terminal.close()
    assert (parts.code, whole.code) == (0, 0)
    lines = plain(parts.out).splitlines()
    assert lines[2].split() == [CODE, "isolated", "[red]x[/red]", ":boom:", "?", "1"]
    assert max(map(len, lines)) <= 80
    assert "A wider terminal also shows volume, callback, activation, age" in " ".join(lines)
    (row,) = rows(plain(whole.out))
    assert row[2:] == ["[red]x[/red]", ":boom:", "?", "?", "?", "?", "?", "1"]
    assert "wider" not in whole.out


async def test_a_list_that_cannot_be_printed_is_no_success(exchange: SimulatedExchange) -> None:
    """A full disk: exit 2, for a program would take what is there for all."""
    exchange.place(CODE, "sell", "close")
    full = os.open("/dev/full", os.O_WRONLY)
    command = ("-m", "htx_async", "open", CODE, "--json", "--base-url", exchange.url)
    result = await ended(await started(*command, streams={"stdout": full}))
    os.close(full)
    assert result.code == 2
    assert result.err.endswith(".\nThe list could not be printed: No space left on device.\n")


def order(**fields: Any) -> TrailingOrder:
    return TrailingOrder.model_validate(
        {
            "order_id_str": "1",
            "contract_code": CODE,
            "direction": "sell",
            "offset": "close",
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("fields", "cells"),
    [
        ({"volume": "0.00100", "callback_rate": "0.0125"}, ["0.001", "1.25%"]),
        ({"volume": "1E+99", "callback_rate": "1E-50"}, ["1E+99", "1E-48%"]),
        ({"volume": 100, "callback_rate": 1}, ["100", "100%"]),
        ({"volume": "x"}, ["?", "?"]),
    ],
)
def test_numbers_as_a_person_writes_them(fields: dict[str, Any], cells: list[str]) -> None:
    """Without zeros at their end, a rate in per cent; what is out of all proportion as it came."""
    (row,) = rows(listing([(MarginMode.ISOLATED, order(**fields))], "", is_whole=True))
    assert row[4:6] == cells


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(-60, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (172_800, "2 d")],
)
def test_an_age_is_told_in_its_largest_unit_and_never_as_negative(
    seconds: int, age: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the largest unit of which there are two; a clock that is behind makes nothing younger
    than now."""
    monkeypatch.setattr("htx_async.cli.listing.time", SimpleNamespace(time=lambda: 1_800_000_000.0))
    placed = order(created_at=(1_800_000_000 - seconds) * 1000, is_active=1)
    (row,) = rows(listing([(MarginMode.CROSS, placed)], "", is_whole=True))
    assert row[1] == "cross"
    assert row[7:] == ["active", *age.split(), "1"]
