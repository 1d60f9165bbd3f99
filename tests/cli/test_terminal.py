"""cancel-all on a pseudo-terminal: the question, the bar, colours, and a terminal that is
stopped."""

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator

import pytest

from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    CODE,
    Ended,
    Terminal,
    after_plan,
    cancel_all,
    cancels,
    exchange_of_the_command,
    plain,
    screen,
)
from tests.support.proxy import Proxy

pytestmark = pytest.mark.slow

QUESTION = "Cancel these orders? [y/N] "
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9][0-9;]*m")


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command() as opened:
        yield opened


@pytest.fixture
async def terminal() -> AsyncIterator[Terminal]:
    opened = Terminal()
    yield opened
    opened.close()


async def answered(exchange: SimulatedExchange, keys: str) -> Ended:
    """How a cancel ends when these keys are the answer to its question."""
    terminal = Terminal()
    command = ("cancel-all", CODE, "ETH-USDT", "--base-url", exchange.url)
    process = await terminal.started("-m", "htx_async", *command)
    await terminal.shows(QUESTION)
    terminal.type(keys)
    result = await terminal.ended(process)
    terminal.close()
    return result


async def test_yes_cancels_after_the_plan(exchange: SimulatedExchange) -> None:
    """After the plan "y" or "yes" cancels, and the account follows."""
    results = await asyncio.gather(*(answered(exchange, keys) for keys in ("y\r", " YES \r")))
    for result in results:
        assert result.code == 0
        plan, _, rest = plain(result.out).partition(QUESTION)
        assert "contracts  2: BTC-USDT ETH-USDT" in plan
        assert "All clear after " in rest
    assert cancels(exchange) == 4


async def test_anything_else_sends_nothing(exchange: SimulatedExchange) -> None:
    """No, nothing, something else and the end of input: exit 2."""
    answers = ("n\r", "\r", "yess\r", "\x04")
    for result in await asyncio.gather(*(answered(exchange, keys) for keys in answers)):
        assert result.code == 2
        assert plain(result.out).endswith("\nWithout a yes nothing was sent.\n")
    assert exchange.arrivals == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_at_the_question(
    terminal: Terminal, exchange: SimulatedExchange, number: signal.Signals
) -> None:
    """Exit 130, and nothing was sent."""
    process = await terminal.started(
        *("-m", "htx_async", "cancel-all", CODE, "--base-url", exchange.url)
    )
    await terminal.shows(QUESTION)
    process.send_signal(number)
    result = await terminal.ended(process)
    assert result.code == 130
    assert result.out.endswith("\nInterrupted; nothing was sent.\n")
    assert exchange.arrivals == ()


async def test_the_bar_shows_how_it_goes(terminal: Terminal, exchange: SimulatedExchange) -> None:
    """Contracts done, outcomes, time left; then it is gone and the account stands there."""
    exchange.refuse(1014, contract_code="C1-USDT")
    exchange.late(0.5, contract_code="C6-USDT")
    codes = [f"C{number}-USDT" for number in range(7)]
    process = await terminal.started("-m", "htx_async", *cancel_all(exchange, *codes))
    await terminal.shows("6/7 done")
    result = await terminal.ended(process)
    assert result.code == 3
    told = plain(result.out)
    assert re.search(r"━ +\d/7 done +about \d+ s to go", told)
    assert re.search(r"6/7 done +deadline in \d+ s", told)
    assert "1 refused, 5 nothing to cancel" in told
    # What the terminal echoes of Ctrl-C must fit behind it, or the line stays for good.
    assert all(len(line) <= 78 for line in told.splitlines() if "/7 done" in line)
    left = [plain(line) for line in screen(result.out)]
    assert not any("7 done" in line for line in left)
    assert any(line.startswith("contract  ") for line in left)
    assert max(len(line) for line in left) <= 80
    # The cursor is hidden while the bar is drawn, and must come back.
    assert result.out.rindex("\x1b[?25h") > result.out.rindex("\x1b[?25l")


async def test_a_narrow_terminal(exchange: SimulatedExchange) -> None:
    """At 40 columns nothing is cut off: a shorter line of progress, words in place of a table."""
    terminal = Terminal(width=40)
    (order,) = exchange.place(CODE, "sell", "close")
    process = await terminal.started("-m", "htx_async", *cancel_all(exchange, CODE))
    result = await terminal.ended(process)
    terminal.close()
    left = [plain(line) for line in screen(result.out)]
    assert max(len(line) for line in left) <= 40
    assert f"{CODE} (isolated): cancelled 1 order" in left
    assert order in " ".join(left)
    assert "━" not in plain(result.out)


async def test_no_color_is_honoured(terminal: Terminal, exchange: SimulatedExchange) -> None:
    """NO_COLOR takes the colours out of the bar and the account; without it they are there."""
    plainly = Terminal()
    command = ("-m", "htx_async", *cancel_all(exchange, CODE))
    coloured = await terminal.ended(await terminal.started(*command))
    uncoloured = await plainly.ended(await plainly.started(*command, NO_COLOR="1"))
    plainly.close()
    assert (coloured.code, uncoloured.code) == (0, 0)
    assert COLOUR.search(coloured.out)
    assert not COLOUR.search(uncoloured.out)
    assert "All clear" in uncoloured.out


async def test_a_dumb_terminal_gets_plain_lines(
    terminal: Terminal, exchange: SimulatedExchange
) -> None:
    """Where nothing can be redrawn there is one line for each contract, and no control at all."""
    process = await terminal.started("-m", "htx_async", *cancel_all(exchange, CODE), TERM="dumb")
    result = await terminal.ended(process)
    assert result.code == 0
    assert after_plan(result.out).startswith(f"{CODE} (isolated): nothing to cancel\n")
    assert "\x1b" not in result.out


async def ended_after_a_bar(terminal: Terminal, exchange: SimulatedExchange, *args: str) -> Ended:
    """How a cancel ends whose stdout is elsewhere, and which is answered once the bar is there."""
    async with Proxy(exchange) as network:
        network.hold()
        process = await terminal.started(
            *("-m", "htx_async", *cancel_all(network, CODE, *args)), streams={"stdout": -1}
        )
        await terminal.shows("0/1 done")
        network.release()
        return await terminal.ended(process)


async def test_json_beside_a_bar(terminal: Terminal, exchange: SimulatedExchange) -> None:
    """With stdout elsewhere the bar is on the terminal, leaves nothing, and the JSON is whole."""
    result = await ended_after_a_bar(terminal, exchange, "--json")
    assert result.code == 0
    assert json.loads(result.err)["is_clear"] is True
    assert "1/1 done" in plain(result.out)
    left = [line for line in map(plain, screen(result.out)) if line]
    assert left[0].startswith("cancel  ")
    assert left[-1].endswith("positions")


async def test_a_bar_stays_when_the_account_goes_elsewhere(
    terminal: Terminal, exchange: SimulatedExchange
) -> None:
    """Whoever sends stdout into a file still sees how it ended."""
    result = await ended_after_a_bar(terminal, exchange)
    left = [plain(line) for line in screen(result.out)]
    (done,) = [number for number, line in enumerate(left) if "1/1 done  after " in line]
    assert left[done + 1].strip() == "1 nothing to cancel"


async def test_an_interrupt_is_told_above_the_bar(
    terminal: Terminal, exchange: SimulatedExchange
) -> None:
    """What happens on the first Ctrl-C stays on the screen; then comes the account."""
    exchange.latency = 3600.0
    process = await terminal.started("-m", "htx_async", *cancel_all(exchange, CODE))
    await terminal.shows("0/1 done")
    while not exchange.arrivals:
        await terminal.changes()
    process.send_signal(signal.SIGINT)
    result = await terminal.ended(process)
    left = " ".join(plain(line) for line in screen(result.out))
    assert result.code == 5
    assert " Interrupted: nothing more is sent. " in left
    assert "Interrupted. NOT CLEAR after " in left


async def test_a_stopped_terminal_holds_up_nothing(
    terminal: Terminal, exchange: SimulatedExchange
) -> None:
    """Somebody pressed Ctrl-S: the orders are cancelled, and the account on stdout is whole."""
    exchange.place("C6-USDT", "sell", "close")
    exchange.latency = 0.2
    codes = [f"C{number}-USDT" for number in range(7)]
    process = await terminal.started(
        *("-m", "htx_async", *cancel_all(exchange, *codes, "--json")), streams={"stdout": -1}
    )
    await terminal.shows("0/7 done")
    terminal.type("\x13")
    result = await terminal.ended(process)
    assert result.code == 0
    assert len(json.loads(result.err)["reports"]) == 7
    assert exchange.open_orders() == ()


async def test_foreign_text_does_not_steer_the_terminal(
    terminal: Terminal, exchange: SimulatedExchange, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Control characters in a list come out escaped, markup in the exchange's words as it is."""
    exchange.refuse(1014, "[red]x[/red] \x1b[2J :boom: \x07", contract_code=CODE)
    process = await terminal.started("-m", "htx_async", *cancel_all(exchange, CODE))
    result = await terminal.ended(process)
    assert r"[red]x[/red] \x1b[2J :boom: \x07" in plain(" ".join(result.out.split()))
    assert "\x1b[2J" not in result.out
    assert "\x07" not in result.out
    file = tmp_path_factory.mktemp("list") / "list\x1b[31m"
    file.write_bytes(b"BTC\x1b[2J-USDT\xc2\x9b")
    process = await terminal.started(
        *("-m", "htx_async", *cancel_all(exchange, "--contracts-from", str(file)))
    )
    refused = await terminal.ended(process)
    assert refused.code == 2
    assert "BTC\\x1b[2J-USDT" in refused.out
    assert "\x1b[2J" not in refused.out
    assert "\x1b[31m" not in refused.out.removeprefix(result.out)
