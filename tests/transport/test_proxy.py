"""Through a proxy: tunnels only, told as what they are, and nothing of its password anywhere."""

import base64
import logging
from typing import Any

import aiohttp
import pytest

from htx_async import HtxSession, InvalidRequest, NotSent, Outcome
from htx_async.audit import AuditLog
from htx_async.exchange.proxy import Proxy
from htx_async.simulator import SimulatedExchange
from tests.support.connect_proxy import NAME, PASSWORD, USER_INFO, ConnectProxy, behind_a_proxy
from tests.support.fault_server import (
    FaultServer,
    as_json,
    bounded,
    client_tls,
    echoes,
    server_tls,
)
from tests.support.leak_search import in_exception, in_report, in_value

HOST, OTHER = "api.one.test", "api.two.test"
URL = f"https://{HOST}"
CODES = [f"C{number}-USDT" for number in range(12)]
SECRETS = (PASSWORD, USER_INFO, "canary", "ZGVzayBuYW1l")


def session(exchange: SimulatedExchange, proxy: str | None, **settings: Any) -> HtxSession:
    usual = {"base_urls": URL, "ssl": client_tls(), "generation": "v1", "proxy": proxy}
    return HtxSession(exchange.credentials, **{**usual, **settings})


async def failed(exchange: SimulatedExchange, proxy: str, **settings: Any) -> NotSent:
    """How a call ends that no proxy lets through; it is certain that nothing was sent."""
    async with session(exchange, proxy, **settings) as htx:
        with pytest.raises(NotSent) as caught:
            await htx.cancel_all_trailing("BTC-USDT", deadline=0.5)
    assert not exchange.arrivals
    assert not any(attempt.sent for attempt in caught.value.report.attempts)
    return caught.value


async def why(exchange: SimulatedExchange, proxy: str) -> str:
    """Why no connection could be made."""
    async with session(exchange, proxy) as htx:
        (warm,) = await htx.warm_up()
    assert warm.problem is not None
    return warm.problem


def check_secrets(*texts: str) -> None:
    for text in texts:
        assert not [secret for secret in SECRETS if secret in text], text


@pytest.mark.parametrize("is_https", [False, True], ids=["http", "https"])
async def test_a_mass_cancel_goes_through_tunnels_within_the_limit(
    exchange: SimulatedExchange, is_https: bool
) -> None:
    """By the exchange's own clock; the proxy has seen hosts, our agent and its own password, and
    neither paths nor signatures; the exchange has not seen the password."""
    for code in CODES:
        exchange.place(code, "sell", "close")
    tls = server_tls() if is_https else None
    async with behind_a_proxy(exchange, HOST, wants_password=True, tls=tls) as proxy:
        async with session(exchange, proxy.url_with_password) as htx:
            (warm,) = await htx.warm_up()
            report = await htx.mass_cancel_trailing(CODES, look="none")
        assert warm.problem is None
        assert report.is_clear
        assert not exchange.open_orders()
        assert exchange.busiest() <= 5
        assert {(one.method, one.target) for one in proxy.asked} == {("CONNECT", f"{HOST}:443")}
        assert {one.headers["user-agent"] for one in proxy.asked} == {"htx_async"}
        assert {one.host for one in exchange.arrivals} == {HOST}
        clear = bytes(proxy.seen)
    for hidden in (b"swap_track", b"Signature", exchange.credentials.access_key.encode()):
        assert hidden not in clear


@pytest.mark.parametrize(
    ("settings", "with_password", "words"),
    [
        ({"wants_password": True}, False, "HTTP 407 (it wants a name and a password: give them "),
        ({"wants_password": True}, "wrong", "HTTP 407 (it does not take the name and password "),
        ({"status": 403}, True, "refused a tunnel to the exchange, with HTTP 403"),
        ({"is_rude": True}, True, "closed the connection before there was a tunnel"),
    ],
)
async def test_a_tunnel_that_is_refused_is_told_by_the_proxys_name(
    exchange: SimulatedExchange, settings: dict[str, Any], with_password: object, words: str
) -> None:
    """Not sent, by which proxy and why; what to do stands there."""
    async with behind_a_proxy(exchange, HOST, **settings) as proxy:
        url = proxy.url_with_password if with_password else proxy.url
        if with_password == "wrong":
            url = url.replace("desk%20name", "nobody")
        error = await failed(exchange, url)
        told = error.report.attempts[0].message
        assert f"the proxy {proxy.url} " in told
        assert words in told
        check_secrets(*(text for _, text in in_exception(error)), str(error))
        assert len(error.report.attempts) > 1
        # Who goes on with a wrong password is locked out.
        assert (len(proxy.asked) == 1) == ("407" in words)


async def test_a_proxy_that_cannot_be_reached_is_told_from_the_exchange(
    exchange: SimulatedExchange, refusing_url: str
) -> None:
    """Nobody there, no such name, a certificate of its own that nobody knows, TLS where there is
    none; an exchange whose certificate is wrong is still told as the exchange."""
    nobody = refusing_url.replace("//", f"//{USER_INFO}@")
    told = [await why(exchange, nobody)]
    told.append(await why(exchange, f"http://{USER_INFO}@proxy.invalid:3128"))
    async with behind_a_proxy(exchange, "elsewhere.test", tls=server_tls(expired=True)) as proxy:
        told.append(await why(exchange, proxy.url))
    async with behind_a_proxy(exchange, HOST) as plain:
        url = plain.url.replace("http:", "https:")
        told.append(await why(exchange, url))
    async with (
        behind_a_proxy(exchange, OTHER) as other,
        ConnectProxy({HOST: other.ports[OTHER]}) as wrong,
    ):
        told.append(await why(exchange, wrong.url))
        way = f", by way of the proxy {wrong.url}"
    assert not exchange.arrivals
    assert told[0] == f"no connection to the proxy {refusing_url} could be made: Connection refused"
    assert told[1].startswith("the host name of the proxy http://proxy.invalid:3128 was not found")
    assert told[2].startswith(f"the certificate of the proxy {proxy.url} was not accepted: ")
    assert told[3].startswith(f"TLS with the proxy {url} failed")
    assert told[4].startswith("the exchange's certificate was not accepted: ")
    assert told[4].endswith(way)
    check_secrets(*told)


async def test_another_base_url_is_tried_through_the_same_proxy(
    exchange: SimulatedExchange,
) -> None:
    """Where the first host is one that the proxy does not know, and later where it is known but
    has gone: the report tells of both, and the first is tried last for a while."""
    exchange.place("BTC-USDT", "sell", "close")
    async with behind_a_proxy(exchange, OTHER) as proxy:
        urls = (URL, f"https://{OTHER}")
        async with session(exchange, proxy.url, base_urls=urls) as htx:
            report = await htx.cancel_all_trailing("BTC-USDT")
            again = await htx.cancel_all_trailing("BTC-USDT")
    assert report.outcome is Outcome.CANCELLED
    assert [attempt.base_url for attempt in report.attempts] == list(urls)
    assert "with HTTP 502" in report.attempts[0].message
    assert [attempt.base_url for attempt in again.attempts] == [urls[1]]


async def test_a_proxy_that_ends_tunnels_leaves_what_was_sent_unknown(
    exchange: SimulatedExchange,
) -> None:
    """An answer that is lost on the way is no "not sent", and the next attempt tells the truth."""
    exchange.place("BTC-USDT", "sell", "close")
    exchange.lose_after_work()
    async with behind_a_proxy(exchange, HOST) as proxy, session(exchange, proxy.url) as htx:
        report = await htx.cancel_all_trailing("BTC-USDT")
    assert report.outcome is Outcome.CLEAR_AFTER_RETRY
    assert [attempt.sent for attempt in report.attempts] == [True, True]
    assert len(exchange.arrivals) == 2


WRONG = [
    "",
    "proxy.test:3128",
    "socks5://proxy.test:1080",
    "http://",
    "http://proxy.test:0",
    "http://proxy.test:99999",
    "http://proxy.test/path",
    "http://proxy.test?x=1",
    "http://proxy .test",
    "http://proxy.test\r\n",
    "http://canary:pass/word@proxy.test",
    "http://pr\u043exy.test",
    f"ftp://{USER_INFO}@proxy.test",
]


@pytest.mark.parametrize("url", [*WRONG, 3128, b"http://proxy.test"], ids=repr)
def test_what_can_be_no_proxy_is_refused_and_not_repeated(
    url: Any, exchange: SimulatedExchange
) -> None:
    """Before anything is queued, with the form that it must have."""
    with pytest.raises(InvalidRequest, match="must read http://host:port") as caught:
        session(exchange, url)
    check_secrets(*(text for _, text in in_exception(caught.value)))


@pytest.mark.parametrize(
    ("user_info", "pair"),
    [
        (USER_INFO, f"{NAME}:{PASSWORD}".encode()),
        ("d%E9sk:p%FCw", b"d\xe9sk:p\xfcw"),
        ("d%C3%A9sk:p\xfcw", "d\xe9sk:p\xfcw".encode()),
        ("desk", b"desk:"),
        (":%3A%40", b"::@"),
    ],
)
def test_name_and_password_go_to_the_proxy_byte_by_byte(user_info: str, pair: bytes) -> None:
    """As they are encoded in the URL, UTF-8 or not: some proxies of old take Latin-1."""
    sent = Proxy(f"http://{user_info}@proxy.test:3128").headers["Proxy-Authorization"]
    assert base64.b64decode(sent.removeprefix("Basic ")) == pair


@pytest.mark.parametrize("urls", ["http://127.0.0.1:8080", [URL, "http://localhost"]], ids=str)
def test_a_base_url_of_plain_http_has_no_proxy(urls: Any, exchange: SimulatedExchange) -> None:
    """It would read signed URLs, which are credentials: refused, without its password."""
    with pytest.raises(InvalidRequest, match="in the clear") as caught:
        session(exchange, f"http://{USER_INFO}@proxy.test:3128", base_urls=urls)
    assert "http://proxy.test:3128" in str(caught.value)
    check_secrets(*(text for _, text in in_exception(caught.value)))


async def test_a_session_of_the_callers_has_its_own_way(exchange: SimulatedExchange) -> None:
    """`http=` and `proxy=` together are refused, since one of them would not be used."""
    async with aiohttp.ClientSession() as http:
        with pytest.raises(InvalidRequest, match="http= has connections of its own") as caught:
            session(exchange, f"http://{USER_INFO}@proxy.test:3128", http=http)
    check_secrets(*(text for _, text in in_exception(caught.value)))


async def test_the_password_is_shown_nowhere(
    exchange: SimulatedExchange, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Not by the session, its settings, events, the audit log, reports, errors, debug logs, nor to
    who opens up the locals of every frame; and it is not pickled."""
    caplog.set_level(logging.DEBUG)
    heard: list[Any] = []
    with AuditLog(tmp_path / "audit.jsonl") as audit:
        async with behind_a_proxy(exchange, HOST, wants_password=True) as proxy:
            right = proxy.url_with_password
            async with session(exchange, right, on_event=[heard.append, audit]) as htx:
                report = await htx.cancel_all_trailing("BTC-USDT")
            error = await failed_later(
                exchange, right.replace("desk", "risk"), [heard.append, audit]
            )
    way = Proxy(right)
    assert repr(way) == f"<Proxy {proxy.url}>"
    with pytest.raises(TypeError):
        way.__reduce__()
    texts = [text for _, text in (*in_report(report), *in_exception(error), *in_value(htx, "htx"))]
    texts += [repr(heard), (tmp_path / "audit.jsonl").read_text(), caplog.text]
    assert len(heard) > 4
    check_secrets(*texts)


async def failed_later(exchange: SimulatedExchange, proxy: str, on_event: Any) -> NotSent:
    async with session(exchange, proxy, on_event=on_event) as htx:
        with pytest.raises(NotSent) as caught:
            await htx.cancel_all_trailing("ETH-USDT", deadline=0.5)
    return caught.value


@bounded
async def test_a_callers_agent_is_kept_at_the_proxy_and_at_the_exchange() -> None:
    """Who stands in between may let only known agents through; without one it is ours."""
    page = echoes(lambda arrived: as_json({"status": "ok", "ts": 1}))
    agents = []
    async with (
        FaultServer(page, tls=server_tls(HOST)) as server,
        ConnectProxy({HOST: server.port}) as proxy,
    ):
        for headers in ({"User-Agent": "desk/1"}, {}):
            async with (
                aiohttp.ClientSession(proxy=proxy.url, headers=headers) as http,
                session(SimulatedExchange(), None, http=http) as htx,
            ):
                await htx.warm_up()
            asked, request = proxy.asked[-1], server.requests[-1]
            agents.append((asked.headers["user-agent"], request.headers["user-agent"]))
    assert agents[0] == ("desk/1", ["desk/1"])
    assert agents[1][1] == ["htx_async"]


async def test_the_environments_proxies_are_not_used_but_ours_is(
    exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`HTX_PROXY`, for `from_env`, unless it is given; empty is not set."""
    monkeypatch.setenv("HTX_ACCESS_KEY", "access")
    monkeypatch.setenv("HTX_SECRET_KEY", "secret")
    async with behind_a_proxy(exchange, HOST, wants_password=True) as proxy:
        monkeypatch.setenv("HTX_PROXY", proxy.url_with_password)
        settings: dict[str, Any] = {"base_urls": URL, "ssl": client_tls()}
        async with HtxSession.from_env(**settings) as htx:
            assert [one.problem for one in await htx.warm_up()] == [None]
        assert proxy.asked
    HtxSession.from_env(base_urls="http://127.0.0.1:1", proxy=None)
    with pytest.raises(InvalidRequest, match="HTX_PROXY") as caught:
        HtxSession.from_env(base_urls="http://127.0.0.1:1")
    check_secrets(*(text for _, text in in_exception(caught.value)))
    monkeypatch.setenv("HTX_PROXY", "")
    HtxSession.from_env(base_urls="http://127.0.0.1:1")
