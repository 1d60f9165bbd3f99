"""What a command loads before its options are read: not what does the work."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from htx_async.cli import app
from tests.support.command import CODE, ended, started

pytestmark = pytest.mark.slow

HEAVY = ("aiohttp", "pydantic", "aiolimiter", "asyncio", "htx_async.session", "redis", "rich")

ONE_BY_ONE = """
import contextlib, io, json, os, sys
import typer
brought = set(sys.modules)
from htx_async.__main__ import main
told, heavy = [], set(json.loads(sys.argv[1])) - brought
for args, variables in json.loads(sys.argv[2]):
    os.environ.update(variables)
    sys.argv, code = ["htx-async", *args], None
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main()
        except SystemExit as end:
            code = end.code
    for name in variables:
        del os.environ[name]
    told.append([code, sorted(heavy & set(sys.modules))])
print(json.dumps(told))
"""
"""Each in the same process: what one of them loads, all after it have loaded."""

Case = tuple[tuple[str, ...], dict[str, str]]


async def told(cases: list[Case]) -> list[tuple[int, list[str]]]:
    """The exit code of each, and what was loaded until then."""
    process = await started("-c", ONE_BY_ONE, json.dumps(HEAVY), json.dumps(cases))
    result = await ended(process)
    assert (result.code, result.err) == (0, "")
    return [(code, loaded) for code, loaded in json.loads(result.out)]


def commands() -> dict[str, Any]:
    """Those that there are, by name."""
    root: Any = typer.main.get_command(app)
    found: dict[str, Any] = dict(root.commands)
    for name, command in root.commands.items():
        below = getattr(command, "commands", {})
        found |= {f"{name} {one}": each for one, each in below.items()}
    assert {"cancel-all", "open", "doctor", "demo", "simulate", "simulate place"} <= set(found)
    return found


def is_text(option: Any) -> bool:
    """Whether any word is a value of this option, in the words of older typers and of newer."""
    if hasattr(option, "type_descriptor"):
        return option.type_descriptor.annotation in (str, list[str])
    return bool(option.type.name == "text")


def refused() -> Iterator[Case]:
    """Usage that the parser refuses: of each command and of each of its options."""
    yield ("no-such-command",), {}
    yield ("--no-such-option",), {}
    yield ("--version=yes",), {}
    for name, command in commands().items():
        yield (*name.split(), "--no-such-option"), {}
        for option in command.params:
            if not option.opts[0].startswith("--"):
                continue
            flag = option.opts[0]
            if option.is_flag:
                yield (*name.split(), f"{flag}=yes"), {}
                continue
            yield (*name.split(), flag), {}
            if option.nargs == 1 and not option.multiple:
                yield (*name.split(), flag, "1", flag, "1"), {}
            if not is_text(option):
                yield (*name.split(), flag, "no such value"), {}
                variables = option.envvar or ()
                for one in (variables,) if isinstance(variables, str) else variables:
                    yield (*name.split(),), {one: "none"}


async def test_help_loads_nothing_that_does_the_work() -> None:
    """--help of the program and of each command, --version, and what a shell asks for."""
    asked: list[Case] = [((), {}), (("--help",), {}), (("--version",), {})]
    asked += [((*name.split(), "--help"), {}) for name in commands()]
    asked += [((name, CODE, "--json", "--help"), {}) for name in ("cancel-all", "open")]
    words = {"COMP_WORDS": "htx-async open --margin ", "COMP_CWORD": "3"}
    asked.append(((), {"_HTX_ASYNC_COMPLETE": "complete_bash", **words}))
    for (args, _), (code, loaded) in zip(asked, await told(asked), strict=True):
        assert (code, loaded) == (0 if args or code == 0 else 2, []), args


async def test_what_the_parser_refuses_loads_nothing_that_does_the_work() -> None:
    """Unknown commands and options, values that are missing, given twice, or of another kind, in
    arguments and in variables: exit 2, but for a wrapper, whose 2 would be the wrapped one's."""
    wrong = list(refused())
    assert len(wrong) > 60
    for case, (code, loaded) in zip(wrong, await told(wrong), strict=True):
        usage = 125 if case[0][0] == "guard" else 2
        assert (code, loaded) == (usage, []), case


async def test_what_does_the_work_is_loaded_once_the_options_are_read() -> None:
    """The counterpart: a request that only the work can refuse has loaded it."""
    (right,) = await told([(("cancel-all", "--yes"), {})])
    assert right[0] == 2
    assert {"aiohttp", "pydantic", "htx_async.session"} <= set(right[1])
