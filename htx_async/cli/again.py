"""The command that does once more what is not clear yet, ready to be copied into a shell."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from htx_async.cli.wrapping import lines, width_of
from htx_async.enums import MarginMode

_OWN = frozenset({"contract", "contracts_from", "every", "look", "margin", "dry_run"})
"""What follows from the report instead."""

_DEADLINE = "--deadline"

Left = dict[MarginMode, tuple[str, ...] | None]
"""The contracts of each margin mode that are not clear; None: all that the exchange lists, of which
there is no list."""


class Again(NamedTuple):
    """The options of a command that is to be repeated. `withheld`: those of which the value may be
    a secret."""

    options: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()

    def longer(self, deadline: float) -> "Again":
        """With another deadline, in seconds, where one was given: that was too short."""
        if _DEADLINE not in self.options:
            return self
        at = self.options.index(_DEADLINE)
        told = (*self.options[: at + 1], f"{deadline:g}", *self.options[at + 2 :])
        return self._replace(options=told)

    @classmethod
    def of(cls, context: Any) -> "Again":
        """What was given on the command line; what stands in variables stands there still."""
        options: list[str] = []
        withheld: list[str] = []
        for parameter in context.command.params:
            name = parameter.name
            source = context.get_parameter_source(name)
            if name in _OWN or source is None or source.name != "COMMANDLINE":
                continue
            given = list(_words(parameter, context.params[name]))
            # A URL may hold a password.
            is_secret = any("://" in word and "@" in word for word in given)
            (withheld if is_secret else options).extend(given[:1] if is_secret else given)
        return cls(tuple(options), tuple(withheld))

    def told(self, left: Left) -> str:
        """In lines that a shell takes as they stand; "" where nothing is left."""
        return "".join(f"{self._line(words)}\n" for words in self.commands(left))

    def commands(self, left: Left) -> list[Sequence[str]]:
        """The words of each command: one for both margin modes, or one for each."""
        open_ones = {mode: codes for mode, codes in left.items() if codes is None or codes}
        if len(open_ones) > 1 and len(set(open_ones.values())) == 1:
            return [self._words("both", next(iter(open_ones.values())))]
        return [self._words(mode.value, codes) for mode, codes in open_ones.items()]

    def _words(self, margin: str, codes: tuple[str, ...] | None) -> Sequence[str]:
        named = ("--all",) if codes is None else codes
        # A word that begins so would be an option.
        dashes = ("--",) if any(code.startswith("-") for code in codes or ()) else ()
        return ("htx-async", "cancel-all", "--margin", margin, *self.options, *dashes, *named)

    def _line(self, words: Sequence[str]) -> str:
        beside = f", with {' and '.join(self.withheld)} as before" if self.withheld else ""
        told = (f"again{beside}:", *map(quoted, words))
        return "\n".join(lines(told, width_of(sys.stdout), "  ", " \\"))


def command_line(words: Sequence[str]) -> str:
    """The same in one line, for a program."""
    return " ".join(map(quoted, words))


def quoted(word: str) -> str:
    """`word` as a shell reads it, with nothing in it that a terminal might act upon."""
    if word.isprintable():
        return shlex.quote(word)
    return f"$'{''.join(map(_escaped, word))}'"


def _escaped(one: str) -> str:
    if one in "\\'":
        return f"\\{one}"
    if one.isprintable():
        return one
    # Byte by byte: a shell knows no other escape for all of them, and an argument may hold bytes
    # that are no text.
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(one))


def _words(parameter: Any, value: Any) -> Iterator[str]:
    """An option as it is given."""
    option = max(parameter.opts, key=len)
    if getattr(parameter, "is_flag", False):
        yield option if value else parameter.secondary_opts[0]
        return
    for one in value if isinstance(value, list | tuple) else (value,):
        yield from (option, str(getattr(one, "value", one)))
