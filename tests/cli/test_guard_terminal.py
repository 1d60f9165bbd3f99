"""`htx-async guard` on a terminal of its own session: Ctrl-C, a closed terminal, what stays."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.support.command import PATIENCE, Terminal
from tests.support.guarded import GUARDED, PYTHON, Guard, cancels, is_clear, with_orders

pytestmark = pytest.mark.slow

ON_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from htx_async.__main__ import main; main()
"""

COUNTS = """
import os, signal, sys, time
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"Ctrl-C\\n"))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(6))
assert os.getpgrp() == os.getpgid(os.getppid()) == os.tcgetpgrp(0)
print("trading", flush=True)
while True:
    time.sleep(60)
"""


async def on_terminal(folder: Path, keys: str) -> tuple[int | None, str]:
    """How a guard ends whose terminal gets these keys one by one; closed where there are none."""
    terminal = Terminal()
    async with with_orders(folder) as exchange:
        given = ("guard", *GUARDED, "--base-url", exchange.url, "--grace", "0.5", "--")
        process = await terminal.started(
            "-c", ON_A_TERMINAL, *given, *PYTHON, COUNTS, HTX_HOST_LIMIT=folder
        )
        try:
            await terminal.shows("trading\n")
            if keys:
                # Before the keys: one that still waits for the guard would take this one along.
                Guard(process, exchange).signal(signal.SIGINT)
                while terminal.text.count("Ctrl-C\n") < 1:
                    await terminal.changes()
                for number, key in enumerate(keys, 2):
                    terminal.type(key)
                    while terminal.text.count("Ctrl-C\n") < number:
                        await terminal.changes()
                Guard(process, exchange).signal(signal.SIGTERM)
                text = (await terminal.ended(process)).out
            else:
                terminal.close()
                await asyncio.wait_for(process.wait(), PATIENCE)
                text = ""
            assert is_clear(exchange), text
            assert len(cancels(exchange)) == 4
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return process.returncode, text


async def test_a_terminal_s_keys_reach_the_command_once(tmp_path: Path) -> None:
    """It stays in the terminal's foreground, where Ctrl-C reaches it without the guard, which
    passes on what was sent to itself alone; a closed terminal ends it, and its orders go."""
    for name in ("keys", "closed"):
        (tmp_path / name).mkdir()
    (code, text), closed = await asyncio.gather(
        on_terminal(tmp_path / "keys", "\x03\x03"), on_terminal(tmp_path / "closed", "")
    )
    assert (code, closed) == (6, (129, ""))
    assert text.count("Ctrl-C\n") == 3
    assert "guard: second round: All clear after " in text
