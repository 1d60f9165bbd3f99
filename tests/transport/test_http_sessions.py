"""A caller's aiohttp session: what it may not bring along, and what it keeps to itself."""

import asyncio
import random
import warnings
from http.cookies import SimpleCookie
from typing import Any

import aiohttp
import pytest
from yarl import URL

from htx_async import HtxSession, InvalidRequest, NotSent
from tests.support.bad_connections import PATH, Resolver, resolving, session
from tests.support.fault_server import OK, FaultServer, answers, bounded

HOST = "api.example.test"
BASE = f"https://{HOST}"


def jar(unsafe: bool = False) -> aiohttp.CookieJar:
    return aiohttp.CookieJar(unsafe=unsafe)


def cookie(value: str = "1", **attributes: str) -> "SimpleCookie":
    made: SimpleCookie = SimpleCookie()
    made["mine"] = value
    for name, attribute in attributes.items():
        made["mine"][name] = attribute
    return made


async def made(http: aiohttp.ClientSession, *base_urls: str) -> HtxSession:
    return session(base_urls[0], http=http, base_urls=base_urls)


@bounded
async def test_a_session_with_a_password_is_refused() -> None:
    """`auth=` would be sent with every request, and so would the header that says the same."""
    with warnings.catch_warnings():
        # aiohttp would rather have the header, which is refused as well.
        warnings.simplefilter("ignore", DeprecationWarning)
        http = aiohttp.ClientSession(auth=aiohttp.BasicAuth("someone", "something"))
    async with http:
        with pytest.raises(InvalidRequest, match="auth=") as caught:
            session(BASE, http=http)
        assert "something" not in str(caught.value)
    headers = {"Authorization": "Basic c29tZW9uZTpzb21ldGhpbmc="}
    async with aiohttp.ClientSession(headers=headers) as http:
        with pytest.raises(InvalidRequest, match="Authorization"):
            session(BASE, http=http)


FOR_US: dict[str, tuple[dict[str, Any], str]] = {
    "the host": ({}, BASE),
    "its domain": ({"domain": "example.test"}, BASE),
    "a path of ours": ({"path": "/linear-swap-api/v1"}, BASE),
    "https only": ({"secure": "1"}, BASE),
    "another base URL": ({}, "https://other.example.test"),
}
FOR_OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "another host": ({}, "https://www.example.com"),
    "a sibling": ({}, "https://www.example.test"),
    "a subdomain": ({"domain": f"sub.{HOST}"}, f"https://sub.{HOST}"),
}


@pytest.mark.parametrize("kind", FOR_US)
@bounded
async def test_cookies_for_a_base_url_are_refused(kind: str) -> None:
    """Whatever makes the jar send them there; the error names the base URL and no cookie."""
    attributes, origin = FOR_US[kind]
    async with aiohttp.ClientSession(cookie_jar=jar()) as http:
        http.cookie_jar.update_cookies(cookie("a-value", **attributes), URL(origin))
        with pytest.raises(InvalidRequest, match="cookie jar would send cookies to") as caught:
            session(BASE, http=http, base_urls=(BASE, "https://other.example.test"))
        assert "a-value" not in str(caught.value)
        http.cookie_jar.clear()
        await session(BASE, http=http).aclose()


@pytest.mark.parametrize("unsafe", [False, True])
@bounded
async def test_cookies_for_every_host_are_refused(unsafe: bool) -> None:
    """`cookies=` of the session; and those of an address, which only some jars keep."""
    async with aiohttp.ClientSession(cookies={"mine": "1"}) as http:
        with pytest.raises(InvalidRequest, match="cookies"):
            session(BASE, http=http)
    async with aiohttp.ClientSession(cookie_jar=jar(unsafe)) as http:
        http.cookie_jar.update_cookies({"mine": "1"}, URL("http://127.0.0.1:1"))
        if unsafe:
            with pytest.raises(InvalidRequest, match="cookies"):
                session("http://127.0.0.1:1", http=http)
        else:
            await session("http://127.0.0.1:1", http=http).aclose()


@bounded
async def test_the_cookie_header_is_refused() -> None:
    """As a default header it would be sent with every request."""
    async with aiohttp.ClientSession(headers={"cookie": "a=b"}) as http:
        with pytest.raises(InvalidRequest, match="cookie"):
            session(BASE, http=http)


KEPT_BACK = (
    *("Proxy-Authorization", "Cookie2", "Set-Cookie", "X-Api-Key", "X-Auth-Token", "X-CSRFToken"),
    *("ACCESS-KEY", "WWW-Authenticate", "X-Amz-Security-Token", "x-session-id", "X-Password"),
    *("TE", "Keep-Alive", "Proxy-Connection", "HTTP2-Settings", "Content-Type ", "Via"),
    *("Range", "If-Match", "If-None-Match", "If-Range", "Prefer", "Cache-Control", "Referer"),
    *("X-HTTP-Method-Override", "x-http-method", "X-Method-Override", "X-Original-URL"),
    *("X-Rewrite-URL", "X-Forwarded-For", "X-Forwarded-Host", "Forwarded", "X-Real-IP", "X-Host"),
    *("X-Original-Method", "True-Client-IP", "X-Cluster-Client-IP", "Origin", "Early-Data"),
)
LET_THROUGH = (
    *(
        "ACCEPT-LANGUAGE",
        "Accept-Charset",
        "traceparent",
        "tracestate",
        "baggage",
        "b3",
    ),
    *("X-Request-ID", "x-mine", "X-B3-TraceId", "X-Cloud-Trace-Context", "X-Amzn-Trace-Id"),
    *("sentry-trace", "X-Datadog-Trace-Id", "Request-Id", "X-Requested-With"),
)


@bounded
async def test_only_headers_of_agents_and_traces_go_along() -> None:
    """What may be a secret, frames a message or asks for something else is refused, whoever will
    have thought of it; random mixes, of which each is refused for just what is wrong with it."""
    drawn = random.Random(11)
    async with FaultServer(answers(OK)) as server:
        for bad in (*KEPT_BACK, *("" for _ in LET_THROUGH)):
            good = drawn.sample(LET_THROUGH, 3)
            headers = dict.fromkeys([*good, bad] if bad else good, "a-value")
            async with aiohttp.ClientSession() as http:
                http.headers.update(headers)
                if bad:
                    with pytest.raises(InvalidRequest) as caught:
                        session(server.url, http=http)
                    assert str(caught.value).partition(" sends ")[2].startswith(f"{bad} with ")
                    assert "a-value" not in str(caught.value)
                    continue
                async with session(server.url, http=http, generation="v1") as htx:
                    await htx.cancel_all_trailing("BTC-USDT")
            sent = server.requests[-1].headers
            assert [sent.get(name.lower()) for name in good] == [["a-value"]] * 3
        assert len(server.requests) == len(LET_THROUGH)


@pytest.mark.parametrize("kind", FOR_OTHERS)
@bounded
async def test_cookies_for_others_are_nobodys_business(kind: str) -> None:
    """A session that has them is taken, and keeps them."""
    attributes, origin = FOR_OTHERS[kind]
    async with aiohttp.ClientSession(cookie_jar=jar()) as http:
        http.cookie_jar.update_cookies(cookie(**attributes), URL(origin))
        await session(BASE, http=http).aclose()
        assert len(http.cookie_jar) == 1


@bounded
async def test_cookies_that_come_later_are_not_sent() -> None:
    """Those that the caller gets meanwhile, from the exchange's host too, stay out of our requests,
    which go all the same; and those of our answers stay out of the caller's jar."""
    sets = answers(OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n", 1))
    async with FaultServer(sets) as server:
        async with resolving(Resolver(server.port), cookie_jar=jar()) as http:
            url = f"http://{HOST}"
            async with session(server.url, http=http) as htx:
                # Plain http is for this machine only: the name is put in afterwards.
                htx._opening._base_urls.all = (url,)
                await htx.cancel_all_trailing("BTC-USDT")
                assert len(http.cookie_jar) == 0
                http.cookie_jar.update_cookies({"later": "1"}, URL(url))
                await htx.cancel_all_trailing("BTC-USDT")
                async with http.get(url) as response:
                    assert response.status == 200
        *ours, theirs = server.requests
    assert [request.headers.get("cookie") for request in ours] == [None, None]
    assert theirs.headers["cookie"] == ["later=1"]


@bounded
async def test_a_header_that_comes_later_is_refused_before_anything_is_queued() -> None:
    """Default headers can be changed while the session lives; taken out again, calls go on."""
    async with FaultServer(answers(OK)) as server, aiohttp.ClientSession() as http:
        async with session(server.url, http=http) as htx:
            await htx.cancel_all_trailing("BTC-USDT")
            for name in ("Authorization", "Cookie", "Host"):
                http.headers[name] = "later"
                with pytest.raises(InvalidRequest, match=name):
                    await htx.cancel_all_trailing("BTC-USDT")
                with pytest.raises(InvalidRequest, match=name):
                    await htx.mass_cancel_trailing(["BTC-USDT"])
                del http.headers[name]
            await htx.cancel_all_trailing("BTC-USDT")
        assert len(server.requests) == 2


@bounded
async def test_a_callers_session_is_left_as_it_was() -> None:
    """Its connections, hooks and jar are used or kept, none is closed, nothing is warned of."""
    told: list[str] = []
    hooks = aiohttp.TraceConfig()

    async def started(_: aiohttp.ClientSession, __: Any, params: Any) -> None:
        told.append(params.method)

    hooks.on_request_start.append(started)
    async with FaultServer(answers(OK)) as server:
        async with aiohttp.ClientSession(trace_configs=[hooks], cookie_jar=jar()) as http:
            kept = http.cookie_jar
            async with session(server.url, http=http) as htx:
                for _ in range(2):
                    await htx.cancel_all_trailing("BTC-USDT")
            async with http.post(server.url) as response:
                assert response.status == 200
            assert http.cookie_jar is kept
            assert not http.closed
        assert told == ["POST"] * 3
        # Ours verify certificates in their own way, so one of them is for the caller's request.
        assert [len(connection.requests) for connection in server.connections] == [2, 1]


@bounded
async def test_any_mix_of_settings_is_refused_or_changes_nothing() -> None:
    """Eighty random sessions, with passwords, cookies and headers in any mix, before and
    after: a call that is made arrives as it should, and what is refused was sent nothing."""
    drawn = random.Random(7)
    refused = sent = 0
    async with FaultServer(answers(OK)) as server:
        for _ in range(80):
            harmful = drawn.random() < 0.5
            settings: dict[str, Any] = {"headers": {"X-Mine": "1"}, "cookie_jar": jar(True)}
            act = drawn.choice(["header", "cookies", "jar"]) if harmful else ""
            if act == "header":
                settings["headers"] = {drawn.choice(["Host", "COOKIE", "authorization"]): "x"}
            elif act == "cookies":
                settings["cookies"] = {"mine": "1"}
            async with aiohttp.ClientSession(**settings) as http:
                if act == "jar":
                    http.cookie_jar.update_cookies({"mine": "1"}, URL(server.url))
                if harmful:
                    with pytest.raises(InvalidRequest):
                        session(server.url, http=http)
                    refused += 1
                    continue
                async with session(server.url, http=http, generation="v1") as htx:
                    if drawn.random() < 0.5:
                        http.cookie_jar.update_cookies({"later": "1"}, URL(server.url))
                    await htx.cancel_all_trailing("BTC-USDT")
                    sent += 1
        assert len(server.requests) == sent
        for request in server.requests:
            assert not {"cookie", "authorization"} & set(request.headers)
            assert request.headers["host"] == [f"127.0.0.1:{server.port}"]
    assert min(refused, sent) > 20


@bounded
async def test_a_look_up_that_others_cancel_is_a_failed_attempt() -> None:
    """aiohttp shares one look-up among all that ask for a name: its end is not the call's. What
    was not sent is tried again, and the call is told as not sent at its deadline."""
    asked = asyncio.Event()

    async def hangs() -> None:
        asked.set()
        await asyncio.Event().wait()

    connector = aiohttp.TCPConnector(resolver=Resolver(1, hangs))
    async with aiohttp.ClientSession(connector=connector) as http:
        before = asyncio.all_tasks()
        async with session(BASE, http=http, deadline=0.5) as htx:
            call = asyncio.create_task(htx.cancel_all_trailing("BTC-USDT"))
            await asked.wait()
            (look_up,) = asyncio.all_tasks() - before - {call}
            look_up.cancel()
            with pytest.raises(NotSent) as caught:
                await call
            assert call.cancelling() == 0
    first, *others = caught.value.report.attempts
    assert "cancelled by others" in first.message
    assert others
    assert {attempt.sent for attempt in (first, *others)} == {False}


def test_the_path_of_the_calls_is_as_assumed() -> None:
    """The tests of paths above mean something."""
    assert PATH.startswith("/linear-swap-api/v1")
