"""The rehearsal of docs/rehearsal.md: each line of it is run, and its screens look as they say."""

import asyncio
import re
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.command import PATIENCE, checked, environment
from tests.support.command import Ended as Done
from tests.support.pages import BLOCKS

PAGE = "docs/rehearsal.md"
END = "--- that was it"


class Step(NamedTuple):
    """What is typed, and what the screen showed."""

    code: str
    shown: str


def steps() -> tuple[list[Step], str]:
    """Each block of the shell's with the transcript below it, and the last transcript, which is
    that of Ctrl-C."""
    mine = [block for block in BLOCKS if block.page == PAGE and block.is_run]
    found, last = [], ""
    for before, block in zip([None, *mine], mine, strict=False):
        if block.language == "text":
            last = block.code
            if before is not None and before.language == "sh":
                found.append(Step(before.code, block.code))
    assert sum(block.language == "sh" for block in mine) == len(found)
    return found, last


def shape(text: str) -> list[str]:
    """The lines without numbers, ids, times and the widths of columns; lines that are alike in all
    but those count once."""
    text = re.sub(r"ends in [0-9a-f]{4}\b", "ends in KEY", text)
    text = re.sub(r"[0-9]+(\.[0-9]+)?", "0", text)
    text = re.sub(r"\b(ahead of|behind)\b", "beside", text)
    text = re.sub(r"\b(order|request)s\b", r"\1", text)
    text = re.sub(r"\b0(,? 0)+\b", "0", re.sub(r"[─]+", "-", re.sub(r" +", " ", text)))
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return [line for before, line in zip(["", *lines], lines, strict=False) if line != before]


class Terminals:
    """The folder of a rehearsal, with the command on the path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        command = folder / "bin" / "htx-async"
        command.parent.mkdir()
        python = shlex.quote(sys.executable)
        command.write_text(f'#!/bin/sh\nexec {python} -W error -m htx_async "$@"\n')
        command.chmod(0o755)
        names = dict.fromkeys(("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_GENERATION"))
        self._variables = environment(PATH=f"{command.parent}:/usr/bin:/bin", **names)

    async def opened(self, *script: str) -> asyncio.subprocess.Process:
        """A shell that reads stdin, or does what `script` says."""
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *("/bin/bash", "-u", *script),
            cwd=self._folder,
            env=self._variables,
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
        )

    @property
    def keys(self) -> Path:
        """The file of the page's first command."""
        return self._folder / "sim.keys"


async def until(stream: asyncio.StreamReader | None, last: str) -> str:
    """What comes until a line has `last`, without that line's end."""
    assert stream is not None
    text = ""
    while last not in text:
        line = await asyncio.wait_for(stream.readline(), PATIENCE)
        assert line, text
        text += line.decode()
    return text


async def played(terminals: Terminals, said: Sequence[str]) -> list[str]:
    """What the second terminal shows for each block."""
    shell = await terminals.opened()
    assert shell.stdin is not None
    shown = []
    try:
        for code in said:
            shell.stdin.write(f"{code}echo '{END}'\n".encode())
            text = await until(shell.stdout, END)
            shown.append(text.removesuffix(f"{END}\n"))
        shell.stdin.close()
        assert await asyncio.wait_for(shell.wait(), PATIENCE) == 0
    finally:
        if shell.returncode is None:
            shell.kill()
        await shell.communicate()
    return shown


async def rehearsed(folder: Path) -> tuple[list[str], str]:
    """All screens of the page, and what Ctrl-C in the first terminal leaves."""
    (first, *others), _ = steps()
    terminals = Terminals(folder)
    # Started by exec, so that the signal is for the command and not for a shell.
    served = await terminals.opened("-c", f"exec {first.code}")
    try:
        guide = await until(served.stdout, "simulate status\n")
        screens = await played(terminals, [step.code for step in others])
        served.send_signal(signal.SIGINT)
        out, _ = await asyncio.wait_for(served.communicate(), PATIENCE)
    finally:
        if served.returncode is None:
            served.kill()
            await served.communicate()
    assert served.returncode == 0
    assert not terminals.keys.exists()
    return [guide, *screens], out.decode()


@pytest.mark.slow
@pytest.mark.long
async def test_the_rehearsal_goes_as_its_page_says(tmp_path: Path) -> None:
    """Every block in a real shell, in their order, in a folder of its own; the transcripts differ
    from the screens in numbers alone."""
    told, last = steps()
    screens, end = await rehearsed(tmp_path)
    for step, screen in zip(told, screens, strict=True):
        checked(Done(0, screen, ""))
        assert shape(screen) == shape(step.shown), step.code
    assert shape(end) == shape(last)
