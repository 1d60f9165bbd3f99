"""cancel-all as a process on pipes: arguments, plan, account and exit codes."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from htx_async import InvalidRequest
from htx_async.cli import app
from htx_async.cli.contracts import MOST_BYTES, contracts
from htx_async.cli.exit_codes import exit_code
from htx_async.enums import BY_URGENCY, Outcome
from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    CODE,
    Ended,
    Run,
    after_plan,
    cancel_all,
    cancels,
    cli,
    ended,
    exchange_of_the_command,
    one_by_one,
    started,
)

pytestmark = pytest.mark.slow


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    # Some tests run several commands at once, which know nothing of each other.
    async with exchange_of_the_command(limit=1000) as opened:
        yield opened


async def cancel(exchange: SimulatedExchange, *args: str, **variables: Any) -> Ended:
    return await cli(*cancel_all(exchange, CODE, *args), **variables)


async def test_nothing_to_cancel_is_not_told_as_taken(exchange: SimulatedExchange) -> None:
    """The last line claims no cancel where the exchange had none to make."""
    result = await cancel(exchange)
    assert result.code == 0
    told = result.out.splitlines()[-1]
    assert re.fullmatch(
        r"All clear after .* in isolated margin: nothing to cancel on 1 contract\. "
        r"Cross margin: none open\.",
        told,
    )


async def test_clear_exits_0_with_the_account_on_stdout(exchange: SimulatedExchange) -> None:
    """Filters reach the exchange; table, ids and a last line that says that all is clear."""
    hit = exchange.place(CODE, "sell", "close", 2)
    kept = exchange.place(CODE, "buy", "close") + exchange.place(CODE, "sell", "open")
    result = await cancel(exchange, "--direction", "sell", "--offset", "close")
    assert result.code == 0
    assert after_plan(result.err) == f"{CODE} (isolated): cancelled\n"
    lines = result.out.splitlines()
    names = ["contract", "margin", "outcome", "cancelled", "attempts", "waited", "elapsed"]
    assert lines[0].split() == names
    assert lines[2].split()[:5] == [CODE, "isolated", "cancelled", "2", "1"]
    assert f"cancelled {CODE} (isolated) {' '.join(hit)}" in lines
    assert re.fullmatch(r"All clear after .* 1 contract \(2 orders by id\)\. .*", lines[-1])
    assert {order.order_id for order in exchange.open_orders()} == set(kept)


async def test_none_and_many_orders_are_clear(exchange: SimulatedExchange) -> None:
    """An empty book exits 0 and says so; with an offset it says what that may have missed. The ids
    of 60 cancelled orders all stand there."""
    ids = exchange.place("ETH-USDT", "sell", "close", 60)
    nothing, many = await one_by_one(
        cancel_all(exchange, CODE, "--offset", "close"), cancel_all(exchange, "ETH-USDT")
    )
    assert (nothing.code, many.code) == (0, 0)
    assert "nothing to cancel" in nothing.out
    assert "Leave the offset out" in nothing.out
    assert f"cancelled ETH-USDT (isolated) {' '.join(ids)}" in many.out.splitlines()


async def test_many_contracts_and_the_worst_wins(exchange: SimulatedExchange) -> None:
    """One of each kind: exit 5, a row for each, the messages in full, the worst first at last."""
    good, bad, gone = exchange.place("ADA-USDT", "sell", "close", 3)
    exchange.reject_order(bad, 1048, "[bold red]no[/] {0} %s :smile:")
    exchange.reject_order(gone, 1063)
    exchange.unknown_contract("DOT-USDT")
    exchange.lose_before_work(times=9, contract_code="DOGE-USDT")
    codes = ("ADA-USDT", "DOT-USDT", "DOGE-USDT", CODE)
    result = await cli(*cancel_all(exchange, *codes, "--deadline", "1.5"))
    assert result.code == 5
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == list(codes)
    assert f"refused ADA-USDT (isolated) {bad} (1048: [bold red]no[/] {{0}} %s :smile:)" in lines
    assert f"settled ADA-USDT (isolated) {gone} (1063: The order has been executed.)" in lines
    assert f"cancelled ADA-USDT (isolated) {good}" in lines
    assert sum("look at the exchange now, then call again" in line for line in lines) == 1
    assert sum("code 1014" in line for line in lines) == 1
    assert lines[-1].startswith("NOT CLEAR after ")
    assert "3 of 4 contracts need a person. Cross margin" in lines[-1]
    told = [lines[-1].index(f": {code}.") for code in ("DOGE-USDT", "ADA-USDT", "DOT-USDT")]
    assert told == sorted(told)
    assert sorted(after_plan(result.err).split("\n")[:-1]) == [
        "ADA-USDT (isolated): partial",
        "BTC-USDT (isolated): nothing to cancel",
        "DOGE-USDT (isolated): unknown",
        "DOT-USDT (isolated): refused",
    ]


async def test_each_exit_code_over_two_contracts(exchange: SimulatedExchange) -> None:
    """Partial beats refused, and refused beats clear."""
    (order,) = exchange.place("A-USDT", "sell", "close")
    exchange.reject_order(order, 1048)
    exchange.unknown_contract("C-USDT")
    runs = (("C-USDT", "A-USDT"), ("F-USDT", "C-USDT"))
    results = await one_by_one(*(cancel_all(exchange, *run, "--json") for run in runs))
    assert [result.code for result in results] == [4, 3]


def test_the_order_of_the_exit_codes() -> None:
    """5, 4, 3, 6, 0; interrupted, 130 stands for all of them but unknown; and what could not be
    confirmed as asked is as good as unknown."""
    codes = [exit_code(outcome, interrupted=False) for outcome in BY_URGENCY]
    assert codes == [5, 4, 3, 6, 0, 0, 0]
    interrupted = {outcome: exit_code(outcome, interrupted=True) for outcome in Outcome}
    assert interrupted.pop(Outcome.UNKNOWN) == 5
    assert set(interrupted.values()) == {130}
    for outcome, was in product(Outcome, (True, False)):
        assert exit_code(outcome, interrupted=was, unconfirmed=True) == 5


async def test_ways_to_the_exchange(exchange: SimulatedExchange, refusing_url: str) -> None:
    """A wrong secret exits 3 and is not told; a port where nobody listens exits 6 at the deadline,
    with a report; --base-url may be repeated, and the second takes over from a dead first one."""
    dead = ("cancel-all", CODE, "--yes", "--json", "--base-url", refusing_url)
    wrong, not_sent, second = await one_by_one(
        Run(cancel_all(exchange, CODE), {"HTX_SECRET_KEY": "another-secret"}),
        (*dead, "--deadline", "0.2"),
        (*dead, "--base-url", exchange.url),
    )
    assert wrong.code == 3
    assert "code 403" in wrong.out
    assert "another-secret" not in wrong.out + wrong.err
    assert (not_sent.code, after_plan(not_sent.err)) == (6, "")
    assert json.loads(not_sent.out)["outcome"] == "not_sent"
    assert second.code == 0
    (report,) = json.loads(second.out)["reports"]
    assert [one["sent"] for one in report["attempts"]] == [False, True]


async def test_json_is_the_report_and_nothing_else(exchange: SimulatedExchange) -> None:
    """stdout is one JSON document for clear and failed cancels alike, and stderr has the plan."""
    (order,) = exchange.place(CODE, "sell", "close")
    exchange.reject_order(order, 1048)
    expected = ((4, "partial"), (0, "cancelled"))
    run = cancel_all(exchange, CODE, "ETH-USDT", "--json")
    for (code, outcome), result in zip(expected, await one_by_one(run, run), strict=True):
        report = json.loads(result.out)
        assert (result.code, after_plan(result.err)) == (code, "")
        assert (report["outcome"], report["is_clear"]) == (outcome, code == 0)
        assert [one["contract_code"] for one in report["reports"]] == [CODE, "ETH-USDT"]


async def test_any_script_in_any_encoding(exchange: SimulatedExchange) -> None:
    """A contract code that the terminal cannot show ends no call; JSON stays UTF-8."""
    contract = "币安人生-USDT"
    exchange.place(contract, "sell", "close")
    args = cancel_all(exchange, contract)
    plain, as_json = await asyncio.gather(
        cli(*args, PYTHONIOENCODING="latin-1"), cli(*args, "--json", PYTHONIOENCODING="latin-1")
    )
    assert (plain.code, as_json.code) == (0, 0)
    assert "\\u5e01" in plain.out
    assert json.loads(as_json.out)["reports"][0]["contract_code"] == contract


async def test_until_clear_takes_two_rounds(exchange: SimulatedExchange) -> None:
    """The account is of both: what the first took, and that the second found nothing. It is
    confirmed by the exchange's lists, unless that is not wanted."""
    exchange.place(CODE, "sell", "close")
    exchange.place("ETH-USDT", "sell", "close")
    confirmed, taken = await asyncio.gather(
        cancel(exchange, "--until-clear", "--json"),
        cli(*cancel_all(exchange, "ETH-USDT", "--until-clear", "--no-confirm", "--json")),
    )
    for result, is_confirmed in ((confirmed, True), (taken, None)):
        (report,) = json.loads(result.out)["reports"]
        assert (result.code, report["outcome"], len(report["attempts"])) == (0, "cancelled", 2)
        assert report["confirmed"] is is_confirmed
        assert bool(report["reads"]) is bool(is_confirmed)


async def test_contracts_from_a_pipe_and_a_file(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    """A list with comments, from stdin or by name, together with arguments and once each."""
    text = "# mine\nBTC-USDT eth-usdt # both\n\n\tXRP-USDT\r\nBTC-USDT#again"
    file = tmp_path / "contracts"
    file.write_text(text)
    piped, named = await asyncio.gather(
        ended(
            await started(
                *("-m", "htx_async", *cancel_all(exchange, "--contracts-from", "-", "--json")),
                streams={"stdin": asyncio.subprocess.PIPE},
            ),
            text.encode(),
        ),
        cli(*cancel_all(exchange, "SOL-USDT", "--contracts-from", str(file), "--json")),
    )
    codes = ["BTC-USDT", "ETH-USDT", "XRP-USDT"]
    for result, expected in ((piped, codes), (named, ["SOL-USDT", *codes])):
        assert (result.code, after_plan(result.err)) == (0, "")
        assert [one["contract_code"] for one in json.loads(result.out)["reports"]] == expected


async def test_lists_and_arguments_add_up(exchange: SimulatedExchange, tmp_path: Path) -> None:
    """Each --contracts-from counts, with commas or without, beside the arguments and stdin: no
    order of any of them is left, and the account has each contract once."""
    named = {
        "a": "BTC-USDT, ETH-USDT,,XRP-USDT # SOL-USDT,",
        "b": "SOL-USDT\n,\nBTC-USDT",
        "-": "TRX-USDT,ADA-USDT\n",
    }
    for name, text in named.items():
        (tmp_path / name).write_text(text)
    listed = ["DOT-USDT", "UNI-USDT", "BTC-USDT", "ETH-USDT", "XRP-USDT"]
    listed += ["SOL-USDT", "TRX-USDT", "ADA-USDT"]
    for code in listed:
        exchange.place(code, "sell", "close")
    files = [str(tmp_path / "a"), str(tmp_path / "b"), "-"]
    args = [part for file in files for part in ("--contracts-from", file)]
    process = await started(
        *("-m", "htx_async", *cancel_all(exchange, "DOT-USDT,uni-usdt,", *args, "--json")),
        streams={"stdin": asyncio.subprocess.PIPE},
    )
    result = await ended(process, named["-"].encode())
    assert (result.code, after_plan(result.err).count("\n")) == (0, 1)
    assert [one["contract_code"] for one in json.loads(result.out)["reports"]] == listed
    assert exchange.open_orders() == ()


@given(parts=st.lists(st.lists(st.integers(0, 20), max_size=6), max_size=4), data=st.data())
def test_any_lists_add_up(parts: list[list[int]], data: st.DataObject) -> None:
    """However they are separated and spread over arguments and files, every contract that stands
    somewhere is in the result, once, in the order given."""
    with TemporaryDirectory() as made:
        sources, arguments, expected = [], [], []
        between = st.sampled_from([",", ", ", " , ", ",,", " ", "\n", "\t#x,y\n", "\r\n"])
        for number, part in enumerate(parts):
            codes = [f"C{one}-USDT" for one in part]
            if number == 0:
                arguments = [",".join(codes)] if data.draw(st.booleans()) and codes else codes
            else:
                text = "".join(code + data.draw(between) for code in codes)
                Path(made, str(number)).write_text(text, newline="")
                sources.append(str(Path(made, str(number))))
            expected += codes
        if expected:
            assert contracts(arguments, sources) == tuple(dict.fromkeys(expected))
        else:
            with pytest.raises(InvalidRequest, match="an empty list never means all"):
                contracts(arguments, sources)


def test_what_stands_in_a_list(tmp_path: Path) -> None:
    """Only real line ends end a comment, a byte order mark is no contract, an empty list none."""
    file = tmp_path / "contracts"
    file.write_bytes("\ufeffbtc-usdt\r# a\x0bb\x85c\u2028d\rEOS-USDT\u00a0BTC-USDT".encode())
    assert contracts((), [str(file)]) == ("BTC-USDT", "EOS-USDT")
    file.write_text("# none at all\n\n")
    with pytest.raises(InvalidRequest, match="an empty list never means all contracts"):
        contracts((), [str(file)])


def test_lists_that_are_refused(tmp_path: Path) -> None:
    """Each is one plain line that names the place, with nothing raw in it; at most 1 MiB."""
    file, absent = tmp_path / "contracts", tmp_path / "absent"
    file.write_bytes(b"BTC-USDT\n\x1b[31mred\nE\xcc\x81\n" + b"x" * 70 + b"\n" + b"\0 " * 9)
    with pytest.raises(InvalidRequest) as refused:
        contracts((), [str(file)])
    text = str(refused.value)
    assert text.isprintable()
    assert f"{file}, line 2: '\\x1b[31mred', {file}, line 3: 'E\u0301'" in text
    assert text.count(": may hold letters") == 1
    assert f"line 4: '{'x' * 64}...'" in text
    assert text.endswith("; and 7 more")
    file.write_bytes(b"BTC-USDT \xff")
    with pytest.raises(InvalidRequest, match="not UTF-8") as undecodable:
        contracts((), [str(file)])
    assert undecodable.value.__context__ is None
    with pytest.raises(InvalidRequest, match="No such file"):
        contracts((CODE,), [str(absent)])
    with pytest.raises(InvalidRequest, match="directory"):
        contracts((CODE,), [str(tmp_path)])
    file.write_bytes(b"BTC-USDT " + b"#" * (MOST_BYTES - 9))
    assert contracts((), [str(file)]) == (CODE,)
    file.write_bytes(b"BTC-USDT " + b"#" * (MOST_BYTES - 8))
    with pytest.raises(InvalidRequest, match="longer than 1 MiB"):
        contracts((), [str(file)])


async def test_a_dry_run_shows_the_plan_and_sends_nothing(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    """Contracts, filters, calls, times, hosts and what is left alone; no --yes is needed, and
    nothing goes on record."""
    record = tmp_path / "record"
    args = ("cancel-all", "--base-url", exchange.url, "--dry-run", "--direction", "sell")
    codes = [f"C{number}-USDT" for number in range(12)]
    plain, as_json = await asyncio.gather(
        cli(*args, *codes, "--audit", str(record)),
        cli(*args, *codes, "--until-clear", "--deadline", "60", "--json"),
    )
    assert (plain.code, plain.err, as_json.code, as_json.err) == (0, "", 0, "")
    told = " ".join(plain.out.split())
    for words in (*codes, "isolated margin, sell", "2.0 s if nothing is open", "s at most"):
        assert words in told
    assert exchange.url in told
    assert "take-profit and stop-loss orders" in told
    assert told.endswith("Dry run: nothing was sent.")
    plan = json.loads(as_json.out)
    assert (plan["contract_codes"], plan["calls"], plan["direction"]) == (codes, 24, "sell")
    assert (plan["until_clear"], plan["deadline"]) == (True, 60.0)
    assert "positions" in plan["untouched"]
    assert (exchange.arrivals, record.exists()) == ((), False)


async def test_keys_are_read_from_files_without_their_last_newline(
    exchange: SimulatedExchange, tmp_path: Path
) -> None:
    """HTX_ACCESS_KEY_FILE and HTX_SECRET_KEY_FILE name files; one trailing newline is dropped."""
    access, secret = tmp_path / "access", tmp_path / "secret"
    access.write_text(f"{exchange.credentials.access_key}\n")
    secret.write_text("secret-key-of-the-cli-tests")
    names = {"HTX_ACCESS_KEY_FILE": access, "HTX_SECRET_KEY_FILE": secret}
    result = await cancel(exchange, "--json", HTX_ACCESS_KEY=None, HTX_SECRET_KEY=None, **names)
    assert result.code == 0


WRONG_USAGE: dict[tuple[str, ...], str] = {
    ("--yes", "--direction", "", CODE): "--direction",
    ("--yes", "--offset", "", CODE): "--offset",
    ("--yes", "BTC USDT"): "may hold letters",
    ("--yes",): "an empty list never means all contracts",
    ("--dry-run",): "or say --all",
    ("--yes", "--all", CODE): "--all means every contract",
    ("--yes", "--all", "--contracts-from", "absent"): "--all means every contract",
    ("--yes", "--blind", CODE): "--blind",
    ("--yes", "--look", "second", CODE): "--look",
    ("--yes", "--margin", "", CODE): "--margin",
    ("--yes", "--share-of", "0", CODE): "--share-of",
    ("--yes", "--share-of", "4", CODE): "needs --redis",
    ("--dry-run", "--account", "desk", CODE): "needs --redis",
    ("--contracts-from", "absent"): "absent",
    ("--all",): "add --yes",
    ("--yes", CODE, "--deadline", "0"): "deadline",
    ("--yes", CODE, "--base-url", "http://example.com"): "https",
    ("--yes", CODE, "--actor", "ops"): "--audit",
    ("--dry-run", CODE, "--reason", "drill"): "--audit",
    ("--yes", CODE, "--audit", "/nowhere/at/all"): "/nowhere/at/all cannot be opened",
    ("--yes", CODE, "--audit", "-"): "--audit - is no file",
    ("--yes", ","): "an empty list never means all contracts",
    ("--yes", "--contracts-from", "-", "--contracts-from", "-"): "stdin is read once",
    ("--yes", "--all", "--contracts-from", "a", "--contracts-from", "b"): "--all means every",
    ("--yes", CODE, "--deadline", "1e400"): "deadline",
    ("--yes", CODE, "--deadline", "9" * 5000): "deadline",
    (CODE,): "add --yes",
    (CODE, "--contracts-from", "-"): "takes stdin",
}


async def test_wrong_usage_exits_2_and_sends_nothing(exchange: SimulatedExchange) -> None:
    """Each names its fault on stderr; above all an empty filter does not widen the cancel."""
    runs = (("cancel-all", "--base-url", exchange.url, *args) for args in WRONG_USAGE)
    results = await one_by_one(*runs)
    for (args, words), result in zip(WRONG_USAGE.items(), results, strict=True):
        assert (result.code, result.out) == (2, ""), args
        assert words in result.err, args
    assert exchange.arrivals == ()


VALUES = {
    "margin": ("isolated", "cross"),
    "direction": ("buy", "sell"),
    "offset": ("open", "close"),
    "look": ("first", "none"),
    "on": ("exit", "failure"),
    "generation": ("v1", "v5"),
}


def doubled() -> list[tuple[str, ...]]:
    """Each option of each command that takes one value, given twice in one way or another."""
    root = typer.main.get_command(app)
    commands: dict[str, Any] = root.commands  # type: ignore[attr-defined]  # it is a group
    found = []
    for name, command in commands.items():
        arguments = (CODE, "--yes") if name == "cancel-all" else ()
        for option in command.params:
            if option.param_type_name != "option" or option.multiple:
                continue
            if option.is_flag and not option.secondary_opts:
                continue
            first, second = VALUES.get(option.name, ("7", "7"))
            long = option.opts[0]
            if option.is_flag:
                found.append((name, *arguments, long, option.secondary_opts[0]))
            else:
                found.append((name, *arguments, long, first, long, second))
                found.append((name, f"{long}={first}", *arguments, f"{long}={first}"))
    return found


@pytest.mark.slow
@pytest.mark.long
async def test_no_value_is_lost_because_another_came_after_it(exchange: SimulatedExchange) -> None:
    """What can have one value only is a usage error when it is given twice, the same value too."""
    runs = doubled()
    assert len({run[-2].partition("=")[0] for run in runs if len(run) > 3}) > 8
    flags = cancel_all(exchange, CODE, "--yes", "--yes", "--json", "--json")
    *results, flagged = await one_by_one(*runs, flags)
    for run, result in zip(runs, results, strict=True):
        # To who watches a wrapper, 2 would be the command's own.
        assert (result.code, result.out) == (125 if run[0] == "guard" else 2, ""), run
        assert "given more than once" in result.err, run
    assert flagged.code == 0
    assert cancels(exchange) == 1


async def test_missing_keys_exit_2(exchange: SimulatedExchange, tmp_path: Path) -> None:
    """No key, an empty one, an unreadable file, a key given twice: each is named, none is sent;
    a dry run needs them too."""
    absent = str(tmp_path / "absent")
    cases: list[dict[str, str | None]] = [
        {"HTX_ACCESS_KEY": None},
        {"HTX_SECRET_KEY": ""},
        {"HTX_SECRET_KEY": None, "HTX_SECRET_KEY_FILE": absent},
        {"HTX_SECRET_KEY_FILE": absent},
    ]
    args = ("cancel-all", CODE, "--base-url", exchange.url, "--json")
    modes = ("--dry-run", "--yes", "--yes", "--yes")
    runs = (Run((*args, mode), case) for mode, case in zip(modes, cases, strict=True))
    for case, result in zip(cases, await one_by_one(*runs), strict=True):
        assert (result.code, result.out) == (2, ""), case
        assert re.search("(?i)(access|secret)_key", result.err), case
    assert exchange.arrivals == ()


async def test_the_record_has_actor_and_reason(exchange: SimulatedExchange, tmp_path: Path) -> None:
    """--audit appends each call's start and end, on whose behalf and why; by default this user."""
    exchange.place(CODE, "sell", "close")
    named, own = tmp_path / "named", tmp_path / "own"
    why = ("--actor", "ops", "--reason", "venue incident")
    results = await asyncio.gather(
        cancel(exchange, "--json", "--audit", str(named), *why),
        cancel(exchange, "--json", "--audit", str(own), LOGNAME="night-shift"),
    )
    assert [(one.code, after_plan(one.err)) for one in results] == [(0, ""), (0, "")]
    lines = [json.loads(line) for line in named.read_text().splitlines()]
    assert {line["event"] for line in lines} >= {"call_started", "call_ended"}
    assert {(line["actor"], line["reason"]) for line in lines} == {("ops", "venue incident")}
    assert {json.loads(line)["actor"] for line in own.read_text().splitlines()} == {"night-shift"}
