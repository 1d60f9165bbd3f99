"""aiohttp sessions: our own, and what one of a caller's may bring along."""

import copy
import re
from collections.abc import Iterable, Mapping

from aiohttp import ClientResponse, ClientSession, DummyCookieJar
from yarl import URL

from htx_async.errors import InvalidRequest
from htx_async.transport.name_lookup import Connector

_HARMLESS = frozenset(
    {"accept", "accept-charset", "accept-encoding", "accept-language", "content-type"}
    | {"user-agent", "b3", "baggage", "correlation-id", "request-id", "sentry-trace"}
    | {"traceparent", "tracestate"}
)
"""Default headers that say who asks and for which trace; of agent and content ours replace them.

What may be sent is listed rather than what may not: the next standard has the next header that
carries a password, picks a part of the reply or asks the server for another method."""

_OWN = "x-"
"""Names of an owner's choice begin so, and no standard gives them a meaning."""

_NOT_OWN = re.compile(
    r"x-(.*(auth|cookie|credential|csrf|key|passw|secret|session|token|xsrf).*"
    r"|http-.*|method.*|.*override.*|forwarded.*|original-.*|rewrite-.*|ip|.*-ip|host)"
)
"""But for those that servers and their frameworks take for a password, another method, another
address or another path."""


class MuteResponse(ClientResponse):
    """One without the URL in its repr, which is shown by warnings and in the frames of a destructor
    that fails after the loop was closed."""

    def __repr__(self) -> str:
        return f"<ClientResponse {self.status}>"


def new_session(headers: Mapping[str, str]) -> ClientSession:
    """One of our own, which sends `headers` and no cookies and takes nothing from the
    environment."""
    http = ClientSession(
        connector=Connector(),
        headers=headers,
        cookie_jar=DummyCookieJar(),
        response_class=MuteResponse,
        trust_env=False,
    )
    # Process-wide hooks would pass the signed URL on. Not `clear`: the list may be theirs.
    http._trace_configs = []
    return http


def check_harmless(http: object, base_urls: Iterable[str]) -> None:
    """`InvalidRequest` for a session that takes proxies or passwords from the environment, would
    send a password, cookies or headers of its own that change the request to one of `base_urls`,
    or, where one of these is plain http, has a proxy."""
    if not isinstance(http, ClientSession):
        raise InvalidRequest(f"http must be a ClientSession, not {type(http).__name__}")
    urls = tuple(base_urls)
    # aiohttp tells nobody about a session's proxy; over https one sees nothing but a tunnel.
    is_plain = any(url.startswith("http://") for url in urls)
    if is_plain and getattr(http, "_default_proxy", None) is not None:
        raise InvalidRequest(
            "http= is a session with a proxy, which would see signed requests to a base URL of "
            "plain http; use https, or a session without a proxy"
        )
    if http.trust_env:
        raise InvalidRequest(
            "http= is a session with trust_env=True, which sends requests to proxies that the "
            "environment names; make it without trust_env"
        )
    if http.auth is not None:
        raise InvalidRequest(
            "http= is a session with auth=, which sends a password with every request; requests "
            "to the exchange are signed: make it without auth"
        )
    check_headers(http)
    _check_cookies(http, urls)


def check_headers(http: ClientSession) -> None:
    """`InvalidRequest` for default headers but those that cannot change what is sent or how, and
    give nothing away: names of agents and traces, and an owner's own `X-` names."""
    harmful = sorted({name for name in http.headers if not _is_harmless(name.lower())})
    if harmful:
        raise InvalidRequest(
            f"http= is a session that sends {', '.join(harmful)} with every request, and signed "
            "ones take none along that may hold a secret or change what is asked: make it "
            "without them (Accept-Language, traceparent and X- names of your own are "
            "fine)"
        )


def _is_harmless(name: str) -> bool:
    return name in _HARMLESS or (name.startswith(_OWN) and _NOT_OWN.fullmatch(name) is None)


def _check_cookies(http: ClientSession, base_urls: Iterable[str]) -> None:
    jar = http.cookie_jar
    paths = {"/"} | {morsel["path"] for morsel in jar if morsel["path"].startswith("/")}
    for base_url in base_urls:
        if any(jar.filter_cookies(URL(base_url + path)) for path in paths):
            raise InvalidRequest(
                f"http= is a session whose cookie jar would send cookies to {base_url}, and a "
                "signed request takes none along: clear them, or make it with "
                "cookie_jar=aiohttp.DummyCookieJar()"
            )


def without_extras(http: ClientSession) -> ClientSession:
    """A session for one request that shares everything with `http`, its connections and trace
    hooks too, but its cookies: none is sent, and none that comes is kept. To be detached."""
    # By aiohttp's own means cookies can be added to a request, never left out.
    twin = copy.copy(http)
    twin._cookie_jar = DummyCookieJar()
    if twin._response_class is ClientResponse:
        twin._response_class = MuteResponse
    return twin
