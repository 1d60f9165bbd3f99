"""The demo: the same story every time, told truly, and readable without a terminal."""

import asyncio
import os
import re
import sys
from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO

import pytest
import typer
from rich.console import Console

from htx_async.cli.commands import demo
from htx_async.cli.demo import Row, Story, play, show
from htx_async.enums import Outcome, Verdict
from htx_async.report import Attempt, CancelReport, OrderError


def shown(story: Story) -> str:
    out = StringIO()
    console = Console(file=out, width=80)
    show(story, console)
    return out.getvalue()


def report(outcome: Outcome, *successes: str, ids_complete: bool = True) -> CancelReport:
    return CancelReport(
        contract_code="BTC-USDT",
        direction=None,
        offset=None,
        outcome=outcome,
        successes=successes,
        ids_complete=ids_complete,
    )


def attempt(number: int) -> Attempt:
    return Attempt(
        number=number,
        base_url="http://127.0.0.1:1",
        started=datetime(2026, 1, 1, tzinfo=UTC),
        waited=0.5,
        wire=0.1,
        http_status=200,
        verdict=Verdict.ACCEPTED,
        code=None,
        message="",
        sent=True,
    )


def row(told: CancelReport, *still_open: str) -> Row:
    return Row("BTC-USDT", "", told, frozenset({"1", "2"}), frozenset(still_open))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.slow
@pytest.mark.early
async def test_the_story_is_the_same_every_time() -> None:
    """In process and as a process, 40 contracts end as their faults say, within the limit."""
    heard: list[str] = []
    story, (code, out, progress) = await asyncio.gather(
        play(lambda told: heard.append(told.contract_code)), demo_process()
    )
    assert story.is_right
    assert story.busiest <= 5
    assert story.requests == 44
    assert story.seconds < 10
    assert sorted(heard) == sorted(row.contract for row in story.rows)
    assert sum(len(row.placed) for row in story.rows) == 200
    outcomes = {row.contract: row.report.outcome for row in story.rows}
    assert len(outcomes) == 40
    assert outcomes.pop("ETH-USDT") is Outcome.CLEAR_AFTER_RETRY
    assert outcomes.pop("ADA-USDT") is Outcome.PARTIAL
    assert set(outcomes.values()) == {Outcome.CANCELLED}

    assert code == 0
    assert without_seconds(out) == without_seconds(shown(story))
    assert "5 whose ids are unknown" in out
    assert "a person to look at: ADA-USDT." in out
    assert accounted_for(out) == 40
    told = sorted(line.partition(":")[0] for line in progress.splitlines())
    assert told == sorted(f"{code} (isolated)" for code in heard)
    assert "\x1b" not in out + progress
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out


def accounted_for(out: str) -> int:
    """Contracts in the table: one for each row, and as many as the last row says."""
    (others,) = re.findall(r"^(\d+) others ", out, re.MULTILINE)
    return len(re.findall(r"^\w+-USDT ", out, re.MULTILINE)) + int(others)


async def demo_process() -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of the demo without a terminal."""
    hidden = re.compile("FORCE_COLOR|TTY_.*|COLUMNS|PYTHONIOENCODING")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "htx_async", "demo"),
        env={name: value for name, value in os.environ.items() if not hidden.fullmatch(name)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode(), err.decode()


def without_seconds(text: str) -> str:
    return re.sub(r" *\d+(\.\d+)? s(?! late) *", " # s ", text)


def test_only_contracts_without_a_story_share_a_row() -> None:
    """An outcome, a fault, a repeat, a missing id or a wrong account each has a row of its own."""
    done = report(Outcome.CANCELLED, "1", "2")
    once, again = attempt(1), attempt(2)
    plain = row(done.model_copy(update={"attempts": (once,)}))
    assert plain.is_plain
    for told in (
        row(report(Outcome.PARTIAL, "1").model_copy(update={"attempts": (once,)}), "2"),
        replace(plain, fault="answer lost"),
        row(done.model_copy(update={"attempts": (once, again)})),
        row(report(Outcome.CANCELLED, "1").model_copy(update={"attempts": (once,)})),
        replace(plain, still_open=frozenset({"2"})),
    ):
        assert not told.is_plain
        out = shown(Story((plain, told, plain), 1.0, 4, 3))
        assert out.count("BTC-USDT ") == 1
        assert "2 others " in out


def test_a_report_that_the_book_contradicts_is_found() -> None:
    """An order named as gone that is open, or gone and unnamed without cause, is not right."""
    assert row(report(Outcome.CANCELLED, "1", "2")).agrees
    assert not row(report(Outcome.CANCELLED, "1", "2"), "2").agrees
    assert not row(report(Outcome.CANCELLED, "1")).agrees
    assert not row(report(Outcome.CLEAR_AFTER_RETRY, ids_complete=False), "1").agrees
    assert row(report(Outcome.PARTIAL, "1"), "2").agrees
    assert not row(report(Outcome.NOT_SENT), "2").agrees


def test_what_a_report_cannot_know_is_not_held_against_it() -> None:
    """Ids lost with an answer are counted as unknown, and an unknown outcome claims nothing."""
    lost = row(report(Outcome.CLEAR_AFTER_RETRY, ids_complete=False))
    assert lost.agrees
    assert lost.unnamed == 2
    assert row(report(Outcome.UNKNOWN, ids_complete=False), "2").agrees


def test_an_order_that_triggered_is_gone_and_a_refused_one_is_not() -> None:
    """Only errors that settle an order count it as off the book."""
    told = report(Outcome.PARTIAL).model_copy(
        update={
            "errors": (
                OrderError(order_id="1", err_code=1063, err_msg=""),
                OrderError(order_id="2", err_code=1048, err_msg=""),
            )
        }
    )
    assert row(told).named == {"1"}
    assert row(told, "2").agrees


def test_a_wrong_account_or_a_broken_limit_fails_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1, and the summary says which of the two it was."""
    good = Story((row(report(Outcome.CANCELLED, "1", "2")),), 1.0, 5, 5)
    for story, words in (
        (replace(good, busiest=6), "limit 5: broken."),
        (replace(good, rows=(row(report(Outcome.CANCELLED, "1")),)), "they disagree."),
    ):

        async def told(finished: object, story: Story = story) -> Story:
            return story

        monkeypatch.setattr("htx_async.cli.demo.play", told)
        with pytest.raises(typer.Exit) as ended:
            demo()
        assert ended.value.exit_code == 1
        assert words in capsys.readouterr().out
