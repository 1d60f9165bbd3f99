"""cancel-all when the operator, the system or the terminal ends it: SIGINT, SIGTERM, SIGHUP."""

import asyncio
import itertools
import json
import os
import signal
from collections.abc import AsyncIterator, Callable

import pytest

from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    ACCESS,
    CODE,
    PATIENCE,
    SECRET,
    Ended,
    after_plan,
    cancel_all,
    end_all,
    ended,
    exchange_of_the_command,
    started,
)
from tests.support.virtual import SOAK

pytestmark = [pytest.mark.slow, pytest.mark.long]

FIVE = tuple(f"C{number}-USDT" for number in range(5))
NEVER = 3600.0


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command() as opened:
        yield opened


def arrived(exchange: SimulatedExchange, count: int, late: Callable[[], float]) -> asyncio.Event:
    """Set by the `count`-th arrival; all are answered after `late()` seconds."""
    reached, left = asyncio.Event(), iter(range(count - 1))

    def latency() -> float:
        if next(left, None) is None:
            reached.set()
        return late()

    exchange.latency = latency
    return reached


async def test_what_is_not_answered_in_time_is_unknown() -> None:
    """Five on the wire end unknown and two queued ones not sent: exit 5, with an account."""
    try:
        await asyncio.gather(*map(ends_unknown, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
    finally:
        end_all()


async def ends_unknown(number: signal.Signals) -> None:
    # Not that of the other tests: at its end it ends the processes of the two others.
    async with SimulatedExchange(access_key=ACCESS, secret_key=SECRET) as exchange:
        reached = arrived(exchange, 5, lambda: NEVER)
        command = cancel_all(exchange, *FIVE, "X-USDT", "Y-USDT", "--json", "--look", "none")
        process = await started("-m", "htx_async", *command)
        await asyncio.wait_for(reached.wait(), PATIENCE)
        process.send_signal(number)
        result = await ended(process)
        assert result.code == 5
        assert after_plan(result.err).startswith("Interrupted: nothing more is sent. ")
        outcomes = [report["outcome"] for report in json.loads(result.out)["reports"]]
        assert outcomes == ["unknown"] * 5 + ["not_sent"] * 2
        assert len(exchange.arrivals) == 5


async def test_an_answer_within_the_grace_is_told_truly(exchange: SimulatedExchange) -> None:
    """Answers that come after the signal count; what waited is not sent: exit 130."""
    exchange.place(FIVE[0], "sell", "close")
    reached = arrived(exchange, 5, lambda: 0.5)
    process = await started(
        "-m", "htx_async", *cancel_all(exchange, *FIVE, "X-USDT", "--look", "none")
    )
    await asyncio.wait_for(reached.wait(), PATIENCE)
    process.send_signal(signal.SIGTERM)
    result = await ended(process)
    assert result.code == 130
    last = result.out.splitlines()[-1]
    assert last.startswith("Interrupted. NOT CLEAR after ")
    assert last.endswith("Not sent, every order is as it was: X-USDT.")
    assert exchange.open_orders() == ()
    assert len(exchange.arrivals) == 5


async def test_a_second_ctrl_c_ends_the_grace(exchange: SimulatedExchange) -> None:
    """An answer that would come within the second is not waited for any more."""
    reached = arrived(exchange, 1, lambda: NEVER)
    process = await started("-c", LONG_GRACE, *cancel_all(exchange, CODE, "--json"))
    await asyncio.wait_for(reached.wait(), PATIENCE)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    told = b""
    while b"Ctrl-C once more" not in told:
        told = await asyncio.wait_for(process.stderr.readline(), PATIENCE)
        assert told
    assert process.returncode is None
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert (result.code, result.err) == (5, "")
    (report,) = json.loads(result.out)["reports"]
    assert report["outcome"] == "unknown"
    # Else the time-out of the request would have ended it.
    assert "cut off" in report["attempts"][0]["message"]


LONG_GRACE = """
from htx_async.cli import mass
mass.GRACE = 3600.0
from htx_async.__main__ import main; main()
"""


async def test_until_clear_ends_between_its_rounds(exchange: SimulatedExchange) -> None:
    """The round that was made is accounted for as what it is: orders taken, not yet clear."""
    exchange.place(CODE, "sell", "close")
    reached = arrived(exchange, 1, lambda: 0.0)
    process = await started(
        *("-m", "htx_async", *cancel_all(exchange, CODE, "--until-clear", "--json"))
    )
    await asyncio.wait_for(reached.wait(), PATIENCE)
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    (report,) = json.loads(result.out)["reports"]
    assert (result.code, report["outcome"], len(report["successes"])) == (130, "partial", 1)


async def test_the_record_is_kept_when_interrupted(
    exchange: SimulatedExchange, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The audit log has the end of every call that began."""
    file = tmp_path_factory.mktemp("record") / "record"
    reached = arrived(exchange, 2, lambda: NEVER)
    command = cancel_all(exchange, CODE, "ETH-USDT", "--json", "--audit", str(file))
    process = await started("-m", "htx_async", *command)
    await asyncio.wait_for(reached.wait(), PATIENCE)
    process.send_signal(signal.SIGTERM)
    result = await ended(process)
    assert result.code == 5
    with os.fdopen(os.open(file, os.O_RDONLY)) as lines:
        record = [json.loads(line) for line in lines]
    ends = [line["report"] for line in record if line["event"] == "call_ended"]
    assert sorted(end["contract_code"] for end in ends) == [CODE, "ETH-USDT"]
    assert {end["outcome"] for end in ends} == {"unknown"}


async def test_nothing_is_cancelled_when_the_list_of_contracts_is_awaited() -> None:
    """Before the plan, and once more after it, with --all; and open stops reading: exit 130."""
    everything = ("cancel-all", "--all", "--yes")
    try:
        before, after, reading = await asyncio.gather(
            stopped(signal.SIGTERM, 1, *everything),
            stopped(signal.SIGTERM, 2, *everything),
            stopped(signal.SIGINT, 1, "open", CODE),
        )
    finally:
        end_all()
    assert before == Ended(130, "", "Interrupted; nothing was sent.\n")
    assert (after.code, after.out) == (130, "")
    assert after_plan(after.err).startswith("Interrupted: nothing more is sent. ")
    assert after.err.endswith("\nNothing was sent.\n")
    assert reading == Ended(130, "", "Interrupted; no order was touched.\n")


async def stopped(number: signal.Signals, request: int, *args: str) -> Ended:
    """How a command ends that gets a signal when the exchange holds this request's answer back."""
    async with SimulatedExchange(access_key=ACCESS, secret_key=SECRET) as exchange:
        exchange.place(CODE, "sell", "close")
        reached, count = asyncio.Event(), itertools.count(1)

        def latency() -> float:
            if next(count) < request:
                return 0.0
            reached.set()
            return NEVER

        exchange.latency = latency
        process = await started("-m", "htx_async", *args, "--base-url", exchange.url)
        await asyncio.wait_for(reached.wait(), PATIENCE)
        process.send_signal(number)
        result = await ended(process)
        assert len(exchange.open_orders()) == 1
        return result


async def test_what_is_ignored_stays_ignored(exchange: SimulatedExchange) -> None:
    """Under nohup a closed terminal does not end the cancel."""
    reached = arrived(exchange, 1, lambda: 0.5)
    process = await started("-c", NOHUP, *cancel_all(exchange, CODE, "--json"))
    await asyncio.wait_for(reached.wait(), PATIENCE)
    process.send_signal(signal.SIGHUP)
    result = await ended(process)
    assert (result.code, after_plan(result.err)) == (0, "")


NOHUP = """
import signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from htx_async.__main__ import main; main()
"""


async def test_interrupted_while_the_account_is_printed(exchange: SimulatedExchange) -> None:
    """Nobody reads stdout and Ctrl-C comes: exit 130, and the summary on stderr."""
    exchange.unknown_contract(CODE)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    process = await started(
        "-c", WHEN_PRINTING, *cancel_all(exchange, CODE), streams={"stdout": writer}
    )
    assert process.stderr is not None
    while b"printing" not in (line := await process.stderr.readline()):
        assert line
    await blocked(process.pid)
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    os.close(reader)
    os.close(writer)
    assert result.code == 130
    assert result.err.startswith("NOT CLEAR after ")
    assert result.err.endswith("The report could not be printed: interrupted.\n")


async def blocked(pid: int) -> None:
    """Wait until the main thread of a process sleeps in the system; at most a minute."""
    for _ in range(6000):
        with os.fdopen(os.open(f"/proc/{pid}/stat", os.O_RDONLY)) as stat:
            if stat.read().rpartition(") ")[2].startswith("S"):
                return
        await asyncio.sleep(0.01)
    raise AssertionError("the process does not come to rest")


WHEN_PRINTING = """
import sys, typer
echo = typer.echo
def told(content, err=False, **options):
    if not err:
        print("printing", file=sys.stderr, flush=True)
    echo(content, err=err, **options)
typer.echo = told
from htx_async.__main__ import main; main()
"""


# After the account --------------------------------------------------------------------------------

AT_A_LINE = """
import os, signal, sys, threading
where, nth = sys.argv.pop(1), int(sys.argv.pop(1))
left = None

def traced(frame, event, argument):
    # Real Ctrl-C's, from the nth line that is run on the main thread after the output was written.
    global left
    if event == "line" and left is not None:
        left -= 1
        if left in (0, -3):
            os.kill(os.getpid(), signal.SIGINT)
    return traced

class Watched:
    def __init__(self, stream):
        self.stream, self.written = stream, 0
    def write(self, text):
        self.written += len(text)
        return self.stream.write(text)
    def __getattr__(self, name):
        return getattr(self.stream, name)
    def flush(self):
        global left
        self.stream.flush()
        if self.written and left is None:
            left = nth
            frame = sys._getframe()
            while frame:
                frame.f_trace = traced
                frame = frame.f_back
            sys.settrace(traced)

if where == "line":
    sys.stdout = Watched(sys.stdout)
elif where == "exit":
    import atexit
    atexit.register(os.kill, os.getpid(), signal.SIGINT)
else:
    class Last:
        kill, number, me = os.kill, signal.SIGINT, os.getpid()
        def __del__(self):
            Last.kill(self.me, self.number)
    signal.last = Last()
from htx_async.__main__ import main; main()
"""
"""A command that gets Ctrl-C after what it had to say was written: at some line of Python, when the
interpreter ends, or while modules are taken down."""

LINES = ("exit", "end", *(str(3**power) for power in (range(6) if SOAK else (0, 2, 4))))


async def late(place: str, *args: str) -> Ended:
    where, nth = ("line", place) if place.isdecimal() else (place, "0")
    return await ended(await started("-c", AT_A_LINE, where, nth, *args))


@pytest.mark.parametrize("place", LINES)
async def test_ctrl_c_after_the_account_changes_nothing(
    exchange: SimulatedExchange, place: str, refusing_url: str
) -> None:
    """An unknown outcome is exit 5 and no word takes it back, wherever the signal comes between the
    last byte of the account and the end of the process; so it is for what touches no order."""
    exchange.latency = lambda: NEVER
    unknown, doctor, helped = await asyncio.gather(
        late(place, *cancel_all(exchange, CODE, "--deadline", "0.2")),
        late(place, "doctor", "--base-url", refusing_url),
        late(place, "cancel-all", "--help"),
    )
    assert unknown.code == 5
    assert unknown.out.endswith("Unknown, look at the exchange now: BTC-USDT.\n")
    first, *more = after_plan(unknown.err).splitlines()
    assert first == "BTC-USDT (isolated): unknown"
    # Whoever is interrupted at the last byte cannot know that it was written.
    if more:
        (summed_up,) = more
        assert summed_up.startswith("NOT CLEAR after ")
        assert summed_up.endswith("The report could not be printed: interrupted.")
    assert doctor in (
        Ended(6, doctor.out, ""),
        Ended(130, doctor.out, "Interrupted; no order was touched.\n"),
    )
    assert helped in (
        Ended(0, helped.out, ""),
        Ended(130, helped.out, "Interrupted; nothing was sent.\n"),
    )
    if not place.isdecimal():
        assert (more, doctor.code, helped.code) == ([], 6, 0)


async def test_an_interrupted_demo_tells_what_it_did_not_touch() -> None:
    """Its contracts were cancelled on a simulated exchange: something was sent, if to nobody."""
    process = await started("-m", "htx_async", "demo")
    assert process.stderr is not None
    assert await asyncio.wait_for(process.stderr.readline(), PATIENCE)
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert (result.code, result.out) == (130, "")
    assert result.err.endswith("\nInterrupted; no real order was touched.\n")
    assert "nothing was sent" not in result.err
