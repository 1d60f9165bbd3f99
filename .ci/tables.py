"""Writes into the README and the pages of `docs` what they say of the code: outcomes, errors, exit
codes, options, endpoints.

What stands between `<!-- code:NAME -->` and `<!-- /code:NAME -->` is read from the code, and never
typed by hand. Run: `make figures`; a test says when a page is out of date.
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from htx_async import Attempt, CancelReport, Outcome, Verdict, errors
from htx_async.cli import app
from htx_async.cli.exit_codes import HELP, HELP_GUARD
from htx_async.cli.values import choices_of
from htx_async.exchange import endpoints

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"(<!-- code:([\w-]+) -->\n).*?(<!-- /code:\2 -->)", re.DOTALL)
_MARK = re.compile(r"<!-- /?code:.*?-->")


def _table(*rows: tuple[str, ...]) -> str:
    lines = [f"| {' | '.join(cells)} |\n" for cells in rows]
    return "".join((lines[0], "|---" * len(rows[0]), "|\n", *lines[1:]))


def outcomes() -> str:
    """Each outcome in the words of its member, and what a caller gets."""
    (members,) = [
        node.body
        for node in ast.parse(inspect.getsource(Outcome)).body
        if isinstance(node, ast.ClassDef)
    ]
    told = {
        one.targets[0].id: " ".join(str(words.value.value).split()).rstrip(".")
        for one, words in pairwise(members)
        if isinstance(one, ast.Assign)
        and isinstance(one.targets[0], ast.Name)
        and isinstance(words, ast.Expr)
        and isinstance(words.value, ast.Constant)
    }
    rows = [(f"`{one.name}`", _lower(told[one.name]), _result(one)) for one in Outcome]
    return _table(("outcome", "what is known", "result"), *rows)


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def _result(outcome: Outcome) -> str:
    """What a call of this outcome does."""
    refusal = Attempt(
        number=1,
        base_url="",
        started=datetime.now(UTC),
        waited=0,
        wire=0,
        http_status=200,
        verdict=Verdict.REFUSED,
        code="",
        message="",
        sent=True,
    )
    attempts = (refusal,) if outcome is Outcome.REFUSED else ()
    failure = errors.failure_of(
        CancelReport(
            contract_code="", direction=None, offset=None, outcome=outcome, attempts=attempts
        )
    )
    if failure is None:
        return "returned"
    kinds = ", or one of its kinds" if type(failure).__subclasses__() else ""
    return f"`{type(failure).__name__}`{kinds}"


def tree() -> str:
    """The tree at the head of `htx_async.errors`."""
    drawn = (errors.__doc__ or "").partition("\n\n")[2].partition("\n\n")[0]
    return f"```text\n{drawn}\n```\n"


def exit_codes(told: str) -> str:
    """Those of a command, in the words of its help."""
    told = re.sub(r"--[\w-]+", r"`\g<0>`", told)
    rows = re.findall(r"^ +(\d+(?: \+ n)?|the command's own.*?)(?:  |: )(.+)$", told, re.MULTILINE)
    return _table(("exit code", "what it says"), *rows)


def table_of_endpoints() -> str:
    """Every row of the table that the package reads."""
    rows = [
        (
            f"{each.generation.upper()} {each.method}",
            "<br>".join(f"`{path}`" for path in each.every_path),
            each.permission,
            _limit(each),
            str(each.most_ids or ""),
            each.source.replace("|", "\\|"),
        )
        for each in endpoints.ENDPOINTS.values()
    ]
    head = ("call", "paths (isolated, cross; or both)", "right", "limit", "ids", "source")
    return _table(head, *rows)


def _limit(each: endpoints.Endpoint) -> str:
    if each.limit is not None:
        return f"{each.limit.size} in {each.limit.per:g} s, each path"
    size, per = endpoints.BUDGETS[each.permission]
    return f"{size} in {per:g} s, all together"


def _options(name: str) -> str:
    """The options of a command, in the words of its help."""
    root: Any = typer.main.get_command(app)
    found = [one for one in root.commands[name].params if one.param_type_name == "option"]
    return _table(("option", "what it does"), *map(_option, found))


def _option(one: Any) -> tuple[str, str]:
    value = one.metavar or "|".join(choices_of(one))
    names = ", ".join(f"`{each}`" for each in (*one.opts, *one.secondary_opts))
    given = "" if one.is_flag or not value else f" `{value}`".replace("|", "\\|")
    default = getattr(one.default, "value", one.default)
    has_default = bool(one.show_default) and default not in (None, False, [], ())
    beside = [f"default: `{default}`"] if has_default else []
    beside += [f"or by `{one.envvar}`"] if one.envvar else []
    told = one.help.replace("|", "\\|")
    return f"{names}{given}", told + (f" ({'; '.join(beside)})" if beside else "")


TABLES: dict[str, Callable[[], str]] = {
    "outcomes": outcomes,
    "errors": tree,
    "exit-codes": partial(exit_codes, HELP),
    "exit-codes-guard": partial(exit_codes, HELP_GUARD),
    "endpoints": table_of_endpoints,
    **{f"options-{name}": partial(_options, name) for name in ("cancel-all", "open", "doctor")},
}


def filled(text: str) -> str:
    """A page with what the code says in its place; ValueError for a mark without another half."""
    if lost := _MARK.search(_BLOCK.sub("", text)):
        raise ValueError(f"{lost[0]} has no other half")
    return _BLOCK.sub(lambda mark: mark[1] + TABLES[mark[2]]() + mark[3], text)


def main() -> int:
    """Fill the marks of every page."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        right = filled(text)
        if right != text:
            page.write_text(right, encoding="utf-8")
            print(f"{page.relative_to(ROOT)} says what the code says.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
