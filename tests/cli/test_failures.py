"""cancel-all when something beside the exchange fails: disks, pipes, look-ups, itself."""

import asyncio
import json
import os
from collections.abc import AsyncIterator

import pytest

from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    CODE,
    after_plan,
    cancel_all,
    ended,
    exchange_of_the_command,
    one_by_one,
    started,
)

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command() as opened:
        yield opened


@pytest.fixture
def full() -> int:
    """A descriptor of a disk without room."""
    return os.open("/dev/full", os.O_WRONLY)


@pytest.fixture
def closed_pipe() -> int:
    """The end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize("as_json", [(), ("--json",)])
@pytest.mark.parametrize("kind", ["full", "closed_pipe"])
async def test_stdout_that_takes_nothing(
    exchange: SimulatedExchange, request: pytest.FixtureRequest, kind: str, as_json: tuple[str, ...]
) -> None:
    """The exit code is that of the orders, and the summary goes to stderr."""
    exchange.unknown_contract(CODE)
    stdout = request.getfixturevalue(kind)
    command = ("-m", "htx_async", *cancel_all(exchange, CODE, *as_json))
    result = await ended(await started(*command, streams={"stdout": stdout}))
    os.close(stdout)
    assert result.code == 3
    last = result.err.splitlines()[-1]
    assert last.startswith("NOT CLEAR after ")
    assert f"Refused, nothing was cancelled: {CODE}." in last
    assert "could not be printed: " in last


@pytest.mark.parametrize("kind", ["full", "closed_pipe"])
async def test_stderr_that_takes_nothing(
    exchange: SimulatedExchange, request: pytest.FixtureRequest, kind: str
) -> None:
    """The account is on stdout as ever, and the exit code too."""
    exchange.unknown_contract(CODE)
    stderr = request.getfixturevalue(kind)
    command = ("-m", "htx_async", *cancel_all(exchange, CODE))
    result = await ended(await started(*command, streams={"stderr": stderr}))
    os.close(stderr)
    assert result.code == 3
    assert "Refused, nothing was cancelled" in result.out


async def test_stderr_that_nobody_reads(exchange: SimulatedExchange) -> None:
    """A pipe that is full to the brim holds up neither the cancel, nor the account, nor the end."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    command = ("-m", "htx_async", *cancel_all(exchange, CODE, "ETH-USDT"))
    result = await ended(await started(*command, streams={"stderr": writer}))
    os.close(reader)
    os.close(writer)
    assert result.code == 0
    assert "All clear" in result.out


async def test_no_streams_at_all(exchange: SimulatedExchange) -> None:
    """With stdin, stdout and stderr closed the orders are cancelled all the same."""
    exchange.place(CODE, "sell", "close")
    program = (
        "import os, subprocess, sys\n"
        "closed = lambda: [os.close(number) for number in (0, 1, 2)]\n"
        "sys.exit(subprocess.run([sys.executable, *sys.argv[1:]], preexec_fn=closed).returncode)"
    )
    result = await ended(
        await started("-c", program, "-m", "htx_async", *cancel_all(exchange, CODE))
    )
    assert result.code == 0
    assert exchange.open_orders() == ()


async def test_a_record_on_a_full_disk_changes_nothing_else(exchange: SimulatedExchange) -> None:
    """The account tells of it, stderr why, and the exit code is that of the orders."""
    run = cancel_all(exchange, CODE, "--audit", "/dev/full")
    as_json, plain = await one_by_one((*run, "--json"), run)
    for result in (as_json, plain):
        assert result.code == 0
        assert "The record of this cancel is not complete: " in result.err
        assert "No space left" in result.err
    # On a busy machine the disk's answer may come too late to be its reason.
    assert json.loads(as_json.out)["reports"][0]["warnings"]
    assert "Besides, for 1 contract: " in plain.out


HANGING = """
import socket, time
def hang(*args, **options):
    time.sleep(3600)
socket.getaddrinfo = hang
from functools import partial
from htx_async import doctor
doctor.examine = partial(doctor.examine, timeout=1.0)
from htx_async.__main__ import main; main()
"""


async def test_a_look_up_that_hangs_keeps_no_process() -> None:
    """Neither cancel-all nor doctor waits for its thread; the account is complete."""
    host = ("--base-url", "https://htx.invalid")
    cancelled, examined = await asyncio.gather(
        ended(await started("-c", HANGING, "cancel-all", CODE, "--yes", "--deadline", "1", *host)),
        ended(await started("-c", HANGING, "doctor", *host)),
    )
    # Both would else last as long as the look-up, an hour; `ended` waits for a minute.
    assert (cancelled.code, examined.code) == (6, 6)
    assert f"Not sent, every order is as it was: {CODE}." in cancelled.out
    assert "FAIL https://htx.invalid: name" in examined.out


BROKEN = """
from htx_async.exchange import v1
read = v1.read
def broken(answer, scrub):
    error = KeyError("https://api.hbdm.com/?Signature=abc")
    error.add_note("https://api.hbdm.com/?Signature=abc")
    raise error
v1.read = broken
from htx_async.__main__ import main; main()
"""


async def test_an_error_of_its_own_exits_1_and_says_what_is_known(
    exchange: SimulatedExchange,
) -> None:
    """One line with type and place, none of a foreign exception's words, then the account."""
    exchange.place(CODE, "sell", "close")
    result = await ended(await started("-c", BROKEN, *cancel_all(exchange, CODE, "ETH-USDT")))
    assert (result.code, result.out) == (1, "")
    lines = after_plan(result.err).splitlines()
    error, note = [line for line in lines if not line.startswith("ETH-USDT (isolated): ")]
    assert error.startswith("internal error: KeyError at htx_async.calls.attempts:")
    assert error.endswith(". Look at the exchange now.")
    assert note.startswith("in a mass cancel of which this is known: ")
    assert CODE in note


UNDRAWN = """
import sys
sys.modules["rich.table"] = None
from htx_async.__main__ import main; main()
"""


async def test_an_account_that_cannot_be_drawn_is_summed_up(exchange: SimulatedExchange) -> None:
    """The exit code stays that of the orders, and the summary goes to stderr."""
    exchange.unknown_contract(CODE)
    result = await ended(await started("-c", UNDRAWN, *cancel_all(exchange, CODE)))
    assert (result.code, result.out) == (3, "")
    last = result.err.splitlines()[-1]
    assert last.startswith("NOT CLEAR after ")
    assert "ModuleNotFoundError at htx_async.cli." in last
