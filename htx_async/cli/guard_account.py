"""What came of a guard: for people in lines on stderr, for programs as one line of JSON there, for
scripts as an exit code. stdout is the command's alone."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from htx_async.cli.exit_codes import NOT_CLEAR, NOT_SENT, OF_SIGNAL, WRAPPER_FAILED
from htx_async.cli.result import Result, was_only_looked_at
from htx_async.cli.words import (
    besides,
    cancelled,
    left_open,
    messages,
    named,
    summary,
    words,
)


class Ended(NamedTuple):
    """How a command ended: `code` as of `Process`, None while it lives on. `left`: what lives of
    it, in words. `was_silent`: whether its beats stopped."""

    command: str
    pid: int
    code: int | None
    was_silent: bool
    left: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """As a shell has it."""
        code = self.code
        if code is None:
            return WRAPPER_FAILED
        return code if code >= 0 else OF_SIGNAL - code


class Account(NamedTuple):
    """Of a guard whose command has ended. `shares`: whether the command was seen to share its
    limit; `is_cut_short`: whether the second round was not wanted any more; `problem`: the guard's
    own."""

    ended: Ended
    rounds: tuple[Result, ...]
    shares: bool
    is_cut_short: bool = False
    problem: str = ""

    @property
    def cancel_code(self) -> int:
        """What `cancel-all` would exit with, for the last round."""
        code = self.rounds[-1].exit_code(interrupted=False) if self.rounds else 0
        return code or (NOT_SENT if self.is_cut_short else 0)

    @property
    def exit_code(self) -> int:
        """See `docs/guard-command.md`."""
        if self.problem:
            return WRAPPER_FAILED
        code = self.cancel_code
        return NOT_CLEAR + code if code else self.ended.exit_code

    def lines(self) -> Iterator[str]:
        """For a person, the one that sums it up at the end. What both rounds have to say stands
        with the last one alone."""
        told_last = {*messages(self.rounds[-1])} if self.rounds else set[str]()
        for number, result in enumerate(self.rounds, 1):
            is_last = number == len(self.rounds)
            for report in result.whole.reports if is_last or not result.is_clear else ():
                if not was_only_looked_at(report):
                    yield f"{_ORDINALS[number]} round, {named(report)}: {words(report.outcome)}"
            yield from cancelled(result)
            if is_last or not result.is_clear:
                yield from besides(result)
            yield from left_open(result)
            if is_last or not result.is_clear:
                told = messages(result)
                yield from (one for one in told if is_last or one not in told_last)
            yield f"{_ORDINALS[number]} round: {summary(result)}"
        if self.is_cut_short:
            yield "The second round was not wanted any more: what came late may be open."
        if self.ended.left:
            left = self.ended.left
            live = "live" if len(left) > 1 else "lives"
            yield f"{', '.join(left)} {live} on, and may place orders."
        if self.problem:
            yield f"{self.problem}. Look at the exchange now."

    def as_json(self) -> str:
        """For a program, in one line."""
        ended, code = self.ended, self.ended.code
        killed = code is not None and code < 0
        command: dict[str, Any] = {
            "name": Path(ended.command).name,
            "pid": ended.pid,
            "exit_code": None if killed else code,
            "signal": -(code or 0) if killed else None,
            "was_silent": ended.was_silent,
            "left": ended.left,
        }
        whole: dict[str, Any] = {
            "exit_code": self.exit_code,
            "cancel_code": self.cancel_code,
            "command": command,
            "shares_limit": self.shares,
            "is_cut_short": self.is_cut_short,
            "problem": self.problem,
            "rounds": [json.loads(result.as_json()) for result in self.rounds],
        }
        return json.dumps(whole)


def no_account(problem: str, exit_code: int) -> str:
    """Of a guard that came to none, for a program, in one line with the same names."""
    whole: dict[str, Any] = {
        "exit_code": exit_code,
        "cancel_code": None,
        "command": None,
        "shares_limit": False,
        "is_cut_short": False,
        "problem": problem,
        "rounds": [],
    }
    return json.dumps(whole)


_ORDINALS = {1: "first", 2: "second"}
