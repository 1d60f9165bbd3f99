"""The examples do what they say, by the exchange's own book, and go live only when told twice."""

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support.example_story import FOLDER, KEYS, Story, answered, played

Seen = dict[str, Any]

pytestmark = [pytest.mark.slow, pytest.mark.long]

PROXIES = dict.fromkeys(("HTX_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://192.0.2.1:3128")

EXAMPLES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
FORTY = 40


async def test_each_example_does_what_it_says(tmp_path: Path) -> None:
    """All at once, with a bot's keys in the environment: each ends well, shows none of them, sends
    nothing to anything but this machine, and leaves the book as it tells."""
    told = await asyncio.gather(
        *(played(tmp_path / name, str(FOLDER / f"{name}.py"), **PROXIES) for name in EXAMPLES)
    )
    assert set(EXAMPLES) == set(CHECKS)
    for name, story in zip(EXAMPLES, told, strict=True):
        assert story.code == 0, (name, story)
        assert story.of("out") == [], name
        assert not any(value in story.out + story.err for value in KEYS.values()), name
        assert "Traceback" not in story.err, story.err
        (book,) = story.of("book")
        # Only on a machine that stands still may a process be cut off from the others' tokens.
        assert book["busiest"] <= 5 or "its own share" in story.out, name
        CHECKS[name](story, book)


def _signal_flip(story: Story, book: Seen) -> None:
    orders = Counter((side, offset) for _, side, offset, *_ in book["open"])
    assert orders == {("buy", "close"): FORTY, ("buy", "open"): 1}
    assert len({code for code, side, offset, *_ in book["open"] if offset == "close"}) == FORTY
    new = [one for one in story.of("placed") if one["arrived"]]
    assert len(new) == FORTY
    assert not [old for one in new for old in one["before"] if old[1] == "sell"]
    assert "round 2: " in story.out
    assert story.out.endswith("40 of 40 contracts flipped\n")
    assert story.err == ""


def _confirm_then_place(story: Story, book: Seen) -> None:
    new = [one for one in story.of("placed") if one["arrived"]]
    assert sorted(one["code"] for one in new) == ["BTC-USDT", "ETH-USDT"]
    assert not any(one["before"] for one in new)
    assert Counter(code for code, *_ in book["open"]) == Counter(
        ["BTC-USDT", "ETH-USDT", "XRP-USDT", "DOGE-USDT"]
    )
    assert [one[0] for one in book["ended"] if one[5] != 6] == ["SOL-USDT"]
    lines = {line.split()[0]: line for line in story.out.splitlines()}
    assert [code for code, line in lines.items() if "NOT placed" not in line] == [
        "BTC-USDT",
        "ETH-USDT",
    ]
    assert "refused with 1088" in lines["XRP-USDT"]
    assert "triggered" in lines["SOL-USDT"]
    assert "not known, after 2 tries" in lines["DOGE-USDT"]


def _guard_sigterm(story: Story, book: Seen) -> None:
    assert book["open"] == []
    placed = story.of("placed")
    assert len(placed) == len(book["ended"]) >= 3
    assert {one[5] for one in book["ended"]} == {6}
    assert "told to end" in story.out
    assert story.out.count("none of them is open any more") == 3


def _fleet_worker(story: Story, book: Seen) -> None:
    assert book["open"] == []
    assert len(book["ended"]) == 18
    assert story.out.count("6 orders cancelled") == 3
    assert f"busiest second at the exchange: {book['busiest']} cancels" in story.out


def _audit_and_logs(story: Story, book: Seen) -> None:
    assert [one[0] for one in book["open"]] == ["SOL-USDT"]
    assert "'call_started': 3" in story.out
    assert "'call_ended': 3" in story.out
    assert "SOL-USDT partial night desk" in story.out
    assert book["open"][0][4] in story.err
    assert "ETH-USDT" in story.err
    assert "no such call" not in story.out


def _fastapi_panic_button(story: Story, book: Seen) -> None:
    assert book["open"] == []
    assert Counter(one[3] for one in book["ended"]) == {"isolated": 2, "cross": 2}
    wrong, right = story.out.splitlines()
    assert wrong.startswith("403 ")
    assert right.startswith("200 ")
    account = json.loads(right.partition(" ")[2])
    assert {mode: one["cancelled"] for mode, one in account.items()} == {"isolated": 2, "cross": 2}
    assert story.err == ""


CHECKS = {
    "audit_and_logs": _audit_and_logs,
    "confirm_then_place": _confirm_then_place,
    "fastapi_panic_button": _fastapi_panic_button,
    "fleet_worker": _fleet_worker,
    "guard_sigterm": _guard_sigterm,
    "signal_flip": _signal_flip,
}

# All in one process, since to load the package costs more than to refuse.
_ALL = """
import json, runpy, sys
folder, told = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, folder)
for name, *arguments in told:
    sys.argv = [name, *arguments]
    try:
        runpy.run_path(f"{folder}/{name}.py", run_name="__main__")
    except SystemExit as end:
        print(name, end.code)
"""

HALF = {
    ("--live", "BTC-USDT"): "stdin is no terminal: nothing was sent",
    ("--live",): "expected at least one argument",
    ("--liv", "BTC-USDT"): "unrecognized arguments",
    ("live", "BTC-USDT"): "unrecognized arguments",
}


async def test_no_example_goes_live_by_half(tmp_path: Path) -> None:
    """Without a terminal, a contract or the whole word each ends with 2, and nothing leaves."""
    told = [(name, *arguments) for name in EXAMPLES for arguments in HALF]
    story = await played(tmp_path, "-c", _ALL, str(FOLDER), json.dumps(told))
    assert story.out.splitlines() == [f"{name} 2" for name, *_ in told]
    for why, times in Counter(HALF.values()).items():
        assert story.err.count(why) == times * len(EXAMPLES)
    assert story.seen == []


NAME, LIVE = "confirm_then_place", ("--live", "BTC-USDT")
END_OF_INPUT = "\x04"


async def test_live_takes_a_typed_yes_and_nothing_else(tmp_path: Path) -> None:
    """Any other answer ends the example with 2, and nothing leaves; after "yes" it asks for the
    exchange's hosts, which shows that the witness would have seen it."""
    wrong = ("y\n", "YES\n", "yes please\n", "no\n", "\n", END_OF_INPUT, signal.SIGINT)
    each = json.dumps([(NAME, *LIVE) for _ in wrong])
    refused, live = await asyncio.gather(
        answered(tmp_path / "wrong", wrong, "-c", _ALL, str(FOLDER), each),
        answered(tmp_path / "yes", ["yes\n"], str(FOLDER / f"{NAME}.py"), *LIVE),
    )
    assert refused.out.count(f"{NAME} 2\n") == len(wrong)
    assert refused.out.count("not answered with yes: nothing was sent") == len(wrong)
    assert refused.seen == []
    hosts = {one["host"] for one in live.of("out")}
    assert {"api.hbdm.com"} <= hosts <= {"api.hbdm.com", "api.hbdm.vn"}
    assert live.code == 1
    assert "BTC-USDT   NOT placed nothing was sent: the old stop stands" in live.out
    assert "the access key that ends in -bot." in live.out


def test_examples_are_short_and_say_what_they_are_for() -> None:
    """Ninety lines or little more, of which the first ones are told in words."""
    for name in EXAMPLES:
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 100, name
        assert text.startswith('"""')
        assert len(text.split('"""')[1].splitlines()) >= 5, name
