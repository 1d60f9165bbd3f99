"""The command as a process: on pipes, and on a pseudo-terminal with somebody who types."""

import asyncio
import atexit
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from htx_async.simulator import SimulatedExchange
from tests.support import warm_command
from tests.support.paths import ROOT
from tests.support.proxy import Served

ACCESS, SECRET = "access-key-of-the-cli-tests", "secret-key-of-the-cli-tests"
CODE = "BTC-USDT"
PATIENCE = 60.0

# Keys of the machine that runs the tests, and what makes pipes look like terminals, or disks
# fail sooner than they would.
_HIDDEN = re.compile(
    r"HTX_.*|FORCE_COLOR|NO_COLOR|COLUMNS|LINES|TTY_.*|PYTHON(UTF8|IOENCODING|UNBUFFERED)"
)

_Variable = str | Path | None


class Ended(NamedTuple):
    """How a process ended."""

    code: int | None
    out: str
    err: str


def environment(**variables: _Variable) -> dict[str, str]:
    """This process's environment with the tests' keys; None takes a variable out."""
    known = {name: value for name, value in os.environ.items() if not _HIDDEN.fullmatch(name)}
    # On v1: what is counted is that call alone, unless a test is about the generations.
    keys = {"HTX_ACCESS_KEY": ACCESS, "HTX_SECRET_KEY": SECRET, "HTX_GENERATION": "v1"}
    # No limit of the machine's, which tests that run side by side would share.
    keys["HTX_HOST_LIMIT"] = "0"
    given: dict[str, _Variable] = {**keys, **variables}
    return known | {name: str(value) for name, value in given.items() if value is not None}


async def started(
    *command: str, streams: dict[str, int] | None = None, **variables: _Variable
) -> asyncio.subprocess.Process:
    """A Python process on pipes, with nobody at stdin, but for the `streams` that are given."""
    pipe, given = asyncio.subprocess.PIPE, streams or {}
    process = await asyncio.create_subprocess_exec(
        *_program(command, given, variables),
        env=environment(**variables),
        stdin=given.get("stdin", asyncio.subprocess.DEVNULL),
        stdout=given.get("stdout", pipe),
        stderr=given.get("stderr", pipe),
    )
    _STARTED.append(process)
    return process


def _program(
    command: tuple[str, ...], streams: dict[str, int], variables: Mapping[str, _Variable]
) -> tuple[str, ...]:
    """What runs it: `htx-async` itself comes out of a process that has loaded it, unless a test
    is about what a new interpreter makes of its streams and variables, or about every signal."""
    is_usual = all(os.isatty(stream) for stream in streams.values())
    is_of_python = any(name.startswith(("PYTHON", "LANG", "LC_", "SSL_")) for name in variables)
    is_warm = command[:2] == ("-m", "htx_async") and command[2:3] != ("guard",)
    if not is_warm or not is_usual or is_of_python:
        return (sys.executable, "-W", "error", *command)
    return (sys.executable, "-I", "-S", str(warm_command.__file__), warm(), *command[2:])


@functools.cache
def warm() -> str:
    """The socket at which the command is loaded already, until this process ends."""
    folder, owner = tempfile.mkdtemp(), os.getpid()
    path = os.path.join(folder, "warm")
    serve = [sys.executable, "-W", "error", "-m", warm_command.__name__, "--serve", path]
    server = subprocess.Popen(
        serve, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )

    def end() -> None:
        # Not by a child that a test has forked.
        if os.getpid() == owner:
            server.kill()
            server.wait()
            shutil.rmtree(folder)

    atexit.register(end)
    assert server.stdout is not None
    server.stdout.readline()
    server.stdout.close()
    return path


_STARTED: list[asyncio.subprocess.Process] = []


def end_all() -> None:
    """End what a test that failed has left behind, in whatever loop that was."""
    while _STARTED:
        process = _STARTED.pop()
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()


async def ended(process: asyncio.subprocess.Process, given: bytes | None = None) -> Ended:
    """How a process ends; whatever it was, it shows no key and no traceback."""
    try:
        out, err = await asyncio.wait_for(process.communicate(given), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    return checked(Ended(process.returncode, (out or b"").decode(), (err or b"").decode()))


def checked(result: Ended) -> Ended:
    """The same, once it is certain that it shows no key and no traceback."""
    for text in (result.out, result.err):
        assert ACCESS not in text
        assert SECRET not in text
        assert "Signature=" not in text
        assert "Traceback" not in text, text
    return result


async def cli(*args: str, **variables: Any) -> Ended:
    """`htx-async` with these arguments."""
    return await ended(await started("-m", "htx_async", *args, **variables))


class Run(NamedTuple):
    """Arguments, and variables beside the usual ones; None takes a variable out."""

    args: tuple[str, ...]
    variables: Mapping[str, str | None]


async def one_by_one(*runs: Run | tuple[str, ...]) -> list[Ended]:
    """How `htx-async` ends with each of these arguments, one after another in a single process,
    since to start one costs more than most commands. They share one limit."""
    told = [run if isinstance(run, Run) else Run(run, {}) for run in runs]
    whole = await ended(await started("-c", _ONE_BY_ONE, json.dumps(told)))
    assert (whole.code, whole.err) == (0, "")
    results = [Ended(*result) for result in json.loads(whole.out)]
    assert len(results) == len(runs)
    return [checked(result) for result in results]


_ONE_BY_ONE = """
import io, json, os, sys
from htx_async.__main__ import main
usual, own, ended = dict(os.environ), (sys.stdout, sys.stderr), []
for args, variables in json.loads(sys.argv[1]):
    known = {**usual, **variables}
    os.environ.clear()
    os.environ.update({name: value for name, value in known.items() if value is not None})
    sys.argv, code = ["htx-async", *args], None
    sys.stdout, sys.stderr = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in own)
    try:
        main()
    except SystemExit as end:
        code = end.code
    told = []
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        told.append(stream.buffer.getvalue().decode())
    sys.stdout, sys.stderr = own
    ended.append([code, *told])
print(json.dumps(ended))
"""


@asynccontextmanager
async def exchange_of_the_command(**settings: Any) -> AsyncIterator[SimulatedExchange]:
    """A simulated exchange that takes the command's keys."""
    async with SimulatedExchange(access_key=ACCESS, secret_key=SECRET, **settings) as opened:
        try:
            yield opened
        finally:
            end_all()


def after_plan(text: str) -> str:
    """What a terminal or stderr got once the plan was shown."""
    plan, between, rest = text.partition("positions\n\n")
    assert between, text
    assert plan.startswith("cancel "), text
    return rest


def cancels(exchange: SimulatedExchange) -> int:
    """How many cancel-alls have come; the list of the other margin mode is none."""
    return sum(one.path.endswith("track_cancelall") for one in exchange.arrivals)


def cancel_all(exchange: Served, *args: str) -> tuple[str, ...]:
    """The arguments that cancel on this exchange without a question."""
    return ("cancel-all", "--yes", "--base-url", exchange.url, *args)


class Terminal:
    """A pseudo-terminal and what it got; `width` columns, 40 lines."""

    def __init__(self, width: int = 80) -> None:
        self.raw = b""
        self._changed = asyncio.Event()
        self._master, self.slave = os.openpty()
        termios.tcsetwinsize(self.slave, (40, width))
        os.set_blocking(self._master, False)
        asyncio.get_running_loop().add_reader(self._master, self._read)

    async def started(self, *command: str, **variables: Any) -> asyncio.subprocess.Process:
        """A Python process that sits here with all its streams, but for the `streams` given."""
        here = dict.fromkeys(("stdin", "stdout", "stderr"), self.slave)
        streams = {**here, **variables.pop("streams", {})}
        terminal = {"TERM": "xterm-256color", **variables}
        return await started(*command, streams=streams, **terminal)

    def type(self, keys: str) -> None:
        """As if somebody pressed these keys."""
        os.write(self._master, keys.encode())

    async def shows(self, text: str) -> None:
        """Wait until the terminal has got `text`."""
        while text not in self.text:
            await self.changes()

    async def changes(self) -> None:
        """Wait until the terminal gets anything at all."""
        self._changed.clear()
        await asyncio.wait_for(self._changed.wait(), PATIENCE)

    async def ended(self, process: asyncio.subprocess.Process) -> Ended:
        """How the process ends, with all that the terminal got as its stdout."""
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        # What was written last may still be on its way.
        self._read()
        return checked(Ended(process.returncode, self.text, ((out or b"") + (err or b"")).decode()))

    @property
    def text(self) -> str:
        """All that it got, control sequences and all."""
        return self.raw.decode(errors="replace").replace("\r\n", "\n")

    def close(self) -> None:
        """Take it away."""
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)
        os.close(self.slave)

    def _read(self) -> None:
        try:
            self.raw += os.read(self._master, 65536)
        except (BlockingIOError, OSError):
            return
        self._changed.set()


_CONTROL = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")
_UP, _ERASE, _COLOUR = "A", "K", "m"


def screen(text: str) -> list[str]:
    """The lines that are left when a terminal has done all that `text` asks; colours stay in.

    Enough for what rich sends: whole lines, erased before they are written anew.
    """
    lines, row, at = [""], 0, 0
    while at < len(text):
        control = _CONTROL.match(text, at)
        if control is not None:
            at = control.end()
            if control[2] == _UP:
                row = max(0, row - int(control[1] or 1))
            elif control[2] == _ERASE:
                lines[row] = ""
            elif control[2] == _COLOUR:
                lines[row] += control[0]
            continue
        character, at = text[at], at + 1
        if character == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif character != "\r":
            lines[row] += character
    return lines


def plain(text: str) -> str:
    """`text` without control sequences."""
    return _CONTROL.sub("", text)
