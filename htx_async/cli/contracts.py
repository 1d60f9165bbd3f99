"""Contract codes from the command line, from a file, or from a pipe."""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from htx_async.arguments import listed
from htx_async.cli.given import Named
from htx_async.cli.words import visible
from htx_async.enums import ALL_CONTRACTS, AllContracts, Direction, MarginMode, Offset
from htx_async.errors import InvalidRequest
from htx_async.filters import OrderFilter

STDIN = "-"
MOST_BYTES = 2**20

_LONGEST_SHOWN = 64


def chosen(named: Named) -> tuple[str, ...] | AllContracts:
    """See `contracts`; with `every` all of them, and then none may be named."""
    if not named.every:
        return contracts(named.contracts, named.sources)
    if named.contracts or named.sources:
        raise InvalidRequest("--all means every contract: leave it out, or name none")
    return ALL_CONTRACTS


def contracts(arguments: Sequence[str], sources: Sequence[str]) -> tuple[str, ...]:
    """The contracts of all of them, as they would be sent, duplicates once, in the order given.

    `sources`: names of files, or "-" for stdin: white space and commas between contracts, "#"
    begins a comment, UTF-8, at most 1 MiB each. Raises `InvalidRequest` when no contract is named,
    which never means all of them, when one cannot be a contract, and when a source cannot be read.
    """
    if sources.count(STDIN) > 1:
        raise InvalidRequest("--contracts-from - is given more than once; stdin is read once")
    named = [("", code) for argument in arguments for code in _parts(argument)]
    for source in sources:
        named += _listed(source)
    if not named:
        raise InvalidRequest(
            "no contract is named; an empty list never means all contracts. Name them as "
            "arguments, give --contracts-from a file that holds them, or say --all"
        )
    problems = [(where, code, _problem(code)) for where, code in named]
    wrong = [(_place(where, code), problem) for where, code, problem in problems if problem]
    if wrong:
        raise InvalidRequest(listed(wrong))
    return tuple(dict.fromkeys(_checked(code) for _, code in named))


def _parts(argument: str) -> Sequence[str]:
    """What an argument names: one contract, or several with commas in between."""
    if "," not in argument:
        return (argument,)
    return [part for part in map(str.strip, argument.split(",")) if part]


def _checked(code: str) -> str:
    return OrderFilter.checked(code, None, None).contract_code or code


def _problem(code: str) -> str:
    if (meant := _WORDS.get(code.lower())) is not None:
        return f"no contract; say {meant}"
    try:
        _checked(code)
    except InvalidRequest as error:
        return "a URL is no contract" if _may_be_secret(code) else _of_code(error)
    return ""


def _of_code(error: InvalidRequest) -> str:
    """Without the name that the argument has in Python."""
    return str(error).removeprefix("contract_code: ")


_WORDS = {
    **{one.value: f"--direction {one}" for one in Direction},
    **{one.value: f"--offset {one}" for one in Offset},
    **{one.value: f"--margin {one}" for one in MarginMode},
    "both": "--margin both",
    "all": "--all",
}
"""What may be meant by words that stand where a contract belongs."""


def _place(where: str, code: str) -> str:
    """Where it stands, and what."""
    if _may_be_secret(code):
        return where
    shown = f"'{visible(code[:_LONGEST_SHOWN])}{'...' if len(code) > _LONGEST_SHOWN else ''}'"
    return ": ".join(filter(None, (where, shown)))


def _may_be_secret(code: str) -> bool:
    """What was meant for another argument may hold a password."""
    return "://" in code


def _listed(source: str) -> Iterator[tuple[str, str]]:
    """Each contract of a source, with the place where it stands."""
    name = "stdin" if source == STDIN else visible(source) or "''"
    try:
        # A byte order mark is no part of the first contract.
        text = _read(source, name).decode("utf-8-sig")
    except UnicodeDecodeError:
        problem = f"--contracts-from {name}: not UTF-8 text"
    except OSError as error:
        problem = f"--contracts-from {name}: {error.strerror or 'cannot be read'}"
    else:
        # Not str.splitlines: form feeds and the like would end a comment as well.
        for number, line in enumerate(re.split("\r\n|\r|\n", text), 1):
            for code in line.partition("#")[0].replace(",", " ").split():
                yield f"{name}, line {number}", code
        return
    # Raised out here: a decoding error carries the file's bytes with it.
    raise InvalidRequest(problem)


def _read(source: str, name: str) -> bytes:
    if source != STDIN:
        with open(source, "rb") as file:
            return _bounded(file, name)
    if sys.stdin is None:
        raise InvalidRequest("--contracts-from -: stdin is closed")
    return _bounded(sys.stdin.buffer, name)


def _bounded(file: BinaryIO, name: str) -> bytes:
    content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise InvalidRequest(f"--contracts-from {name}: longer than 1 MiB")
    return content
