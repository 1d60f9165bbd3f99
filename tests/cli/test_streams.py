"""Every command where nothing can be written, and Ctrl-C before a command has begun."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    CODE,
    PATIENCE,
    Ended,
    cancel_all,
    ended,
    exchange_of_the_command,
    started,
)

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command() as opened:
        yield opened


@pytest.fixture
def full() -> Iterator[int]:
    """A descriptor of a disk without room."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


NO_SPACE = "No space left on device"

SPEAKING = {
    "help": ("--help",),
    "version": ("--version",),
    "simulate": ("simulate",),
    "completion": ("--show-completion", "bash"),
}


async def closed(*command: str) -> Ended:
    """How a command ends whose stdout was closed before it began."""
    program = (
        "import os, sys\nos.close(1)\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    )
    return await ended(await started("-c", program, "-W", "error", "-m", "htx_async", *command))


@pytest.mark.parametrize("name", SPEAKING)
async def test_what_only_speaks_fails_where_nothing_can_be_written(name: str, full: int) -> None:
    """On a full disk and with a closed stdout: exit 2 and one line, no traceback, no success."""
    command = SPEAKING[name]
    on_full, on_closed = await asyncio.gather(
        ended(await started("-m", "htx_async", *command, streams={"stdout": full})),
        closed(*command),
    )
    for result, why in ((on_full, NO_SPACE), (on_closed, "stdout is closed")):
        assert (result.code, result.out) == (2, "")
        assert result.err.count("\n") == 1
        assert why in result.err


async def test_the_demo_fails_where_it_cannot_be_shown(full: int) -> None:
    """Its progress is told as ever, then in one line that the story could not be printed; and with
    a full stderr it plays all the same."""
    shown, silent = await asyncio.gather(
        ended(await started("-m", "htx_async", "demo", streams={"stdout": full})),
        ended(await started("-m", "htx_async", "demo", streams={"stderr": full})),
    )
    assert shown.code == 2
    assert shown.err.splitlines()[-1] == f"What came of it could not be printed: {NO_SPACE}."
    assert shown.err.count("\n") == 41
    assert silent.code == 0
    assert "they agree." in silent.out


async def test_a_doctor_that_finds_nothing_wrong_fails_where_he_cannot_say_so(
    exchange: SimulatedExchange, full: int
) -> None:
    """Nobody was told that all is well: exit 2, with a closed stdout too."""
    command = ("doctor", "--base-url", exchange.url)
    on_full, on_closed = await asyncio.gather(
        ended(await started("-m", "htx_async", *command, streams={"stdout": full})),
        closed(*command),
    )
    assert (on_full.code, on_full.err) == (2, f"Not well: nothing. stdout: {NO_SPACE}.\n")
    assert (on_closed.code, on_closed.err) == (2, "Not well: nothing. stdout: stdout is closed.\n")


async def test_simulate_that_can_be_written_at_first_only(tmp_path: Path) -> None:
    """Its last line is lost with its reader: exit 2, and stderr has it."""
    reader, writer = os.pipe()
    process = await started("-m", "htx_async", "simulate", streams={"stdout": writer})
    os.close(writer)
    loop = asyncio.get_running_loop()
    guide = await asyncio.wait_for(loop.run_in_executor(None, os.read, reader, 65536), PATIENCE)
    os.close(reader)
    assert b"Simulated exchange at " in guide
    process.send_signal(signal.SIGTERM)
    result = await ended(process)
    assert result.code == 2
    assert result.err.startswith("Stopped after 0 requests; orders still open: 10. stdout: ")


USAGE: dict[str, tuple[str, ...]] = {
    "no such option": ("cancel-all", "--no-such-option"),
    "no such command": ("no-such-command",),
    "twice": ("open", "--margin", "cross", "--margin", "both"),
    "ours": ("cancel-all", "--yes", CODE, "--deadline", "0"),
}


@pytest.mark.parametrize("name", USAGE)
async def test_wrong_usage_exits_2_where_nobody_can_be_told(name: str, full: int) -> None:
    """With stderr on a full disk, too."""
    command = ("-m", "htx_async", *USAGE[name])
    result = await ended(await started(*command, streams={"stderr": full}))
    assert result.code == 2


async def test_everything_full_still_says_what_became_of_the_orders(
    exchange: SimulatedExchange, full: int
) -> None:
    """Neither stream takes a word: the exit code is that of the orders."""
    exchange.unknown_contract(CODE)
    command = ("-m", "htx_async", *cancel_all(exchange, CODE))
    streams = {"stdout": full, "stderr": full}
    assert (await ended(await started(*command, streams=streams))).code == 3
    assert (await ended(await started("-m", "htx_async", "--help", streams=streams))).code == 2


LOADED = {
    "the package": ("aiolimiter", ("cancel-all", CODE, "--yes")),
    "the command line": ("typer", ("cancel-all", CODE, "--yes")),
    "what does the work": ("aiohttp", ("doctor",)),
    "the demo": ("rich", ("demo",)),
    "the keys": ("pydantic_settings", ("open",)),
}

SLOW = """
import sys, time
print("loading", file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("name", LOADED)
async def test_ctrl_c_while_something_is_loaded_is_one_line(name: str, tmp_path: Path) -> None:
    """Whatever is loaded at that moment: exit 130, and no traceback."""
    module, command = LOADED[name]
    (tmp_path / f"{module}.py").write_text(SLOW)
    process = await started("-m", "htx_async", *command, PYTHONPATH=tmp_path)
    assert process.stderr is not None
    line = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
    assert line == b"loading\n"
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert (result.code, result.out) == (130, "")
    assert result.err.startswith("Interrupted; no")
    assert result.err.count("\n") == 1


async def test_ctrl_c_while_another_program_loads_the_package_is_its_own_business(
    tmp_path: Path,
) -> None:
    """A library exits nobody's process."""
    (tmp_path / "aiolimiter.py").write_text(SLOW)
    load = "from htx_async import HtxSession"
    program = f"try:\n    {load}\nexcept KeyboardInterrupt:\n    print('mine')\n"
    process = await started("-c", program, PYTHONPATH=tmp_path)
    assert process.stderr is not None
    await asyncio.wait_for(process.stderr.readline(), PATIENCE)
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert (result.code, result.out) == (0, "mine\n")


async def test_ctrl_c_that_a_library_swallows_begins_no_command(
    exchange: SimulatedExchange,
) -> None:
    """A bare `except:` around an import, or a destructor, lets no interrupt out: nothing is sent
    all the same."""
    process = await started("-c", SWALLOWED, *cancel_all(exchange, CODE))
    assert await ended(process) == Ended(130, "", "Interrupted; nothing was sent.\n")
    assert exchange.arrivals == ()


SWALLOWED = """
import os, signal, sys
class Optional:
    def find_spec(self, name, path=None, target=None):
        if name == "aiolimiter":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:
                pass
sys.meta_path.insert(0, Optional())
from htx_async.__main__ import main; main()
"""
