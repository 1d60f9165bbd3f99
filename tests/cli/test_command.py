"""The command line beside its cancels: help, completion, doctor, simulate, what it loads."""

import asyncio
import importlib.util
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from htx_async.cli.exit_codes import HELP
from htx_async.cli.values import _member
from htx_async.enums import Direction, MarginModeLike
from htx_async.simulator import SimulatedExchange
from tests.support.command import (
    ACCESS,
    PATIENCE,
    SECRET,
    Run,
    Terminal,
    after_plan,
    cli,
    ended,
    exchange_of_the_command,
    one_by_one,
    plain,
    started,
)
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
async def exchange() -> AsyncIterator[SimulatedExchange]:
    async with exchange_of_the_command() as opened:
        yield opened


async def test_version_and_help() -> None:
    """--version gives one line; every command's help has an example, cancel-all's many, and none
    shows what a variable holds."""
    commands = ((), ("demo",), ("simulate",), ("doctor",), ("open",), ("cancel-all",))
    secret = {"HTX_REDIS_URL": "redis://:planted@127.0.0.1:1", "HTX_ACCOUNT": "planted"}
    version, *helps = await one_by_one(
        ("--version",), *(Run((*command, "--help"), secret) for command in commands)
    )
    assert version.code == 0
    assert re.fullmatch(r"htx-async \d+\.\d+\.\d+\S*\n", version.out)
    for command, result in zip(commands, helps, strict=True):
        assert (result.code, result.err) == (0, "")
        assert re.search(r"^  Examples?:", result.out, re.MULTILINE), command
        assert "htx-async " + " ".join(command) in result.out.partition("Example")[2]
        assert "planted" not in result.out
    examples = re.findall(r"^ +(?:.*\| )?htx-async cancel-all (.*)$", helps[-1].out, re.MULTILINE)
    told = " ".join(examples)
    for option in ("--dry-run", "--contracts-from -", "--until-clear", "--audit", "--json"):
        assert option in told
    for option in ("--all", "--margin both", "--confirm", "--redis"):
        assert option in told


def test_the_pages_have_every_exit_code_as_help_tells_it() -> None:
    """README and docs/operators.md name the same codes with the same words, and none besides."""
    told = dict(re.findall(r"^ +(\d+)  ([\w -]+)", HELP, re.MULTILINE))
    assert len(told) == 8
    for page in ("README.md", "docs/operators.md"):
        text = (ROOT / page).read_text().partition("| exit code |")[2]
        table = dict(re.findall(r"^\| (\d+) \| ([\w -]+)", text.partition("\n\n")[0], re.MULTILINE))
        assert table == told, page


COMPLETED: dict[str, set[str]] = {
    "htx-async can": {"cancel-all"},
    "htx-async cancel-all --direction ": {"buy", "sell"},
    "htx-async open --margin ": {"isolated", "cross", "both"},
    "htx-async cancel-all --until": {"--until-clear"},
}


async def test_the_shell_completes() -> None:
    """What bash asks while somebody types is answered with commands, options and values."""
    asks = [
        {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)} for words in COMPLETED
    ]
    results = await one_by_one(
        *(Run((), {"_HTX_ASYNC_COMPLETE": "complete_bash", **ask}) for ask in asks)
    )
    for (words, completed), result in zip(COMPLETED.items(), results, strict=True):
        assert (result.code, result.err) == (0, ""), words
        assert set(result.out.split()) == completed


async def test_completion_can_be_installed(tmp_path: Path) -> None:
    """--show-completion prints the script for bash, --install-completion puts it in its place."""
    home = {"HOME": tmp_path, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    shown, installed = await asyncio.gather(
        cli("--show-completion", "bash", **home), cli("--install-completion", "bash", **home)
    )
    assert (shown.code, installed.code) == (0, 0), installed.err
    assert "_HTX_ASYNC_COMPLETE=complete_bash" in shown.out
    assert installed_script(tmp_path) == shown.out.strip()


def installed_script(home: Path) -> str:
    (script,) = home.rglob("htx-async.sh")
    return script.read_text().strip()


async def test_doctor_tells_what_it_found(exchange: SimulatedExchange) -> None:
    """Against a host that answers every finding is ok and none has advice; nothing but the host's
    clock and a list of open orders in each margin mode was asked, and that is said."""
    exchange.place("ETH-USDT", "sell", "close", 2, margin_mode="cross")
    result = await cli("doctor", "--base-url", exchange.url)
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert all(line.startswith("ok   ") for line in lines), lines
    assert any(line.startswith("ok   keys: ") for line in lines)
    assert any(line.startswith(f"ok   {exchange.url}: ") for line in lines)
    assert any(line.startswith("ok   generation: v1 (given)") for line in lines)
    told = dict(line.removeprefix("ok   ").split(": ", 1) for line in lines if "http" not in line)
    assert list(told)[-3:] == ["keys accepted", "generation", "open orders"]
    assert told["open orders"] == (
        "isolated margin: 0 open on BTC-USDT alone, by its own list; "
        "cross margin: 2 open on any contract, by one list"
    )
    lists = {one.path for one in exchange.arrivals if one.method != "GET"}
    assert lists == {f"/linear-swap-api/v1/swap_{one}track_openorders" for one in ("", "cross_")}


async def test_doctor_tells_of_the_account_only_what_a_signed_reply_shows(
    exchange: SimulatedExchange,
) -> None:
    """A key that is refused is a finding of its own, with the variables to look at, and nothing is
    said of the generation; at 40 columns no word of it is broken."""
    terminal = Terminal(40)
    command = ("-m", "htx_async", "doctor", "--base-url", exchange.url)
    process = await terminal.started(*command, HTX_SECRET_KEY="another")
    result = await terminal.ended(process)
    terminal.close()
    assert result.code == 6
    lines = plain(result.out).splitlines()
    told = " ".join(line.strip() for line in lines)
    assert "FAIL keys accepted: refused by" in told
    assert "code 403" in told
    assert "-> check that HTX_ACCESS_KEY and HTX_SECRET_KEY" in told
    assert "generation" not in told
    assert max(map(len, lines)) <= 40
    assert "counted in the memory of this process" in told


async def test_doctor_tells_which_generation_an_account_is_on() -> None:
    """And how that was found out; an account that has moved is looked for on V5."""
    settings: dict[str, Any] = {"access_key": ACCESS, "secret_key": SECRET, "v1_variant": "6002"}
    told_of = {"v1": "v1 (V5 answered 6001", "v5": "v5 (v1 answered 6002"}
    for account, told in told_of.items():
        settings["account"] = account
        async with SimulatedExchange(**settings) as exchange:
            result = await cli("doctor", "--base-url", exchange.url, "--generation", "auto")
        assert result.code == 0
        assert f"ok   generation: {told}" in result.out


@pytest.mark.parametrize("margin", ["isolated", "cross"])
async def test_doctor_tells_that_a_list_of_v1_shows_orders(margin: MarginModeLike) -> None:
    """In either margin mode: that is more than an assumption, and less than a proof. The other
    list is empty, and so is V5's."""
    known: dict[str, Any] = {"access_key": ACCESS, "secret_key": SECRET, "v5_refusal": None}
    async with SimulatedExchange(**known) as exchange:
        exchange.place("BTC-USDT", "sell", "close", margin_mode=margin)
        result = await cli("doctor", "--base-url", exchange.url, "--generation", "auto")
    told = "v1 has named orders of the account, and none moves with orders open: an inference"
    assert (result.code, f"ok   generation: v1 ({told})" in result.out) == (0, True), result.out


@pytest.mark.slow
@pytest.mark.long
async def test_a_variable_that_is_empty_sends_nothing_anywhere_unsaid(refusing_url: str) -> None:
    """An empty HTX_BASE_URL counts as not set, as every variable but a key does; where requests go
    then is told on stderr, whatever the command, and nothing is said of one that is not set. No
    host is reached here: the way leads through a proxy that is not there."""
    hosts = "https://api.hbdm.com, then https://api.hbdm.vn"
    line = f"HTX_BASE_URL is set and empty, so requests go to {hosts}.\n"
    way = ("--proxy", refusing_url, "--no-host-limit", "--deadline", "0.1")
    dry = ("cancel-all", "BTC-USDT", "--dry-run", *way)
    names = ("HTX_BASE_URL", "HTX_GENERATION", "HTX_AUDIT", "HTX_REDIS_URL", "HTX_SHARE_OF")
    empty = dict.fromkeys(names, "")
    plan, listed, well, unset = await one_by_one(
        Run(dry, empty),
        Run(("open", "BTC-USDT", *way), empty),
        Run(("doctor", *way[:3]), empty),
        Run(dry, dict.fromkeys(empty)),
    )
    guarded = await cli("guard", "BTC-USDT", *way, "--", "true", **empty)
    assert [plan.err, unset.err] == [line, ""]
    assert listed.err.startswith(line)
    assert well.err == line
    assert guarded.err.startswith(f"guard: {line}")
    assert f"sent to    {hosts}\n" in plan.out
    assert plan.out == unset.out


async def test_doctor_exits_6_when_a_cancel_might_not_be_sent(
    exchange: SimulatedExchange, refusing_url: str
) -> None:
    """A dead host is a FAIL with advice, in words and as JSON, however well the other one is."""
    urls = ("--base-url", exchange.url, "--base-url", refusing_url)
    plain, as_json = await asyncio.gather(
        cli("doctor", *urls), cli("doctor", *urls, "--json", PYTHONIOENCODING="latin-1")
    )
    assert (plain.code, plain.err, as_json.code, as_json.err) == (6, "", 6, "")
    lines = plain.out.splitlines()
    (failed,) = [number for number, line in enumerate(lines) if line.startswith("FAIL ")]
    assert lines[failed].startswith(f"FAIL {refusing_url}: ")
    assert lines[failed + 1].startswith("     -> ")
    wrong = [finding for finding in json.loads(as_json.out) if not finding["ok"]]
    assert [finding["subject"] in lines[failed] for finding in wrong] == [True]
    assert wrong[0]["advice"]


async def test_doctor_exits_2_without_keys_and_on_wrong_usage(refusing_url: str) -> None:
    """Missing keys are a finding and outweigh a dead host; a base URL that is none is usage."""
    missing, usage = await one_by_one(
        Run(("doctor", "--base-url", refusing_url), {"HTX_SECRET_KEY": None}),
        ("doctor", "--base-url", "http://example.com"),
    )
    assert (missing.code, missing.err) == (2, "")
    assert "FAIL keys: " in missing.out
    assert (usage.code, usage.out) == (2, "")
    assert "https" in usage.err


async def test_doctor_on_a_full_disk_keeps_its_exit_code(refusing_url: str) -> None:
    """What could not be printed is summed up on stderr."""
    full = os.open("/dev/full", os.O_WRONLY)
    command = ("-m", "htx_async", "doctor", "--base-url", refusing_url)
    result = await ended(await started(*command, streams={"stdout": full}))
    os.close(full)
    assert result.code == 6
    assert refusing_url in result.err
    assert "No space left on device" in result.err


async def test_an_interrupted_doctor_exits_130(black_hole_url: str) -> None:
    """Ctrl-C ends it at once, with one line."""
    process = await started("-c", WHEN_CONNECTING, "doctor", "--base-url", black_hole_url)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert (result.code, result.out) == (130, "")
    assert result.err == "Interrupted; no order was touched.\n"


WHEN_CONNECTING = """
import asyncio
connect = asyncio.selector_events.BaseSelectorEventLoop.sock_connect
def told(*args):
    print("connecting", flush=True)
    return connect(*args)
asyncio.selector_events.BaseSelectorEventLoop.sock_connect = told
from htx_async.__main__ import main; main()
"""


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
    result = await cli(*command.split(), "--yes", "--json", **keys)
    assert result.code == 0
    assert len(json.loads(result.out)["reports"][0]["successes"]) == 3
    assert not any(key in result.out + result.err for key in keys.values())
    process.send_signal(signal.SIGTERM)
    last = await ended(process)
    assert (last.code, last.err) == (0, "")
    assert "2 requests" in last.out


def _by_way_of(variable: str) -> str:
    """What is said of an option's variable; typers that stand on click name the option alone."""
    names_it = importlib.util.find_spec("typer._click") is not None
    return f" (env var: '{variable}')" if names_it else ""


async def test_what_is_wrong_with_an_option_names_it_and_its_variable(
    exchange: SimulatedExchange,
) -> None:
    """Of whichever command, and also where it is the exchange's or the simulation's business."""
    variables: dict[str, str | None] = {"HTX_GENERATION": "v9"}
    url: dict[str, str | None] = {"HTX_BASE_URL": "https://u:planted@h", "HTX_GENERATION": "V5"}
    to = ("--base-url", exchange.url)
    results = await one_by_one(
        Run(("open", *to), variables),
        Run(("doctor", *to), variables),
        Run(("cancel-all", "BTC-USDT", "--yes", *to), variables),
        Run(("open",), url),
        ("open", "--base-url", ""),
        ("cancel-all", "BTC-USDT", "--dry-run", "--base-url", ""),
        ("simulate", "place", "BTC-USDT", "--orders", "0", *to),
    )
    generation = (
        f"Invalid value for '--generation'{_by_way_of('HTX_GENERATION')}: 'v9' is not one of"
    )
    base_url = f"Invalid value for '--base-url'{_by_way_of('HTX_BASE_URL')}: "
    names = (*(generation,) * 3, *(base_url,) * 3, "Invalid value for '--orders': ")
    for result, name in zip(results, names, strict=True):
        assert (result.code, result.out) == (2, "")
        assert name in result.err
        assert "planted" not in result.err
    assert exchange.arrivals == ()
    guard = await cli("guard", "BTC-USDT", *to, "--", "true", **variables)
    assert (guard.code, generation in guard.err) == (125, True)


@pytest.mark.parametrize(
    ("text", "told"), [("byu", "'byu'"), ("http://u:planted@proxy.test", "a URL")]
)
def test_a_word_that_is_none_is_shown_unless_it_is_a_url(text: str, told: str) -> None:
    """A slip is seen at once; a proxy's URL in the wrong place keeps its password."""
    with pytest.raises(ValueError, match=f"^{told} is not one of 'buy', 'sell'") as caught:
        _member(Direction, text)
    assert "planted" not in str(caught.value)


async def test_the_help_of_a_guard_says_nothing_of_what_it_has_not() -> None:
    """Neither --until-clear nor a list on stdin; its deadline is of a round; it gives a report."""
    told = " ".join((await cli("guard", "-h")).out.split())
    for words in ("--until-clear", "is stdin", "account is on stderr", "The account as"):
        assert words not in told
    assert "For each of the two rounds" in told


async def test_simulate_on_a_port_in_use_exits_2(exchange: SimulatedExchange) -> None:
    """One plain line says which port, and that it cannot be served."""
    port = exchange.url.rpartition(":")[2]
    result = await cli("simulate", "--port", port)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"port {port} cannot be served: ")


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
    """The package loads no command line, and the command line neither rich, unless typer does by
    itself, nor a web server, nor the demo, the audit log, the doctor and redis."""
    program = (
        "import sys; from htx_async import HtxSession\n"
        "print({'typer', 'rich', 'htx_async.cli', 'htx_async.cli.demo'} & set(sys.modules))\n"
        "import typer; brought = {'rich'} & set(sys.modules)\n"
        "import htx_async.cli.cancel_all, htx_async.cli.open_orders\n"
        "late = {'aiohttp.web', 'rich', 'htx_async.simulator', 'htx_async.cli.demo'}\n"
        "late |= {'htx_async.audit', 'htx_async.doctor', 'redis'}\n"
        "print(late & set(sys.modules) - brought)\n"
    )
    result = await ended(await started("-c", program))
    assert result.out.split() == ["set()", "set()"]


async def test_a_cancel_for_a_program_loads_no_rich(exchange: SimulatedExchange) -> None:
    """With --yes and --json nobody waits for what draws tables, unless typer does by itself."""
    program = (
        "import atexit, sys, typer; brought = set(sys.modules)\n"
        "told = lambda: print('rich' in set(sys.modules) - brought, file=sys.stderr)\n"
        "atexit.register(told)\n"
        "from htx_async.__main__ import main; main()"
    )
    args = ("cancel-all", "BTC-USDT", "--yes", "--json", "--base-url", exchange.url)
    result = await ended(await started("-c", program, *args))
    assert (result.code, after_plan(result.err)) == (0, "False\n")


def test_the_picture_of_a_terminal_is_there_and_loads_nothing() -> None:
    """It is whole, is one that docs/operators.md shows, and names no host but this machine."""
    shown = re.findall(r"!\[[^]]*\]\((\S+\.svg)\)", (ROOT / "docs/operators.md").read_text())
    assert "../benchmarks/pictures/operator.svg" in shown
    picture = (ROOT / "benchmarks/pictures/operator.svg").read_text()
    assert picture.startswith("<svg ")
    assert picture.rstrip().endswith("</svg>")
    hosts = set(re.findall(r"\w+://([^/:<\s\"]+)", picture))
    assert hosts == {"www.w3.org", "127.0.0.1"}
    assert picture.count("www.w3.org") == picture.count('xmlns="http://www.w3.org/2000/svg"') == 1
    assert "@font-face" not in picture
