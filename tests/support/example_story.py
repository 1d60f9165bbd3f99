"""An example as a process of its own, with a witness inside: what it asked of the network, what the
exchange in it holds, and when it placed what."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.command import PATIENCE, Terminal
from tests.support.paths import ROOT

FOLDER = ROOT / "examples"

# What a careless host's environment may hold; none of it may lead out.
KEYS = {"HTX_ACCESS_KEY": "access-key-of-a-bot", "HTX_SECRET_KEY": "secret-key-of-a-bot"}
TEMPTING = {
    **KEYS,
    "HTX_BASE_URL": "https://api.hbdm.com",
    "HTX_GENERATION": "v5",
    "HTX_LIVE": "1",
    "LIVE": "yes",
    "PANIC_SECRET": "secret-of-a-panic-button",
}

_HIDDEN = re.compile(r"HTX_.*|.*_PROXY|.*_proxy|PYTHON.*|PYTEST.*|COLUMNS|FORCE_COLOR")

_WITNESS = """
import json, os, sys

def note(**what):
    with open(os.environ["WITNESS"], "a") as file:
        file.write(json.dumps(what) + "\\n")

def outside(host):
    host = host.decode() if isinstance(host, bytes) else host
    return host not in (None, "", "localhost", "::1") and not str(host).startswith("127.")

def hook(event, args):
    if event in ("socket.connect", "socket.sendto"):
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if outside(host):
        note(what="out", host=host if isinstance(host, str) else host.decode(), event=event)
        raise OSError("nobody leaves this machine here")

sys.addaudithook(hook)

from htx_async.simulator import SimulatedExchange

def plain(order):
    return [order.contract_code, order.direction, order.offset, order.margin_mode, order.order_id]

place, leave = SimulatedExchange.place, SimulatedExchange.__aexit__

def placed(self, code, direction, offset, *args, **more):
    open_now = [plain(order) for order in self.open_orders(code)]
    note(what="placed", code=code, side=direction, before=open_now, arrived=len(self.arrivals))
    return place(self, code, direction, offset, *args, **more)

async def left(self, *failure):
    note(
        what="book",
        open=[plain(order) for order in self.open_orders()],
        ended=[[*plain(order), order.status] for order in self.ended_orders()],
        busiest=self.busiest(),
        arrived=len(self.arrivals),
    )
    await leave(self, *failure)

SimulatedExchange.place, SimulatedExchange.__aexit__ = placed, left
"""


class Story(NamedTuple):
    """How an example ended, and what its witness saw."""

    code: int | None
    out: str
    err: str
    seen: list[dict[str, Any]]

    def of(self, what: str) -> list[dict[str, Any]]:
        """What was seen of one kind: "out", "placed", "book"."""
        return [one for one in self.seen if one["what"] == what]


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """This process's, with everything tempting in it, and with a witness in every Python."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(_WITNESS)
    known = {name: value for name, value in os.environ.items() if not _HIDDEN.fullmatch(name)}
    path = os.pathsep.join([str(folder), str(ROOT)])
    return {**known, **TEMPTING, "PYTHONPATH": path, "WITNESS": str(folder / "seen"), **variables}


def seen(folder: Path) -> list[dict[str, Any]]:
    """What the witness in `folder` has written."""
    file = folder / "seen"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


async def played(folder: Path, *command: str, **variables: str) -> Story:
    """A Python process in `folder` with nobody at stdin, to its end."""
    own = environment(folder, **variables)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", *command),
        cwd=folder,
        env=own,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
    return Story(process.returncode, out.decode(), err.decode(), seen(folder))


QUESTION = 'Type "yes" to go on: '


async def answered(folder: Path, answers: Sequence[str | signal.Signals], *command: str) -> Story:
    """A Python process in `folder` on a terminal on which somebody types the next answer each time
    that it asks, or from which it gets that signal."""
    own, terminal = environment(folder), Terminal()
    try:
        process = await terminal.started(*command, **own)
        for number, answer in enumerate(answers, start=1):
            while terminal.text.count(QUESTION) < number:
                await terminal.changes()
            if not isinstance(answer, str):
                process.send_signal(answer)
            # A signal may have come between the question and the reading of the answer.
            terminal.type(answer if isinstance(answer, str) else "\n")
        ended = await terminal.ended(process)
    finally:
        terminal.close()
    return Story(ended.code, ended.out, ended.err, seen(folder))
