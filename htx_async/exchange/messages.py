"""What goes out and what comes in, as plain values.

A POST body is not part of the signature and a signature lives for minutes (HTX API docs,
"Authentication"), so a signed URL is a credential: `SignedRequest` shows it to nobody but the
transport.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple, NoReturn
from urllib.parse import urlencode

HIDDEN = "***"
_SHORTEST_SECRET = 8
_RUNS = re.compile(r"[^\W_]+")


class Secret:
    """A text that a reply might echo, in whatever spelling, and that must not be passed on."""

    __slots__ = ("_run", "_text")

    def __init__(self, text: str) -> None:
        self._text = text.rstrip("=")
        self._run = max(_RUNS.findall(self._text), key=len, default="").lower()

    def scrub(self, text: str) -> str:
        """`text` without the secret: percent-encoded or decoded, once or more often, as JSON and
        HTML may write it, with or without padding, in any case."""
        # Letters and digits are spelled as they are in every encoding: look for those first.
        if len(self._text) < _SHORTEST_SECRET or self._run not in text.lower():
            return text
        pattern = "".join(map(_spelled, self._text))
        return re.sub(pattern, HIDDEN, text, flags=re.IGNORECASE)

    def __repr__(self) -> str:
        return HIDDEN


def _spelled(character: str) -> str:
    """A pattern for the ways in which a character of a query may be written."""
    if character.isalnum():
        return character
    encoded = "".join(f"%(?:25)*{byte:02x}" for byte in character.encode())
    decoded = " |" if character == "+" else ""
    code = ord(character)
    escaped = rf"\\+(?:{re.escape(character)}|u{code:04x})|&#(?:0*{code}|x0*{code:x});"
    return f"(?:{re.escape(character)}|{decoded}{encoded}|{escaped})"


class Request(NamedTuple):
    """One request before it has a host, a time and a signature."""

    method: str
    path: str
    body: bytes = b""
    params: tuple[tuple[str, str], ...] = ()


class SignedRequest:
    """A request ready for the wire. Its repr, str and pickle hold nothing secret."""

    __slots__ = ("_query", "_secrets", "base_url", "body", "method", "path")

    def __init__(
        self, request: Request, base_url: str, query: str, secrets: tuple[Secret, ...]
    ) -> None:
        self.method = request.method
        self.path = request.path
        self.body = request.body
        self.base_url = base_url
        self._query = query
        self._secrets = secrets

    def serving(self, request: Request) -> "SignedRequest":
        """The same signed URL for `request`, of which the signature does not cover the body."""
        return SignedRequest(request, self.base_url, self._query, self._secrets)

    def url(self) -> str:
        """The signed URL. Use it inside one expression; never bind it to a name."""
        query = f"?{self._query}" if self._query else ""
        return f"{self.base_url}{self.path}{query}"

    def scrub(self, text: str) -> str:
        """`text` without this request's signature and access key, should a reply echo them."""
        for secret in self._secrets if text else ():
            text = secret.scrub(text)
        return text

    def __repr__(self) -> str:
        return f"<SignedRequest {self.method} {self.base_url}{self.path}?{HIDDEN}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signed request is a credential and is not pickled")


def unsigned(request: Request, base_url: str) -> SignedRequest:
    """A request of a public call, for the same transport."""
    return SignedRequest(request, base_url, urlencode(request.params), ())


class Answer(NamedTuple):
    """One complete HTTP reply: status, headers (to be asked by lower-case names), decoded body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def __repr__(self) -> str:
        return f"<Answer {self.status}, {len(self.body)} bytes>"


class SendFailed(Exception):
    """An attempt without a complete reply: a signal between modules, never a user's error.

    `reason` is our own text, with nothing secret. `sent` is False only when it is certain that no
    byte left for the exchange; `connecting` tells that the connection was never made, `stalled`
    that this loop was blocked for a good part of the time before that, and `is_final` that no other
    attempt can be made either.
    """

    def __init__(
        self,
        reason: str,
        *,
        sent: bool,
        connecting: bool = False,
        stalled: bool = False,
        is_final: bool = False,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.connecting = connecting
        self.stalled = stalled
        self.is_final = is_final

    @property
    def is_of_host(self) -> bool:
        """Whether it counts against the host: a connection that was not made, or no answer over
        one; not a kept connection that had ended before anything was written to it."""
        return self.sent or (self.connecting and not self.stalled)
