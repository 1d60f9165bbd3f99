"""What an operator sees: which orders, once, and how to go on; at 40, 80 and 140 columns."""

import asyncio
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import typer

from htx_async.cli import app
from htx_async.cli.again import quoted
from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    ACCESS,
    CODE,
    PATIENCE,
    SECRET,
    Ended,
    Run,
    Terminal,
    after_plan,
    cancel_all,
    cancels,
    cli,
    ended,
    exchange_of_the_command,
    one_by_one,
    plain,
    screen,
    started,
)

pytestmark = pytest.mark.slow

FORTY = tuple(f"C{number}-USDT" for number in range(40))
KEY = ACCESS[-4:]
BASH = shutil.which("bash")


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command(contracts=(CODE, "ETH-USDT", "XRP-USDT")) as opened:
        yield opened


async def seen(width: int, *args: str, **variables: str | None) -> tuple[Ended, list[str]]:
    """How a command ends on a terminal of so many columns, and what stands there then."""
    terminal = Terminal(width)
    process = await terminal.started("-m", "htx_async", *args, **variables)
    result = await terminal.ended(process)
    terminal.close()
    return result, [plain(line) for line in screen(result.out)]


def again(out: str) -> list[list[str]]:
    """The words of each command that is to be used again, as a shell reads them."""
    joined = out.replace(" \\\n", " ")
    lines = [line for line in joined.splitlines() if line.startswith("again")]
    return [shlex.split(line.partition(": ")[2]) for line in lines]


# Which orders ------------------------------------------------------------------------------------


@pytest.mark.parametrize("generation", ["v1", "auto"])
async def test_six_orders_in_the_other_margin_mode_are_told(
    exchange: SimulatedExchange, generation: str
) -> None:
    """With every order in cross margin an isolated cancel of all is clear; its last line and its
    JSON have the number; a cross cancel says that isolated margin was not looked at."""
    exchange.place(CODE, "sell", "close", 2, margin_mode="cross")
    exchange.place("ETH-USDT", "buy", "open", 4, margin_mode="cross")
    to, where = cancel_all(exchange, "--all", "--confirm"), {"HTX_GENERATION": generation}
    told, as_json, filtered, cross, cross_json = await one_by_one(
        Run(to, where),
        Run((*to, "--json"), where),
        Run((*to, "--direction", "sell"), where),
        Run((*to, "--margin", "cross"), where),
        Run((*to, "--margin", "cross", "--json"), where),
    )
    assert [one.code for one in (told, as_json, filtered, cross, cross_json)] == [0] * 5
    last = told.out.splitlines()[-1]
    assert last.startswith("All clear after ")
    assert " in isolated margin: nothing to cancel on 3 contracts. " in last
    assert last.endswith(" Cross margin: 6 open, left as they are.")
    assert filtered.out.endswith(" Cross margin: 6 open, left as they are.\n")
    assert json.loads(as_json.out)["cross_open"] == 6
    assert cross.out.endswith(" Isolated margin was not looked at.\n")
    assert json.loads(cross_json.out)["isolated_open"] is None


async def test_what_could_not_be_looked_at_is_told_as_that(exchange: SimulatedExchange) -> None:
    """Where the one list of cross margin cannot be had, neither a number nor the exit code comes of
    it."""
    exchange.refuse(1014, call="openorders", times=99)
    result = await cli(*cancel_all(exchange, CODE, "--deadline", "5"))
    assert result.code == 0
    assert result.out.endswith(" Cross margin was not looked at.\n")


async def test_the_plan_names_key_and_account_and_the_look_the_orders(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    """On stderr with --yes, too, also beside --json; the key by its last four characters, which
    are in no record; then how many orders on how many contracts."""
    exchange.place(CODE, "sell", "close", 2)
    exchange.place("ETH-USDT", "sell", "close")
    record, folder = tmp_path / "record", tmp_path / "limit"
    folder.mkdir()
    host = {"HTX_HOST_LIMIT": str(folder), "HTX_ACCOUNT": "night desk"}
    audited = {**host, "HTX_AUDIT": str(record)}
    told, as_json, dry = await one_by_one(
        Run(cancel_all(exchange, "--all"), audited),
        Run(cancel_all(exchange, "--all", "--json"), host),
        Run(("cancel-all", "--base-url", exchange.url, CODE, "--dry-run", "--json"), host),
    )
    assert (told.code, as_json.code, dry.code) == (0, 0, 0)
    for result in (told, as_json):
        plan = result.err.partition("\n\n")[0]
        assert f"key        ends in {KEY}\n" in plan
        assert "account    night desk\n" in plan
    assert json.loads(as_json.out)["is_clear"] is True
    seen = "Open, by the look before: 0 orders on 0 contracts in isolated margin.\n"
    assert after_plan(as_json.err) == seen
    first = after_plan(told.err).splitlines()[0]
    assert first == "Open, by the look before: 3 orders on 2 contracts in isolated margin."
    document = json.loads(dry.out)
    assert (document["key_ends_in"], document["account"]) == (KEY, "night desk")
    lines = record.read_text().splitlines()
    assert stat.S_IMODE(record.stat().st_mode) == 0o600
    assert {"call_ended", "look_ended"} <= {json.loads(line)["event"] for line in lines}
    assert not any(f'"{KEY}"' in line or ACCESS in line for line in lines)


# One cause, one paragraph ------------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 140])
async def test_a_wrong_key_is_one_paragraph_and_ends_the_rest(
    exchange: SimulatedExchange, width: int
) -> None:
    """Forty contracts: after five refusals nothing more is sent, and the exchange's words stand
    once for each of the two things that may be known of a contract; no word is broken."""
    result, lines = await seen(
        width, *cancel_all(exchange, *FORTY, "--look", "none"), HTX_SECRET_KEY="another"
    )
    told = " ".join(" ".join(lines).split())
    assert result.code == 3
    assert cancels(exchange) <= 10
    assert told.count("Verification failure") == 1
    assert "blind" not in told
    assert "The exchange refused the key 5 times in a row: nothing more is sent." in told
    assert "so nothing more was sent; a key that it takes is needed first." in told
    assert max(map(len, lines)) <= width
    assert {one for words in again(result.out) for one in words if one.startswith("C")} == {*FORTY}
    assert all(f" {code}" in told for code in FORTY)


async def test_refusals_with_another_answer_between_end_nothing() -> None:
    """What the key may do on some contracts and not on others is sent to the last."""
    async with exchange_of_the_command() as exchange:
        for code in FORTY[:16:2]:
            exchange.refuse(1413, contract_code=code, times=9)
        result = await cli(*cancel_all(exchange, *FORTY[:16], "--look", "none", "--json"))
    assert result.code == 3
    assert json.loads(result.out)["outcomes"] == {"refused": 8, "nothing_to_cancel": 8}


async def test_a_refusal_beside_lists_of_two_generations_tells_of_itself_alone(
    exchange: SimulatedExchange,
) -> None:
    """What V5 says of an account that is on v1 is no word about it, and no list was in the way of
    what the exchange has refused."""
    exchange.place(CODE, "sell", "close")
    exchange.refuse(1413, contract_code=CODE, times=9)
    result = await cli(*cancel_all(exchange, "--all"), HTX_GENERATION=None)
    assert result.code == 3
    assert "with code 1413 " in result.out
    for words in ("could not be read", "moved to another", "6001"):
        assert words not in result.out


@pytest.mark.parametrize("generation", ["v1", "v5", "auto"])
async def test_the_plan_says_that_one_generation_alone_is_asked(
    exchange: SimulatedExchange, generation: str
) -> None:
    """Of an account that is on the other one nothing is seen: that is for whoever reads on."""
    run = ("cancel-all", CODE, "--dry-run", "--base-url", exchange.url)
    plan, document = await one_by_one(
        Run(run, {"HTX_GENERATION": generation}),
        Run((*run, "--json"), {"HTX_GENERATION": generation}),
    )
    assert (f"api        {generation} alone, as it was given: " in plan.out) == (
        generation != "auto"
    )
    assert json.loads(document.out)["generation"] == generation


async def test_a_clock_that_is_off_is_no_refusal_of_the_key() -> None:
    """Five first requests are refused for their time; they are signed anew and taken."""
    async with SimulatedExchange(access_key=ACCESS, secret_key=SECRET, now=LATE) as exchange:
        result = await ended(
            await started("-m", "htx_async", *cancel_all(exchange, *FORTY[:10], "--json"))
        )
    assert result.code == 0
    assert "refused" not in result.err


@pytest.mark.parametrize("which", [("--all",), FORTY, FORTY[:3]], ids=["all", "forty", "three"])
async def test_a_wrong_key_over_both_margin_modes_is_one_cause(
    exchange: SimulatedExchange, which: tuple[str, ...]
) -> None:
    """The exchange's words stand once for both, with the contracts of each, and once more what was
    not sent; no contract that was not sent has a line of its own on stderr, and what cancelled
    nothing was not cancelled blind."""
    command = cancel_all(exchange, *which, "--margin", "both")
    run = Run(command, {"HTX_SECRET_KEY": "another"})
    listed = Run(("open", "--base-url", exchange.url), {"HTX_SECRET_KEY": "another"})
    told, read = await one_by_one(run, listed)
    assert (told.code, read.code) == (3, 5)
    assert told.out.count("Verification failure") == 1
    assert told.out.count("so nothing more was sent") <= 1
    assert ": not sent\n" not in told.err
    assert "blind" not in told.out
    assert "Last failure" not in told.out
    # Both margin modes are refused alike, and told so.
    assert read.err.count("Verification failure") == 1
    assert read.err.startswith("BTC-USDT, ETH-USDT, XRP-USDT's open trailing orders in isolated ")
    assert "; the account's open trailing orders in cross margin could not be read: " in read.err
    assert read.out == "Nothing could be read.\n"


def LATE() -> float:
    """The exchange's clock, an hour ahead of this machine's."""
    import time  # noqa: PLC0415 - for this alone

    return time.time() + 3600


@pytest.mark.parametrize("as_json", [(), ("--json",)])
async def test_an_interrupted_call_says_that_it_was(
    exchange: SimulatedExchange, as_json: tuple[str, ...]
) -> None:
    """Before its turn: once for all of them, without a word of the session or the deadline; what
    needs a person stands at the end, after the ids, with the command that does the rest."""
    for code in FORTY:
        exchange.place(code, "sell", "close")
    reached, left = asyncio.Event(), iter(range(6))

    def latency() -> float:
        if next(left, None) is None:
            reached.set()
        return 0.2

    exchange.latency = latency
    command = cancel_all(exchange, *FORTY, "--look", "none", *as_json)
    process = await started("-m", "htx_async", *command)
    await asyncio.wait_for(reached.wait(), PATIENCE)
    process.send_signal(2)
    result = await ended(process)
    assert result.code == 130
    if as_json:
        document = json.loads(result.out)
        waiting = [one for one in document["reports"] if one["outcome"] == "not_sent"]
        assert {one["ended_by"] for one in waiting} == {"the call was interrupted"}
        (line,) = document["again"]
        assert shlex.split(line)[-len(waiting) :] == [one["contract_code"] for one in waiting]
        return
    assert ": not sent\n" not in result.err
    assert result.out.count("The call was interrupted before its turn. Call again.") == 1
    assert "the session was closed" not in result.out
    assert "deadline" not in result.out
    places = [result.out.index(one) for one in ("cancelled C0-USDT", "before its turn", "again: ")]
    assert places == sorted(places)
    assert result.out.splitlines()[-1].startswith("Interrupted. NOT CLEAR after ")
    assert "Cross margin was not looked at. Not sent, every order is as it was: " in result.out


# What it prints can be used again ----------------------------------------------------------------


async def test_the_line_can_be_used_again(exchange: SimulatedExchange, tmp_path: Path) -> None:
    """As it stands, by a shell: only what is not clear, with the options that were given, and
    without a secret; a variable stands where it stood."""
    exchange.place(CODE, "sell", "close")
    exchange.refuse(1014, contract_code="ETH-USDT")
    record = tmp_path / "a record's"
    first = await cli(
        *cancel_all(exchange, CODE, "eth-usdt", "--deadline", "2", "--offset", "close"),
        *("--audit", str(record), "--reason", 'a "drill"; $HOME'),
    )
    assert first.code == 3
    (words,) = again(first.out)
    # The exchange refused it: the deadline was long enough.
    assert words == [
        *("htx-async", "cancel-all", "--margin", "isolated", "--offset", "close"),
        *("--deadline", "2.0", "-y" if "-y" in words else "--yes", "--audit", str(record)),
        *("--reason", 'a "drill"; $HOME', "--base-url", exchange.url, "ETH-USDT"),
    ]
    line = next(one for one in first.out.splitlines() if one.startswith("again: "))
    program = line.removeprefix("again: htx-async ")
    python = shlex.quote(sys.executable)
    process = await started(
        "-c", "import os, sys; os.execv('/bin/sh', ['sh', '-c', sys.argv[1]])",
        f"{python} -m htx_async {program} --json",
    )  # fmt: skip
    second = await ended(process)
    assert second.code == 0
    (report,) = json.loads(second.out)["reports"]
    assert report["contract_code"] == "ETH-USDT"
    assert json.loads(second.out)["again"] == []


@pytest.mark.slow
@pytest.mark.long
async def test_the_line_has_a_longer_deadline_where_that_was_too_short(
    exchange: SimulatedExchange,
) -> None:
    """Twice as long, and as long as the command's own at least: what ended before an answer, what
    could not be confirmed so early, and what goes on until nothing is left."""
    exchange.late(60.0, contract_code=CODE)
    exchange.late(60.0, contract_code="XRP-USDT")
    exchange.place("ETH-USDT", "sell", "close")
    (stays,) = exchange.place("ADA-USDT", "sell", "close")
    late, long, early = await one_by_one(
        cancel_all(exchange, CODE, "--deadline", "0.5"),
        cancel_all(exchange, "XRP-USDT", "--deadline", "1.5", "--json"),
        cancel_all(exchange, "ETH-USDT", "--deadline", "1", "--confirm"),
    )
    exchange.cancel_delay = 60.0
    left = await cli(*cancel_all(exchange, "ADA-USDT", "--until-clear", "--deadline", "3"))
    assert [one.code for one in (late, long, early, left)] == [5, 5, 5, 4]
    assert f"still open ADA-USDT (isolated) {stays}" in left.out
    lines = [*again(late.out), *map(shlex.split, json.loads(long.out)["again"]), *again(early.out)]
    lines += again(left.out)
    assert len(lines) == 4
    for words in lines:
        assert 10 < float(words[words.index("--deadline") + 1]) < 20


@pytest.mark.slow
@pytest.mark.long
async def test_the_line_on_a_narrow_terminal_is_one_command(exchange: SimulatedExchange) -> None:
    """It goes on over several lines in the way that a shell knows; a URL that may hold a password
    is left out, and said to be."""
    for code in FORTY[:9]:
        exchange.unknown_contract(code)
    command = cancel_all(exchange, *FORTY[:9], "--margin", "both", "--look", "none")
    result, lines = await seen(40, *command)
    assert result.code == 3
    (words,) = again("\n".join(lines))
    assert words[:4] == ["htx-async", "cancel-all", "--margin", "both"]
    assert words[-9:] == [*FORTY[:9]]
    url = "redis://desk:planted@127.0.0.1:1/0"
    hidden = await cli(*cancel_all(exchange, FORTY[0], "--redis", url, "--share-of", "2"))
    assert "planted" not in hidden.out + hidden.err
    assert "again, with --redis as before: htx-async cancel-all " in hidden.out


@pytest.mark.skipif(BASH is None, reason="no shell that knows $'...'")
@pytest.mark.parametrize("value", ["caf\udce9", "a\xa0b", "it's \\ \x1b[2J\nfa", "\u200bé"])
def test_a_word_of_the_line_is_the_same_to_a_shell(value: str) -> None:
    """Bytes that are no text, and what is shown escaped, for it would act upon a terminal."""
    word = quoted(value)
    assert word.isprintable()
    script = "import os, sys; sys.stdout.buffer.write(os.fsencode(sys.argv[1]))"
    line = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)} {word}"
    result = subprocess.run([str(BASH), "-c", line], capture_output=True, check=True)
    assert os.fsdecode(result.stdout) == value


# Words ------------------------------------------------------------------------------------------


async def test_words_that_others_have_for_it(exchange: SimulatedExchange) -> None:
    """-h and -y; a direction in capitals; a direction, or all, where a contract belongs; --side;
    each key by the name of its variable; one message for all contracts that share it."""
    to = ("--base-url", exchange.url)
    exchange.place(CODE, "sell", "close")
    exchange.place(CODE, "buy", "close")
    capitals, direction, every, side, key, spaced, file, many, short = await one_by_one(
        ("cancel-all", CODE, "-y", "--direction", "SELL", "--json", *to),
        ("cancel-all", CODE, "SELL", "-y", *to),
        ("cancel-all", "all", "-y", *to),
        ("cancel-all", CODE, "--side", "sell", "-y", *to),
        Run(("open", *to), {"HTX_ACCESS_KEY": ""}),
        Run(("open", *to), {"HTX_SECRET_KEY": "x "}),
        Run(("open", *to), {"HTX_SECRET_KEY": None, "HTX_SECRET_KEY_FILE": "/dev/null"}),
        ("cancel-all", "BTC_USDT", "ETH_USDT", "XRP_USDT", "-y", *to),
        ("cancel-all", "-h"),
    )
    assert (capitals.code, short.code) == (0, 0)
    assert json.loads(capitals.out)["reports"][0]["direction"] == "sell"
    assert [order.direction for order in exchange.open_orders(CODE)] == ["buy"]
    refused = (direction, every, side, key, spaced, file, many)
    assert [(one.code, one.out) for one in refused] == [(2, "")] * 7
    assert direction.err == "'SELL': no contract; say --direction sell\n"
    assert every.err == "'all': no contract; say --all\n"
    assert side.err.endswith("No such option: --side; say --direction\n")
    assert key.err == "HTX_ACCESS_KEY is empty\n"
    assert spaced.err.startswith("HTX_SECRET_KEY begins or ends with space")
    assert file.err == "HTX_SECRET_KEY_FILE is empty\n"
    assert many.err.startswith("'BTC_USDT', 'ETH_USDT', 'XRP_USDT': may hold ")
    assert many.err.count("may hold") == 1
    assert short.out.startswith("Usage: htx-async cancel-all ")
    assert cancels(exchange) == 1


async def test_every_help_fits_into_80_columns() -> None:
    """However wide the terminal is; "account" is the exchange's, a "report" what comes back; an
    option's value has a name, and a file that an example writes is the one that it reads."""
    root: Any = typer.main.get_command(app)
    below = (("simulate", one) for one in root.commands["simulate"].commands)
    commands = ((), *((one,) for one in root.commands), *below)
    assert len(commands) > 13
    wide = {"COLUMNS": "200"}
    helps = await one_by_one(*(Run((*one, "--help"), wide) for one in commands))
    for command, result in zip(commands, helps, strict=True):
        assert result.code == 0
        usage, _, told = result.out.partition("\n\n")
        assert not set("<>{}") & set(usage), command
        # What stands between the name of a parameter and what is said of it.
        named = re.findall(r"^  (-{0,2}[\w-]+[^\n]*?)(?:  |$)", told, re.MULTILINE)
        assert not [one for one in named if set("<>{}[]") & set(one)], command
        assert not re.search(r"\.\.\.$", told, re.MULTILINE), command
        assert max(map(len, result.out.splitlines())) <= 80
        for words in ("an account of", "the account for a program", "The account as JSON"):
            assert words not in " ".join(result.out.split())
        assert "<int" not in result.out
        written = re.findall(r"--keys-file ([a-z]\S*)$", result.out, re.MULTILINE)
        assert re.findall(r"^ *\. \./(\S+);", result.out, re.MULTILINE) == written


@pytest.mark.parametrize("width", [40, 80, 140])
async def test_open_is_readable_at_any_width(exchange: SimulatedExchange, width: int) -> None:
    """Both margin modes, each told by how many lists; no id and no word is broken."""
    ids = exchange.place(CODE, "sell", "close", 2)
    ids += exchange.place("ETH-USDT", "buy", "open", margin_mode="cross")
    result, lines = await seen(width, "open", "--base-url", exchange.url)
    dumb, _ = await seen(width, "open", "--base-url", exchange.url, TERM="dumb")
    assert (result.code, dumb.code) == (0, 0)
    assert max(map(len, dumb.out.splitlines())) <= width
    assert "\x1b" not in dumb.out
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    assert {*ids, "isolated", "cross", "sell", "close", "waiting"} <= {*words} | {"waiting"}
    told = " ".join(words)
    assert "Read: isolated margin: 3 contracts, by a list each; cross margin: the whole" in told


async def test_columns_that_can_be_none_are_not_heeded(exchange: SimulatedExchange) -> None:
    """A variable that says nothing of a width leaves the terminal its own."""
    run = ("cancel-all", CODE, "--dry-run", "--base-url", exchange.url)
    (_, own), *others = [
        await seen(80, *run, COLUMNS=columns) for columns in (None, "-5", "0", "wide")
    ]
    assert max(map(len, own)) > 40
    assert all(lines == own for _, lines in others)


async def test_open_ends_with_a_key_that_is_refused(exchange: SimulatedExchange) -> None:
    """Exit 5; after five refusals in a row the other lists are not asked for, and one paragraph
    says why."""
    many = [f"C{number}-USDT" for number in range(150)]
    result = await cli(
        *("open", *many, "--margin", "isolated", "--base-url", exchange.url),
        HTX_SECRET_KEY="another-secret",
    )
    assert result.code == 5
    assert "The exchange refused the key 5 times in a row: nothing more is sent." in result.err
    assert result.err.count("Verification failure") <= 2
    assert len(exchange.arrivals) < 150


MOVED = {"contracts": (CODE, "ETH-USDT"), "account": "v5", "v1_variant": "1051"}


async def test_v1_alone_that_shows_nothing_says_what_that_may_mean() -> None:
    """On an account that has moved its "nothing to cancel" is no proof: whoever asks for v1 alone
    is told, and not where v1 has shown orders, nor where V5 was asked, too."""
    async with exchange_of_the_command(**MOVED) as moved:
        moved.place(CODE, "sell", "close")
        blind, seen = await one_by_one(
            cancel_all(moved, "--all"), Run(cancel_all(moved, "--all"), {"HTX_GENERATION": "auto"})
        )
    async with exchange_of_the_command(contracts=(CODE, "ETH-USDT")) as exchange:
        exchange.place(CODE, "sell", "close")
        (at_home,) = await one_by_one(cancel_all(exchange, "--all"))
    assert [one.code for one in (blind, seen, at_home)] == [0, 0, 0]
    told = "it says the same of an account that has moved to V5. Leave it out if that may be so."
    assert told in blind.out
    assert "moved" not in seen.out + at_home.out


@pytest.mark.slow
@pytest.mark.long
async def test_open_and_a_guard_say_so_too_where_v1_alone_shows_nothing() -> None:
    """A guard once for both rounds, and not where either of them has taken an order; neither does
    `open` where it lists one, or where V5 was asked."""
    told = "it says the same of an account that has moved to V5. Leave it out if that may be so."

    async def ends(exchange: SimulatedExchange, generation: str) -> list[Ended]:
        where, to = {"HTX_GENERATION": generation}, (CODE, "--base-url", exchange.url)
        listed = await one_by_one(Run(("open", *to), where), Run(("open", *to, "--json"), where))
        return [*listed, await cli("guard", *to, "--", "true", **where)]

    async with exchange_of_the_command(**MOVED) as moved:
        moved.place(CODE, "sell", "close")
        blind, seen = await ends(moved, "v1"), await ends(moved, "auto")
    async with exchange_of_the_command(contracts=(CODE, "ETH-USDT")) as exchange:
        exchange.place(CODE, "sell", "close")
        at_home = await ends(exchange, "v1")
    assert [one.code for one in (*blind, *seen, *at_home)] == [0] * 9
    assert [one.err.count(told) for one in (*blind, *seen, *at_home)] == [1, 1, 1] + [0] * 6
