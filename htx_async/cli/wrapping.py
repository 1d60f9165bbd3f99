"""Lines for a terminal: they end between words, so that a word can be read, and copied, in one."""

import os
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TextIO

import typer

from htx_async.cli.streams import is_smart, is_terminal

_USUAL = 80


def width_of(stream: TextIO | None) -> int | None:
    """The columns of a terminal; None where nobody sits there: whoever searches in a file wants
    whole lines."""
    if stream is None or not is_terminal(stream):
        return None
    with suppress(ValueError):
        if (told := int(os.environ.get("COLUMNS", "0"))) > 0:
            return told
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or _USUAL
    return _USUAL


def wrapped(text: str, width: int | None, indent: str = "") -> str:
    """`text` in lines of at most `width` columns as far as its words allow, all but the first of
    them after `indent`."""
    return "\n".join(lines(text.split(" "), width, indent))


def lines(words: Iterable[str], width: int | None, indent: str, tail: str = "") -> Sequence[str]:
    """`words` in such lines, each but the last with `tail` at its end."""
    found: list[str] = []
    line = ""
    for number, word in enumerate(words):
        longer = f"{line} {word}" if number else word
        if width is not None and line.strip() and _columns(f"{longer}{tail}") > width:
            found.append(f"{line}{tail}")
            line = f"{indent}{word}"
        else:
            line = longer
    return [*found, line]


def columns(rows: Sequence[tuple[str, str]], stream: TextIO | None) -> str:
    """Names and what they stand for, side by side, as `stream` has to get them; without rich, for
    which nobody waits here."""
    room = max(len(name) for name, _ in rows)
    width, is_bold = width_of(stream), is_smart(stream)
    told = []
    for name, value in rows:
        # Padded to one less, since a space follows each word.
        words = (f"{name:{room}} ", *value.split(" "))
        first, *others = lines(words, width, " " * (room + 2))
        head = typer.style(name, bold=True) if is_bold else name
        told += [f"{head}{first[len(name) :]}".rstrip(), *others]
    return "".join(f"{line}\n" for line in told)


def _columns(text: str) -> int:
    return sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in text)
