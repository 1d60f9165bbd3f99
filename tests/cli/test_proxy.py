"""The command through a proxy, as a process: what arrives, what is told, and what is not."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from htx_async.simulator import SimulatedExchange
from tests.support.command import Ended, Run, Terminal, cli, exchange_of_the_command, one_by_one
from tests.support.connect_proxy import PASSWORD, USER_INFO, ConnectProxy, behind_a_proxy
from tests.support.fault_server import authority

pytestmark = pytest.mark.slow

HOST, GONE = "api.one.test", "api.gone.test"
URL = f"https://{HOST}"


@asynccontextmanager
async def outside(
    tmp_path: Path, **settings: Any
) -> AsyncIterator[tuple[SimulatedExchange, ConnectProxy, dict[str, str]]]:
    """An exchange behind a proxy that wants a password, and the variables that lead there."""
    file = tmp_path / "authority.pem"
    authority().cert_pem.write_to_path(str(file))
    async with (
        exchange_of_the_command(contracts=["BTC-USDT", "ETH-USDT"]) as exchange,
        behind_a_proxy(exchange, HOST, wants_password=True, **settings) as proxy,
    ):
        variables = {"SSL_CERT_FILE": str(file), "HTX_BASE_URL": URL}
        yield exchange, proxy, {**variables, "HTX_PROXY": proxy.url_with_password}


def check_secrets(*results: Ended) -> None:
    for result in results:
        for secret in (PASSWORD, USER_INFO, "canary", "desk%20name"):
            assert secret not in result.out + result.err


async def test_orders_are_cancelled_by_way_of_a_proxy(tmp_path: Path) -> None:
    """On a terminal, with its authority by SSL_CERT_FILE: the plan and the end as ever, every
    request in a tunnel, and neither screen nor audit log shows the password."""
    async with outside(tmp_path) as (exchange, proxy, variables):
        exchange.place("BTC-USDT", "sell", "close", 2)
        audit = tmp_path / "audit.jsonl"
        terminal = Terminal()
        try:
            args = ("cancel-all", "--all", "--yes", "--audit", str(audit))
            process = await terminal.started("-m", "htx_async", *args, **variables)
            shown = await terminal.ended(process)
        finally:
            terminal.close()
        listed = await cli("open", "--json", **variables)
        assert (shown.code, listed.code, json.loads(listed.out)) == (0, 0, [])
        assert not exchange.open_orders()
        assert {one.target for one in proxy.asked} == {f"{HOST}:443"}
        assert {one.host for one in exchange.arrivals} == {HOST}
        check_secrets(shown, listed, Ended(0, audit.read_text(), ""))


@pytest.mark.slow
@pytest.mark.long
async def test_what_goes_wrong_with_a_proxy_is_told(tmp_path: Path) -> None:
    """Plain http, what is no proxy, a wrong password, a wrong host before a right one: exit codes
    and words say what is known and what to do, without the password."""
    async with outside(tmp_path) as (exchange, proxy, variables):
        exchange.place("BTC-USDT", "sell", "close")
        wrong = variables["HTX_PROXY"].replace("desk", "risk")
        cancel = ("cancel-all", "BTC-USDT", "--yes", "--deadline", "2")
        plain, none, refused, bare, second, shown = await one_by_one(
            Run((*cancel, "--base-url", exchange.url), variables),
            Run((*cancel, "--proxy", "canary.test:3128"), variables),
            Run(cancel, {**variables, "HTX_PROXY": wrong}),
            Run((*cancel, "--proxy", proxy.url), variables),
            Run((*cancel, "--base-url", f"https://{GONE}", "--base-url", URL), variables),
            # Whoever gives it so has shown it to the process list, and nothing here adds to that.
            Run((*cancel, "--proxy", wrong), {**variables, "HTX_PROXY": None}),
        )
        assert [plain.code, none.code, refused.code, bare.code, second.code] == [2, 2, 6, 6, 0]
        for result in (plain, none):
            assert result.out == ""
            assert result.err.count("\n") == 1
        assert "in the clear" in plain.err
        assert "must read http://host:port" in none.err
        assert f"the proxy {proxy.url} refused a tunnel" in refused.out
        assert "HTTP 407 (it does not take the name and password" in refused.out
        assert "give them with its URL, http://name:password@host:port" in bare.out
        assert exchange.busiest(60.0) == 1
        assert shown.code == 6
        assert "with --proxy as before" in shown.out
        check_secrets(plain, none, refused, bare, second, shown)


def lines(result: Ended, subject: str) -> list[str]:
    """The findings of a doctor about a subject, each with its advice."""
    text = result.out.replace("\n     ", " ")
    return [
        line for line in text.splitlines() if line.split(" ", 1)[1].lstrip().startswith(subject)
    ]


async def test_a_doctor_tells_of_proxies_that_are_used_and_not_used(tmp_path: Path) -> None:
    """By way of ours all is well; with HTTPS_PROXY, in any case, or ALL_PROXY, which are not used,
    it says what to do where the exchange is not reached, and shows no value; SSL_CERT_FILE is named
    where an authority is not known."""
    async with outside(tmp_path) as (exchange, proxy, variables):
        hidden = f"http://{USER_INFO}@127.0.0.1:1"
        direct: dict[str, str | None] = {**variables, "HTX_PROXY": None}
        foreign = {**variables, "SSL_CERT_FILE": os.devnull}
        well, lower, both, unneeded = await one_by_one(
            Run(("doctor",), variables),
            Run(("doctor",), {**direct, "https_proxy": hidden}),
            Run(("doctor",), {**direct, "HTTPS_PROXY": hidden, "ALL_PROXY": hidden}),
            Run(("doctor", "--base-url", exchange.url), {**direct, "All_Proxy": hidden}),
        )
        # In a process of its own, which reads it once.
        unknown = await cli("doctor", **foreign)
        assert well.code == 0
        (told,) = lines(well, "proxy")
        assert told.startswith(f"ok   proxy: requests go by way of {proxy.url}")
        assert len(lines(well, URL)) == 1
        for result, names in ((lower, "https_proxy is"), (both, "ALL_PROXY and HTTPS_PROXY are")):
            assert result.code == 6
            (told,) = lines(result, "proxy")
            assert told.startswith(f"FAIL proxy: {names} set and not used -> ")
            assert "--proxy or HTX_PROXY" in told
        (told,) = lines(unneeded, "proxy")
        assert unneeded.code == 0
        assert told.startswith("ok   proxy: All_Proxy is set and not used, nor needed")
        assert unknown.code == 6
        (told,) = lines(unknown, "proxy")
        assert "SSL_CERT_FILE" in told
        # Nobody knows yet whether the host is there.
        (told,) = lines(unknown, URL)
        assert " -> do what is said of the proxy below" in told
        check_secrets(well, lower, both, unneeded, unknown)


async def test_a_doctor_goes_on_where_plain_http_may_not_use_the_proxy(tmp_path: Path) -> None:
    """It is a finding of the proxy's, with advice and without the password, beside those of the
    keys and the limiter; what can be no proxy is a mistake."""
    async with outside(tmp_path) as (exchange, proxy, variables):
        exposed, none = await one_by_one(
            Run(("doctor", "--base-url", exchange.url), variables),
            Run(("doctor", "--base-url", exchange.url), {**variables, "HTX_PROXY": "canary"}),
        )
        assert (exposed.code, none.code, none.out) == (6, 2, "")
        (told,) = lines(exposed, "proxy")
        assert told.startswith(f"FAIL proxy: the proxy {proxy.url} would see signed requests to ")
        assert " so nothing is sent -> use https, or no proxy for it " in told
        subjects = [line.split()[1] for line in exposed.out.splitlines() if line[0] != " "]
        assert subjects == ["keys:", "proxy:", "limiter:"]
        check_secrets(exposed, none)
