"""Looks for secrets in all that an exception shows, and in what hangs on it."""

import asyncio
import base64
import pickle
import re
import secrets
import traceback
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
from rich.pretty import pretty_repr
from sentry_sdk.serializer import serialize

from htx_async import CancelReport, Credentials, HtxSession, RetryPolicy, TokenBucket
from htx_async.exchange.messages import Request
from htx_async.exchange.signing import sign
from tests.support.fault_server import Arrived, FaultServer, Script, as_json, client_tls
from tests.support.paths import TESTS

PATH = "/linear-swap-api/v1/swap_track_cancelall"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
Found = set[tuple[str, str]]
Texts = Iterator[tuple[str, str]]


def in_exception(error: BaseException, where: str = "exception") -> Texts:
    """Everything that an exception shows, and all that hangs on it."""
    seen: set[int] = set()
    waiting = [(where, error)]
    while waiting:
        name, one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield f"str of {name}", str(one)
        yield f"repr of {name}", repr(one)
        yield f"args of {name}", repr(one.args)
        yield f"attributes of {name}", repr(vars(one))
        yield f"format of {name}", "".join(traceback.format_exception(one))
        with suppress(TypeError, AttributeError, pickle.PicklingError):
            yield f"pickle of {name}", pickle.dumps(one).decode("latin-1")
        yield from in_frames(one.__traceback__, name)
        links = [("cause", one.__cause__), ("context", one.__context__)]
        if isinstance(one, BaseExceptionGroup):
            links += [(f"member {number}", one) for number, one in enumerate(one.exceptions)]
        waiting += [(f"{link} of {name}", linked) for link, linked in links if linked is not None]


def in_frames(trace: TracebackType | None, name: str) -> Texts:
    """The locals of all frames but those of the tests, which hold the canaries themselves."""
    for frame, _ in traceback.walk_tb(trace):
        if frame.f_code.co_filename.startswith(str(TESTS)):
            continue
        for variable, value in frame.f_locals.items():
            where = f"{frame.f_code.co_qualname}: {variable}, in {name}"
            yield from in_value(value, where)


def in_value(value: object, where: str) -> Texts:
    """What reporters make of a local: its texts, and what they open it up to."""
    yield f"repr of {where}", repr(value)
    yield f"str of {where}", str(value)
    yield f"pretty {where}", pretty_repr(value)
    yield f"serialised {where}", str(serialize({"value": value}, is_vars=True))
    with suppress(Exception):
        yield f"pickle of {where}", pickle.dumps(value).decode("latin-1")


def in_report(report: CancelReport) -> Texts:
    """Everything that a report shows."""
    yield "str of report", str(report)
    yield "repr of report", repr(report)
    yield "dump of report", repr(report.model_dump())
    yield "json of report", report.model_dump_json()
    yield "pickle of report", pickle.dumps(report).decode("latin-1")


def forms(request: Arrived, url: str) -> dict[str, str]:
    """What a request must not be found by."""
    quoted = request.query.rpartition("&Signature=")[2]
    raw = unquote(quoted)
    bare = raw.rstrip("=")
    return {
        "url": f"{url}{request.target}",
        "query": request.query,
        "decoded query": unquote(request.query),
        "signature": raw,
        "quoted signature": quoted,
        "signature without padding": bare,
        "quoted signature without padding": quote(bare, safe=""),
        "signature quoted in lower case": re.sub(
            "%..", lambda m: m[0].lower(), quote(bare, safe="")
        ),
        "signature quoted twice": quote(quote(bare, safe=""), safe=""),
        "signature of a form": bare.replace("+", " "),
    }


class Stage:
    """One call's surroundings: canaries, what was made, and what came out."""

    def __init__(self, access_key: str | None = None, *, callers: bool = False) -> None:
        self.access_key = access_key or f"canary-{secrets.token_hex(16)}-access"
        self.secret_key = f"canary.{secrets.token_urlsafe(32)}.secret"
        self.credentials = Credentials(self.access_key, self.secret_key)
        self.callers = callers
        self.signature: re.Pattern[str] | None = None
        self.servers: list[FaultServer] = []
        self.texts: list[tuple[str, str]] = []
        self.outcome: CancelReport | BaseException | None = None

    def server(self, *scripts: Script, **settings: Any) -> FaultServer:
        """A server whose requests are known to the search."""
        made = FaultServer(*scripts, **settings)
        self.servers.append(made)
        return made

    @asynccontextmanager
    async def session(self, *urls: str, **settings: Any) -> Any:
        """A session with the canaries; its own repr is part of what is searched."""
        http = aiohttp.ClientSession() if self.callers else None
        given = {
            "base_urls": urls,
            "limiter": TokenBucket(1000),
            "retry": RetryPolicy(repeat_unknown=False),
            "attempt_timeout": 5.0,
            "deadline": 5.0,
            "ssl": client_tls(),
            "http": http,
            "now": self._now(urls[0]),
        }
        try:
            async with HtxSession(self.credentials, **{**given, **settings}) as htx:
                yield htx
                for one in (htx, self.credentials, vars(htx), vars(htx._opening.transport)):
                    self.texts.append(("repr of the session's parts", repr(one)))
                self.texts.append(("str of the session", f"{htx} {self.credentials}"))
        finally:
            if http is not None:
                await http.close()

    async def call(self, htx: HtxSession, *args: Any, **settings: Any) -> None:
        """One call, whose ending is kept."""
        try:
            self.keep(await htx.cancel_all_trailing(*(args or ("BTC-USDT",)), **settings))
        except (Exception, asyncio.CancelledError) as error:
            self.keep(error)

    def keep(self, ending: CancelReport | BaseException) -> None:
        """Search this ending, and its report if it has one."""
        self.outcome = ending
        if isinstance(ending, BaseException):
            self.texts += in_exception(ending)
            ending = getattr(ending, "report", ending)
        if isinstance(ending, CancelReport):
            self.texts += in_report(ending)

    def needles(self) -> dict[str, str]:
        """What must not be found."""
        found = {
            "access key": self.access_key,
            "quoted access key": quote(self.access_key, safe=""),
            "secret key": self.secret_key,
            "secret key in base64": base64.b64encode(self.secret_key.encode()).decode(),
        }
        for server in self.servers:
            for number, request in enumerate(server.requests):
                found |= {f"{k} {number}": v for k, v in forms(request, server.url).items()}
        return found

    def found(self) -> Found:
        """Which canary was found where."""
        return {
            (what, where)
            for what, needle in self.needles().items()
            for where, text in self.texts
            if needle in text or repr(needle)[1:-1] in text
        }

    def _now(self, url: str) -> Callable[[], datetime]:
        """A wall clock that stands where the signature looks as wanted."""
        moment, body = NOON, Request("POST", PATH)
        while self.signature is not None:
            made = sign(self.credentials, body, url, moment).url()
            if self.signature.fullmatch(unquote(made.rpartition("=")[2])):
                break
            moment += timedelta(seconds=1)
        return lambda: moment


def error(code: int | str, status: int = 200) -> Callable[[str], bytes]:
    """An error whose text is the echo."""
    return lambda echo: as_json({"status": "error", "err_code": code, "err_msg": echo}, status)
