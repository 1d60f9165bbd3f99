"""stdout and stderr, and what becomes of them when a disk is full or nobody reads.

None of that may change or hold up what happens to the orders.
"""

import errno
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

import typer

_PACKAGE = __name__.partition(".")[0]


def internal(error: BaseException) -> str:
    """An error of this package's own in a line: its type and where it was raised.

    Not its words, which may be foreign and hold a URL.
    """
    frames = [
        (frame.f_globals.get("__name__", ""), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    ours = [place for place in frames if place[0].partition(".")[0] == _PACKAGE]
    module, line = (ours or frames or [("?", 0)])[-1]
    return f"internal error: {type(error).__name__} at {module}:{line}"


def give_up(stream: TextIO | None) -> None:
    """Let what is still buffered go nowhere, or the interpreter would fail at its end."""
    if stream is None:
        return
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Closed(io.TextIOBase):
    """Stands for a stdout that was closed before the command began: nothing can be written."""

    def write(self, text: str) -> int:
        """Fail, as a full disk does."""
        raise OSError(errno.EBADF, "stdout is closed")


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits there."""
    return stream is not None and stream.isatty()


def is_smart(stream: TextIO | None) -> bool:
    """Whether it is a terminal that can redraw itself, and knows colours."""
    return is_terminal(stream) and os.environ.get("TERM", "dumb") not in ("dumb", "unknown")


def json_of(document: object) -> bytes:
    """A document for a program, in UTF-8. What that cannot write, bytes of a path, stands as
    JSON's own escape."""
    return json.dumps(document, ensure_ascii=False).encode(errors="backslashreplace")


def printed(make: Callable[[], str | bytes]) -> str:
    """Print on stdout what `make` makes; "", or why that could not be done.

    Texts come with their line ends. Bytes are a JSON document, which is UTF-8 whatever the
    terminal's encoding.
    """
    try:
        content = make()
        typer.echo(content, nl=isinstance(content, bytes))
    except OSError as error:
        problem = error.strerror or type(error).__name__
    except Exception as error:
        problem = internal(error)
    else:
        return ""
    give_up(sys.stdout)
    return problem
