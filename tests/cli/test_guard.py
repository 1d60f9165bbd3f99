"""`htx-async guard`: whatever becomes of its command, the guarded contracts' orders are gone and no
others, and the exit code says what happened. Real processes; judged by the exchange's own book."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.support.command import SECRET, Run, one_by_one
from tests.support.guarded import (
    GUARDED,
    OTHER,
    PYTHON,
    Case,
    cancels,
    ends,
    guarding,
    is_clear,
)

pytestmark = [pytest.mark.slow, pytest.mark.long]

# What it prints, and to which stream, is its own affair.
SAYS = "import os, signal, sys, time; print('trading', os.getpid(), flush=True); "

FOREVER = "time.sleep(60)"


async def test_however_it_ends_its_orders_go(tmp_path: Path) -> None:
    """Killed, crashed, by an exception, well or not: twice cancelled, with the command's own code,
    and its output is as if nobody had been there. A script without "#!" is run by sh."""
    (script := tmp_path / "script").write_text('printf %s "$2"; exit 9')
    script.chmod(0o755)
    printed = 'cat; printf %s "$1"'
    cases = {
        "SIGKILL": Case((*PYTHON, "import os; os.kill(os.getpid(), 9)"), 137),
        "SIGSEGV": Case((*PYTHON, "import os; os.kill(os.getpid(), 11)"), 139),
        "_exit": Case((*PYTHON, "import os; print('its own', flush=True); os._exit(3)"), 3),
        "exception": Case((*PYTHON, "print('its own', flush=True); raise ValueError"), 1),
        "clean": Case(("sh", "-c", printed, "sh", "--all -- --help\n"), 0),
        "script": Case((str(script), "its", "own\n"), 9),
        "a list": Case(("sh", "-c", "exit 3"), 3, ("--confirm",)),
    }
    out = {
        "_exit": "its own\n",
        "exception": "its own\n",
        "clean": "--all -- --help\n",
        "script": "own\n",
    }
    found = await asyncio.gather(*(ends(tmp_path, case) for case in cases.values()))
    for (name, case), (result, exchange) in zip(cases.items(), found, strict=True):
        assert (result.code, result.out) == (case.code, out.get(name, "")), (name, result)
        assert is_clear(exchange), name
        lines = result.err.splitlines()
        own = [line for line in lines if line.startswith("guard: ")]
        assert own[0].startswith("guard: the command ")
        assert own[-1].startswith("guard: second round: All clear after "), (name, lines)
        assert own == lines or name == "exception", (name, lines)


BLOCKS = f"""
import asyncio, os, signal, sys, time
from htx_async.notify import heartbeat

async def main():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    async with heartbeat():
        await asyncio.sleep(0.5)
        print("blocks", os.getpid(), flush=True)
        {FOREVER}

asyncio.run(main())
"""

STOPS_ITSELF = """
import os, signal, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
    where = os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1)
    assert os.environ["WATCHDOG_USEC"] == "400000" and "WATCHDOG_PID" not in os.environ
    teller.sendto(b"READY=1\\nSTATUS=well\\nWATCHDOG=1", where)
print("stopped", os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


async def test_a_hang_is_noticed(tmp_path: Path) -> None:
    """A blocked event loop that ignores SIGTERM, and a process that is stopped: cancelled while
    they live, SIGTERM, SIGKILL after the grace, and cancelled again. One that blocks and never
    beat is left alone."""
    (tmp_path / "blocks.py").write_text(BLOCKS)
    beat = ("--heartbeat", "0.4", "--grace", "0.6")

    async def hung(word: str, *command: str) -> str:
        async with guarding(tmp_path, *command, options=(*beat, "--json")) as guard:
            pid = int((await guard.says(word)).split()[1])
            guard.one_is_late()
            await guard.cancels()
            if word == "blocks":
                os.kill(pid, 0)
            result = await guard.ended()
            assert is_clear(guard.exchange), result
            told = json.loads(result.err.splitlines()[-1])
            assert told["command"]["was_silent"]
            assert len(told["rounds"]) == 2
            assert told["exit_code"] == result.code
            return f"{result.code} {told['command']['signal']}"

    (blocked, stopped), quiet = await asyncio.gather(
        asyncio.gather(
            hung("blocks", sys.executable, str(tmp_path / "blocks.py")),
            hung("stopped", *PYTHON, STOPS_ITSELF),
        ),
        ends(tmp_path, Case(("sh", "-c", "sleep 1; exit 4"), 4, beat)),
    )
    assert (blocked, stopped) == ("137 9", "143 15")
    assert quiet[0].code == 4


async def test_signals_are_the_command_s(tmp_path: Path) -> None:
    """SIGTERM and Ctrl-C end it its own way; SIGUSR1 is none that ends a guard; one that ignores
    SIGTERM is killed after the grace. What has ended is cancelled, whatever signal comes then."""
    leaves = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5)); "
    counts = "signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'heard\\n')); "
    ignores = "signal.signal(signal.SIGTERM, signal.SIG_IGN); "

    async def signalled(program: str, *numbers: signal.Signals) -> int | None:
        command = (*PYTHON, SAYS.replace("print", program + "print") + 2 * (FOREVER + "; "))
        async with guarding(tmp_path, *command, options=("--grace", "0.5")) as guard:
            await guard.says("trading")
            for number in numbers:
                guard.signal(number)
                if number == signal.SIGUSR1:
                    await guard.says("heard")
            await guard.cancels()
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                guard.signal(number)
            await guard.cancels(3)
            guard.signal(signal.SIGTERM)
            result = await guard.ended()
            assert is_clear(guard.exchange), result
            assert result.err.count("orders are being cancelled, and that goes on") == 2
            assert ("SIGKILL to it" in result.err) is (program == ignores)
            return result.code

    codes = await asyncio.gather(
        signalled(leaves, signal.SIGTERM),
        signalled(counts, signal.SIGUSR1, signal.SIGINT),
        signalled(ignores, signal.SIGTERM),
        signalled("", signal.SIGHUP),
    )
    assert tuple(codes) == (5, 130, 137, 129)


async def test_what_a_command_leaves_behind(tmp_path: Path) -> None:
    """The second round waits for the last process of its group, at most for the grace: then it is
    named, left alone, and the second round comes all the same."""
    lives_on = Case(
        ("sh", "-c", "sleep 60 > /dev/null 2>&1 & echo $!; exit 3"), 3, ("--grace", "2")
    )
    ends_soon = Case(("sh", "-c", "sleep 2 & exit 0"), 0, ("--json",))
    named, soon = await asyncio.gather(ends(tmp_path, lives_on), ends(tmp_path, ends_soon))
    assert (named[0].code, soon[0].code) == (3, 0), named
    pid = int(named[0].out)
    assert f"process {pid} (sleep) lives on, and may place orders." in named[0].err
    os.kill(pid, signal.SIGKILL)
    for result, exchange in (named, soon):
        assert is_clear(exchange), result
    # 1.5 s after the end of what was left, which was no sooner than 2 s after the death.
    times = cancels(soon[1])
    assert times[-1] - times[0] > 2.5
    assert json.loads(soon[0].err.splitlines()[-1])["command"]["left"] == []


async def test_streams_that_cannot_be_written(tmp_path: Path) -> None:
    """A full disk behind stderr or stdout, and all of them closed, change neither what is cancelled
    nor the code."""
    full = os.open("/dev/full", os.O_WRONLY)
    closing = ("-c", CLOSED)
    try:
        found = await asyncio.gather(
            ends(tmp_path, Case(("sh", "-c", "exit 3"), 3, streams=(("stderr", full),))),
            ends(tmp_path, Case(("sh", "-c", "exit 3"), 3, streams=(("stdout", full),))),
            ends(tmp_path, Case(("sh", "-c", "exit 3"), 3), closing),
        )
    finally:
        os.close(full)
    for result, exchange in found:
        assert (result.code, result.out) == (3, "")
        assert is_clear(exchange)


CLOSED = """
import os, sys
for stream in range(3):
    os.close(stream)
os.execv(sys.executable, [sys.executable, "-m", "htx_async", *sys.argv[1:]])
"""


async def test_what_is_not_clear_is_told(tmp_path: Path) -> None:
    """An exchange that answers nobody is asked until the deadline: 115, whatever the command ended
    with; a second Ctrl-C ends that at once. A command that ended well may keep its orders."""

    async def silent(*options: str, ends_it: bool = False) -> tuple[int | None, str]:
        command = ("sh", "-c", "echo trading; read line; exit 3")
        reader, writer = os.pipe()
        streams = {"stdin": reader}
        async with guarding(tmp_path, *command, options=options, streams=streams) as guard:
            os.close(reader)
            await guard.says("trading")
            guard.exchange.latency = 60.0
            os.close(writer)
            await guard.cancels()
            if ends_it:
                guard.signal(signal.SIGINT)
                await guard.tells("that goes on; a second Ctrl-C ends it")
                guard.signal(signal.SIGINT)
            result = await guard.ended()
            return result.code, result.err

    late, cut, kept = await asyncio.gather(
        silent("--deadline", "0.5"),
        silent("--deadline", "600", ends_it=True),
        ends(tmp_path, Case(("sh", "-c", "exit 0"), 0, ("--on", "failure"))),
    )
    assert late[0] == cut[0] == 115
    assert ": its orders are being cancelled.\n" in late[1]
    assert "second round: NOT CLEAR after " in late[1]
    assert "guard: The second round was not wanted any more: " in cut[1]
    assert "guard: second round" not in cut[1]
    assert "Unknown, look at the exchange now: A-USDT" in cut[1]
    assert (kept[0].code, kept[0].err, cancels(kept[1])) == (0, "", [])


async def test_what_cannot_begin_does_not(tmp_path: Path) -> None:
    """Usage, missing keys and keys that the exchange does not take are 125, a command that is not
    there 127, one that cannot be run 126; and nothing was started. --json ends with its line."""
    made = tmp_path / "made"
    touch = ("touch", str(made))
    none: dict[str, str | None] = {"HTX_ACCESS_KEY": None}
    wrong: dict[str, str | None] = {"HTX_SECRET_KEY": SECRET[::-1]}
    async with guarding(tmp_path, "true") as guard:
        url = ("--base-url", guard.exchange.url)
        usage, mark, command, keys, stdin, grace, there, nameless, run, refused = await one_by_one(
            ("guard", "A-USDT", "--no-such", "--", *touch),
            ("guard", "A-USDT", *touch),
            ("guard", "A-USDT", "--"),
            Run(("guard", "A-USDT", *url, "--", *touch), none),
            ("guard", "--contracts-from", "-", "--", *touch),
            ("guard", "A-USDT", "--grace", "-1", "--", *touch),
            ("guard", "A-USDT", *url, "--json", "--", str(tmp_path / "nobody")),
            ("guard", "A-USDT", *url, "--", ""),
            ("guard", "A-USDT", *url, "--", str(tmp_path)),
            Run(("guard", "A-USDT", *url, "--json", "--", *touch), wrong),
        )
        result = await guard.ended()
    told = (usage, mark, command, keys, stdin, grace, there, nameless, run, refused)
    assert [one.code for one in told] == [*[125] * 6, 127, 127, 126, 125]
    assert "its COMMAND is missing" in command.err
    for one in told[3:]:
        words, *document = one.err.splitlines()
        assert words.startswith("guard: ")
        assert words.endswith("; the command was not started.")
        assert len(document) == (one in (there, refused))
        for account in map(json.loads, document):
            assert (account["exit_code"], account["cancel_code"]) == (one.code, None)
            assert (account["command"], account["rounds"]) == (None, [])
            assert f"guard: {account['problem']}" == words
    assert not made.exists()
    assert result.code == 0


async def test_a_contract_that_the_exchange_has_not(tmp_path: Path) -> None:
    """A guard that could not cancel what it is given starts nothing: a name on no public list that
    the account's list refuses, too. One that only the public list lacks is told."""
    touch = ("touch", str(tmp_path / "made"))
    closed = {"contracts": (*GUARDED, OTHER)}
    many = ("--margin", "both", "C-USDT,D-USDT")
    async with guarding(tmp_path, *touch, options=many, settings=closed) as guard:
        unknown = await guard.ended()
        assert cancels(guard.exchange) == []
    dated = ("C-USDT-260925",)
    async with guarding(tmp_path, *touch, options=dated, settings=closed) as guard:
        elsewhere = await guard.ended()
    assert (elsewhere.code, elsewhere.err) == (
        125,
        "guard: the exchange has no contract C-USDT-260925 in isolated margin (dated futures exist "
        "in cross margin only); the command was not started.\n",
    )
    async with guarding(tmp_path, "true", options=("C-USDT",)) as guard:
        unlisted = await guard.ended()
        assert is_clear(guard.exchange)
    assert (unknown.code, unlisted.code) == (125, 0)
    assert unknown.err == (
        "guard: the exchange has no contract C-USDT, D-USDT in isolated or cross margin; "
        "the command was not started.\n"
    )
    assert not (tmp_path / "made").exists()
    first, *_ = unlisted.err.splitlines()
    assert first == (
        "guard: C-USDT is not on the exchange's list of contracts. The command begins all the same."
    )


async def test_a_signal_before_the_command_begins(tmp_path: Path) -> None:
    """It is not started, and nothing was cancelled."""
    async with guarding(tmp_path, "touch", str(tmp_path / "made")) as guard:
        reached = asyncio.Event()

        def latency() -> float:
            reached.set()
            return 60.0

        guard.exchange.latency = latency
        await reached.wait()
        guard.signal(signal.SIGTERM)
        result = await guard.ended()
        assert (result.code, cancels(guard.exchange)) == (143, [])
        assert result.err == "guard: Interrupted; the command was not started.\n"
    assert not (tmp_path / "made").exists()
