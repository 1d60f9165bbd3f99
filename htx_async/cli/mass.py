"""One mass cancel, from the plan to the account."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import typer

from htx_async.cli.exit_codes import INTERNAL, USAGE, exit_code
from htx_async.cli.intent import Intent, Schedule
from htx_async.cli.running import Stops
from htx_async.cli.streams import Aside, Display, give_up, internal, is_terminal, printed
from htx_async.cli.words import summary
from htx_async.errors import HtxError
from htx_async.mass_report import MassCancelPlan, MassCancelReport
from htx_async.report import CancelReport
from htx_async.session import HtxSession

if TYPE_CHECKING:
    from htx_async.audit import AuditLog

GRACE = 1.0
"""Seconds that calls on the wire have for their answer once the operator has interrupted."""

_TO_WRITE = 1.0

_ACCOUNT = "in a mass cancel"
"""How the note begins that a mass cancel leaves on what ends it."""


class Choices(NamedTuple):
    """What the operator wants to see, and whether to be asked."""

    dry_run: bool
    yes: bool
    as_json: bool


class Record(NamedTuple):
    """Where, on whose behalf and why the cancel is put on record."""

    file: str
    actor: str
    reason: str | None


def cancel(
    intent_of: Callable[[], Intent],
    choices: Choices,
    record: Record | None,
    runner: asyncio.Runner,
    aside: Aside,
) -> int:
    """Plan, ask, cancel and give the account; the exit code."""
    intent = intent_of()
    # A dry run leaves no trace.
    with _recorded(None if choices.dry_run else record, aside) as log:
        htx = HtxSession.from_env(base_urls=intent.base_urls, on_event=log)
        plan = runner.run(intent.plan(htx))
        if choices.dry_run:
            return _shown(intent, plan, choices, aside)
        if not choices.yes and not _confirmed(intent.told(plan, aside=True)):
            aside.say("Not confirmed: nothing was sent.")
            return USAGE
        return _carried_out(htx, intent, intent.schedule(plan), choices, runner, aside)


@contextmanager
def _recorded(record: Record | None, aside: Aside) -> Iterator["AuditLog | None"]:
    if record is None:
        yield None
        return
    # Only those who keep a record wait for it to be loaded.
    from htx_async.audit import AuditLog  # noqa: PLC0415 - see above

    log = AuditLog(record.file, actor=record.actor, reason=record.reason)
    try:
        yield log
    finally:
        log.close(timeout=_TO_WRITE)
        if log.problem:
            aside.say(f"The record of this cancel is not complete: {log.problem}")


def _shown(intent: Intent, plan: MassCancelPlan, choices: Choices, aside: Aside) -> int:
    def whole() -> str | bytes:
        if choices.as_json:
            return intent.as_json(plan)
        return f"{intent.told(plan, aside=False)}\nDry run: nothing was sent.\n"

    problem = printed(whole)
    if problem:
        aside.say(f"Dry run: nothing was sent. The plan could not be printed: {problem}.")
    return USAGE if problem else 0


def _confirmed(plan: str) -> bool:
    answer = ""
    try:
        typer.echo(f"{plan}\nCancel these orders? [y/N] ", err=True, nl=False)
        answer = sys.stdin.readline()
    except UnicodeDecodeError:
        pass
    finally:
        if not answer.endswith("\n"):
            typer.echo(err=True)
    return answer.strip().lower() in ("y", "yes")


def _carried_out(
    htx: HtxSession,
    intent: Intent,
    schedule: Schedule,
    choices: Choices,
    runner: asyncio.Runner,
    aside: Aside,
) -> int:
    on_report = _watched(schedule, choices, aside)
    stops = Stops(runner.get_loop())
    try:
        report = runner.run(_cancelled(htx, intent, schedule, stops, aside, on_report))
        return _accounted(report, choices, stops, aside)
    except Exception as error:
        # Only the account: what else hangs on a foreign exception may hold a URL.
        notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_ACCOUNT)]
        if isinstance(error, HtxError) and not notes:
            # Raised before anything was queued.
            raise
        aside.settle()
        aside.say(f"{internal(error)}. Look at the exchange now.")
        for note in notes:
            aside.say(note)
        return INTERNAL
    finally:
        stops.ignore_from_now_on()


def _accounted(report: MassCancelReport, choices: Choices, stops: Stops, aside: Aside) -> int:
    """Give the account on stdout; where that fails, one line on stderr. The exit code."""
    interrupted = stops.came
    try:
        stops.raise_from_now_on()
        aside.settle()
        problem = printed(partial(_account, report, choices, interrupted=interrupted))
    except KeyboardInterrupt:
        give_up(sys.stdout)
        interrupted, problem = True, "interrupted"
    if problem:
        # A full disk or a closed pipe must not stand for what happened to the orders.
        aside.say(f"{summary(report)} The account could not be printed: {problem}.")
    return exit_code(report.outcome, interrupted=interrupted)


def _watched(
    schedule: Schedule, choices: Choices, aside: Aside
) -> Callable[[CancelReport], object] | None:
    """Begin to show how it goes; what has to hear of each contract that ends, if anybody does."""
    # Of a display that cannot redraw itself, each state would remain.
    if not is_terminal(sys.stderr) or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return None if choices.as_json else aside.ended
    leaves_nothing = choices.as_json or is_terminal(sys.stdout)

    def bar() -> Display:
        # In the thread that draws: the requests do not wait for rich to be loaded.
        from htx_async.cli.progress import Bar  # noqa: PLC0415 - see above

        return Bar(schedule, leaves_nothing=leaves_nothing)

    aside.show(bar)
    return aside.ended


async def _cancelled(
    htx: HtxSession,
    intent: Intent,
    schedule: Schedule,
    stops: Stops,
    aside: Aside,
    on_report: Callable[[CancelReport], object] | None,
) -> MassCancelReport:
    """The account, of what was done until the operator interrupted if he did."""
    async with htx:
        cancelling = asyncio.create_task(
            htx.mass_cancel_trailing(
                intent.contracts,
                intent.direction,
                intent.offset,
                deadline=schedule.deadline,
                until_clear=intent.until_clear,
                on_report=on_report,
            )
        )
        if not await _ends_before(cancelling, stops.first):
            aside.say(_STOPPING)
            closing = asyncio.create_task(htx.aclose(grace=GRACE))
            if not await _ends_before(closing, stops.second):
                await htx.aclose()
            await closing
    return await cancelling


_STOPPING = (
    "Interrupted: nothing more is sent. Calls on the wire have a second for their answer; Ctrl-C "
    "once more ends that at once."
)


async def _ends_before(task: asyncio.Task[Any], event: asyncio.Event) -> bool:
    """Wait for either; whether the task has ended."""
    waiter = asyncio.create_task(event.wait())
    await asyncio.wait([task, waiter], return_when=asyncio.FIRST_COMPLETED)
    waiter.cancel()
    return task.done()


def _account(report: MassCancelReport, choices: Choices, *, interrupted: bool) -> str | bytes:
    if choices.as_json:
        return report.model_dump_json().encode()
    # Only when there is something to draw.
    from htx_async.cli.account import account  # noqa: PLC0415 - see above

    return account(report, interrupted=interrupted)
