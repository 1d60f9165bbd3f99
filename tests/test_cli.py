"""The command line, as a process: exit codes, streams, signals, and no secret in any of it."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from htx_async.simulator import SimulatedExchange

ACCESS, SECRET = "access-key-of-the-cli-tests", "secret-key-of-the-cli-tests"
CODE = "BTC-USDT"
PATIENCE = 60.0

# Keys of the machine that runs the tests, and what makes pipes look like terminals.
_HIDDEN = re.compile(r"HTX_.*|FORCE_COLOR|TTY_.*|PYTHON(UTF8|IOENCODING)")


class Ended(NamedTuple):
    code: int | None
    out: str
    err: str


def environment(**variables: str | Path | None) -> dict[str, str]:
    """This process's environment with the tests' keys; None takes a variable out."""
    known = {name: value for name, value in os.environ.items() if not _HIDDEN.fullmatch(name)}
    given = {"HTX_ACCESS_KEY": ACCESS, "HTX_SECRET_KEY": SECRET, **variables}
    return known | {name: str(value) for name, value in given.items() if value is not None}


async def started(*command: str, **variables: str | Path | None) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", *command),
        env=environment(**variables),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> Ended:
    """How a process ends; whatever it was, it shows no key and no traceback."""
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    result = Ended(process.returncode, out.decode(), err.decode())
    for text in (result.out, result.err):
        assert ACCESS not in text
        assert SECRET not in text
        assert "Signature=" not in text
        assert "Traceback" not in text, text
    return result


async def cli(*args: str, **variables: str | Path | None) -> Ended:
    return await ended(await started("-m", "htx_async", *args, **variables))


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with SimulatedExchange(access_key=ACCESS, secret_key=SECRET) as opened:
        yield opened


async def cancel(exchange: SimulatedExchange, *args: str, **variables: str | None) -> Ended:
    return await cli("cancel-all", CODE, "--base-url", exchange.url, *args, **variables)


async def test_clear_exits_0_with_the_account_on_stdout(exchange: SimulatedExchange) -> None:
    """Filters reach the exchange, and the ids of what they hit are listed."""
    hit = exchange.place(CODE, "sell", "close", 2)
    kept = exchange.place(CODE, "buy", "close") + exchange.place(CODE, "sell", "open")
    result = await cancel(exchange, "--direction", "sell", "--offset", "close")
    assert result.code == 0
    assert result.err == ""
    assert result.out.splitlines()[1:] == [f"  cancelled {one}" for one in hit]
    assert {order.order_id for order in exchange.open_orders()} == set(kept)


async def test_nothing_to_cancel_is_clear(exchange: SimulatedExchange) -> None:
    """An empty book exits 0 and says so."""
    result = await cancel(exchange)
    assert (result.code, result.err) == (0, "")
    assert "nothing to cancel" in result.out


async def test_partial_exits_4_and_prints_foreign_text_as_it_is(
    exchange: SimulatedExchange,
) -> None:
    """The message is on stderr, the ids on stdout, and nothing in them is read as markup."""
    good, bad, gone = exchange.place(CODE, "sell", "close", 3)
    exchange.reject_order(bad, 1048, "[bold red]no[/] {0} %s")
    exchange.reject_order(gone, 1063)
    result = await cancel(exchange)
    assert result.code == 4
    assert result.out.splitlines() == [
        f"  cancelled {good}",
        f"  refused   {bad} (1048: [bold red]no[/] {{0}} %s)",
        f"  settled   {gone} (1063: The order has been executed.)",
    ]
    assert bad in result.err


async def test_refused_exits_3(exchange: SimulatedExchange) -> None:
    """A refusal and a wrong secret both end 3, with the message on stderr alone."""
    exchange.unknown_contract(CODE)
    refused, denied = await asyncio.gather(
        cancel(exchange), cancel(exchange, HTX_SECRET_KEY="another-secret")
    )
    assert (refused.code, refused.out) == (3, "") == (denied.code, denied.out)
    assert "another-secret" not in denied.err
    assert "code 1014" in refused.err
    assert "code 403" in denied.err


async def test_unknown_exits_5(exchange: SimulatedExchange) -> None:
    """Four lost answers end 5 and send the operator to the exchange."""
    exchange.lose_before_work(times=4)
    result = await cancel(exchange)
    assert (result.code, result.out) == (5, "")
    assert "look at the exchange" in result.err


async def test_not_sent_exits_6() -> None:
    """A port where nobody listens ends 6 at the deadline, with a report."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        result = await cli("cancel-all", CODE, "--base-url", url, "--deadline", "0.2", "--json")
    assert (result.code, result.err) == (6, "")
    assert json.loads(result.out)["outcome"] == "not_sent"


async def test_the_next_base_url_is_tried(exchange: SimulatedExchange) -> None:
    """--base-url may be repeated: the second takes over from a dead first one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        urls = ("--base-url", dead, "--base-url", exchange.url)
        result = await cli("cancel-all", CODE, *urls, "--json")
    assert result.code == 0
    assert [one["sent"] for one in json.loads(result.out)["attempts"]] == [False, True]


async def test_json_is_the_report_and_nothing_else(exchange: SimulatedExchange) -> None:
    """stdout is one JSON document for clear and failed calls alike, and stderr is silent."""
    (order,) = exchange.place(CODE, "sell", "close")
    exchange.reject_order(order, 1048)
    for code, outcome in ((4, "partial"), (0, "cancelled")):
        result = await cancel(exchange, "--json")
        report = json.loads(result.out)
        assert (result.code, result.err) == (code, "")
        assert (report["outcome"], report["is_clear"]) == (outcome, code == 0)


async def test_any_script_in_any_encoding(exchange: SimulatedExchange) -> None:
    """A contract code that the terminal cannot show ends no call; JSON stays UTF-8."""
    contract = "币安人生-USDT"
    exchange.place(contract, "sell", "close")
    args = ("cancel-all", contract, "--base-url", exchange.url)
    plain, as_json = await asyncio.gather(
        cli(*args, PYTHONIOENCODING="latin-1"), cli(*args, "--json", PYTHONIOENCODING="latin-1")
    )
    assert (plain.code, as_json.code) == (0, 0)
    assert plain.out.startswith("\\u5e01")
    assert json.loads(as_json.out)["contract_code"] == contract


async def test_keys_from_files(exchange: SimulatedExchange, tmp_path: Path) -> None:
    """HTX_ACCESS_KEY_FILE and HTX_SECRET_KEY_FILE name files; one trailing newline is dropped."""
    access, secret = tmp_path / "access", tmp_path / "secret"
    access.write_text(f"{ACCESS}\n")
    secret.write_text(SECRET)
    result = await cli(
        *("cancel-all", CODE, "--base-url", exchange.url),
        HTX_ACCESS_KEY=None,
        HTX_SECRET_KEY=None,
        HTX_ACCESS_KEY_FILE=access,
        HTX_SECRET_KEY_FILE=secret,
    )
    assert result.code == 0


WRONG_USAGE: dict[tuple[str, ...], str] = {
    ("--direction", "up", CODE): "--direction",
    ("--direction", "", CODE): "--direction",
    ("--offset", "", CODE): "--offset",
    ("BTC USDT",): "contract_code",
    (): "CONTRACT",
    (CODE, "--deadline", "0"): "deadline",
    (CODE, "--base-url", ""): "base URL",
    (CODE, "--base-url", "http://example.com"): "https",
    (CODE, "--secret-key", "x"): "--secret-key",
}


async def test_wrong_usage_exits_2_and_sends_nothing(exchange: SimulatedExchange) -> None:
    """Each names its fault on stderr; above all an empty filter does not widen the cancel."""
    runs = (cli("cancel-all", "--base-url", exchange.url, *args) for args in WRONG_USAGE)
    for (args, words), result in zip(WRONG_USAGE.items(), await asyncio.gather(*runs), strict=True):
        assert (result.code, result.out) == (2, ""), args
        assert words in result.err, args
    assert exchange.arrivals == ()


async def test_missing_keys_exit_2(exchange: SimulatedExchange, tmp_path: Path) -> None:
    """No key, an empty one, an unreadable file, a key given twice: each is named, none is sent."""
    absent = tmp_path / "absent"
    cases: list[dict[str, Any]] = [
        {"HTX_ACCESS_KEY": None},
        {"HTX_SECRET_KEY": None},
        {"HTX_SECRET_KEY": ""},
        {"HTX_SECRET_KEY": None, "HTX_SECRET_KEY_FILE": absent},
        {"HTX_SECRET_KEY_FILE": absent},
    ]
    results = await asyncio.gather(*(cancel(exchange, "--json", **case) for case in cases))
    for case, result in zip(cases, results, strict=True):
        assert (result.code, result.out) == (2, ""), case
        assert re.search("(?i)(access|secret)_key", result.err), case
    assert exchange.arrivals == ()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_exits_130_with_an_account(
    exchange: SimulatedExchange, number: signal.Signals
) -> None:
    """The call on the wire is reported as unknown, and the line says where to look."""
    arrived = asyncio.Event()

    def never() -> float:
        arrived.set()
        return 3600.0

    exchange.latency = never
    process = await started(
        *("-m", "htx_async", "cancel-all", CODE, "--base-url", exchange.url, "--json")
    )
    await asyncio.wait_for(arrived.wait(), PATIENCE)
    process.send_signal(number)
    result = await ended(process)
    assert result.code == 130
    assert result.err.startswith("Interrupted. ")
    assert result.err.count("\n") == 1
    assert "cancelled or still open: look at the exchange" in result.err
    assert json.loads(result.out)["outcome"] == "unknown"


async def test_simulate_serves_what_it_prints_until_sigterm() -> None:
    """Its URL and keys work with cancel-all, and it ends 0 with a count of what came."""
    process = await started("-m", "htx_async", "simulate", "--orders", "3")
    assert process.stdout is not None
    guide = b""
    while b"HtxSession" not in guide:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        assert line, guide
        guide += line
    text = guide.decode()
    assert "open nothing" in text
    keys = dict(re.findall(r"^export (HTX_\w+)=(\w+)$", text, re.MULTILINE))
    assert len(set(keys.values())) == 2
    (command,) = re.findall(r"htx-async (cancel-all .*)", text)
    result = await cli(*command.split(), **keys)
    assert (result.code, result.out.count("  cancelled ")) == (0, 3)
    assert not any(key in result.out + result.err for key in keys.values())
    process.send_signal(signal.SIGTERM)
    last = await ended(process)
    assert (last.code, last.err) == (0, "")
    assert "1 requests" in last.out


async def test_simulate_on_a_port_in_use_exits_2(exchange: SimulatedExchange) -> None:
    """One plain line says which port, and that it cannot be served."""
    port = exchange.url.rpartition(":")[2]
    result = await cli("simulate", "--port", port)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"port {port} cannot be served: ")


async def test_version_and_help() -> None:
    """--version gives one line; every command's help has an example."""
    commands = ((), ("demo",), ("simulate",), ("cancel-all",))
    version, *helps = await asyncio.gather(
        cli("--version"), *(cli(*command, "--help") for command in commands)
    )
    assert version.code == 0
    assert re.fullmatch(r"htx-async \d+\.\d+\.\d+\S*\n", version.out)
    for command, result in zip(commands, helps, strict=True):
        assert result.code == 0
        assert "Example: " + " ".join(("htx-async", *command)) in result.out


@pytest.mark.parametrize(("missing", "args"), [("typer", "--version"), ("rich", "demo")])
async def test_a_missing_extra_is_one_plain_line(missing: str, args: str) -> None:
    """Without typer or rich: exit 2 and the command that installs them."""
    program = (
        f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = [{args!r}]\n"
        "from htx_async.__main__ import main; main()"
    )
    result = await ended(await started("-c", program))
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1
    assert 'pip install "htx-async[cli]"' in result.err


async def test_nothing_is_loaded_before_it_is_needed() -> None:
    """The package loads no command line, and the command line no web server and no demo."""
    program = (
        "import sys, htx_async\n"
        "print({'typer', 'rich', 'htx_async.cli', 'htx_async.demo'} & set(sys.modules))\n"
        "import htx_async.cli\n"
        "print({'aiohttp.web', 'htx_async.simulator', 'htx_async.demo'} & set(sys.modules))\n"
    )
    result = await ended(await started("-c", program))
    assert result.out.split() == ["set()", "set()"]
