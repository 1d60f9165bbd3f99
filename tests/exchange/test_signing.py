"""Signatures against published vectors, and keys that show nowhere."""

import base64
import copy
import gc
import hashlib
import hmac
import json
import pickle
import pprint
import traceback
import types
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

import htx_async
from htx_async.errors import InvalidRequest
from htx_async.exchange.messages import Request
from htx_async.exchange.signing import Credentials, sign

ACCESS = "e2xxxxxx-99xxxxxx-84xxxxxx-7xxxx"
SECRET = "b0canary-c6canary-94canary-dcana"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
OURS = str(Path(htx_async.__file__).parent)
PATH = "/linear-swap-api/v1/swap_track_cancelall"

# Vectors whose text holds a whole request: notes, "Published vectors", by their letter.
# secret, key, method, host, path, further parameters, time, signature
REQUESTS = {
    "A": (
        ("secret", "access", "GET", "api.huobi.pro", "/v1/account/accounts"),
        (),
        "2019-11-21T10:00:00",
        "rWnLcMt3XBAsmXoNHtTQVpvMbH/cE1PXFwQAGeYwt3s=",
    ),
    "B": (
        ("secret", "access", "GET", "api.huobi.pro", "/v1/account/history"),
        (("account-id", "123"), ("currency", "btc")),
        "2019-11-21T10:00:00",
        "SGZYJ9Ub/hFerEBbSWsCxl8Djk+LRBgEZOB4fLc4T9Q=",
    ),
    "C": (
        (
            "12345-67890-12345-67890",
            "abcdefg-hijklmn-opqrst-uvwxyz",
            "GET",
            "api.huobi.pro",
            "/v1/account/accounts",
        ),
        (),
        "2020-04-01T12:34:56",
        "3IUZcEak4IIRrh7/idFrP2Jj77MaWGXR/oQbe9gL4+I=",
    ),
    "F": (
        ("XXXXXXXXXX", ACCESS, "GET", "api.huobi.pro", "/v1/order/orders"),
        (("order-id", "1234567890"),),
        "2017-05-11T15:19:30",
        "2ZQ7/roKBjdnAv8z5DymwzgSaOPyPgJl0BIlq9fa94w=",
    ),
    "H": (
        (
            "b0xxxxxx-c6xxxxxx-94xxxxxx-dxxxx",
            ACCESS,
            "POST",
            "api-cloud.bittrade.co.jp",
            "/v1/order/orders/place",
        ),
        (),
        "2017-05-11T15:19:30",
        "/yTARtqPKvYXF9PkmdgkruvfJWSr8umI6HOrNgvs4uk=",
    ),
}

_PARAMS_OF_E = "AccessKeyId=123&SignatureMethod=HmacSHA256&SignatureVersion=2&Timestamp=123"

# Vectors over raw text.
TEXTS = {
    "D": (
        "secret",
        "GET\napi.huobi.pro\n/v1/account/history\naccount-id=1&currency=btcusdt",
        "HUP3n78npIuTzVKyjEOrPictRKEUTRoYs7Ld5y38hmA=",
    ),
    "E": (
        "456",
        f"GET\nhost\n/url\n{_PARAMS_OF_E}",
        "Hhiaq8xYQPiBZOyWV37MdQutLo4f0ZOHiJtG3p+nILc=",
    ),
    "E2": (
        "456",
        f"GET\nhost\nurl\n{_PARAMS_OF_E}",
        "Hfdw0d/3ZOEB2eHJZiwVZ/1YLL62MFuKKmSW83vM3ps=",
    ),
}


def by_hand(secret: str, text: str) -> str:
    """The signature, with lines that the package does not share."""
    digest = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
    return base64.b64encode(digest).decode()


def query_of(
    request: Request,
    *,
    access: str = ACCESS,
    secret: str = SECRET,
    base_url: str = "https://api.hbdm.com",
    at: datetime = NOON,
) -> str:
    signed = sign(Credentials(access, secret), request, base_url, at)
    return urlsplit(signed.url()).query


def sent_signature(query: str) -> str:
    return dict(parse_qsl(query, strict_parsing=True))["Signature"]


@pytest.mark.parametrize("letter", REQUESTS)
def test_published_requests_carry_their_published_signature(letter: str) -> None:
    """A whole request, signed for its host and second, carries the published signature."""
    (secret, access, method, host, path), extra, time, expected = REQUESTS[letter]
    request = Request(method, path, b'{"order-id":"123456789"}' * (method == "POST"), extra)
    at = datetime.fromisoformat(time).replace(tzinfo=UTC)
    query = query_of(request, access=access, secret=secret, base_url=f"https://{host}", at=at)
    assert sent_signature(query) == expected


@pytest.mark.parametrize("letter", TEXTS)
def test_published_texts_have_their_published_signature(letter: str) -> None:
    """A raw text has the published signature."""
    secret, text, expected = TEXTS[letter]
    assert Credentials("123", secret).signature(text) == expected


def test_names_out_of_order() -> None:
    """Names are sorted as ASCII, upper case first, so `contract_code` follows `Timestamp`."""
    params = (("contract_code", "BTC-USDT"), ("Zeta", "1"), ("AAA", "2"), ("a-b", "3"), ("a", "4"))
    query = query_of(Request("GET", "/v5/x", params=params))
    text = (
        "GET\napi.hbdm.com\n/v5/x\n"
        f"AAA=2&AccessKeyId={ACCESS}&SignatureMethod=HmacSHA256&SignatureVersion=2"
        "&Timestamp=2026-03-01T12%3A00%3A00&Zeta=1&a=4&a-b=3&contract_code=BTC-USDT"
    )
    assert sent_signature(query) == by_hand(SECRET, text)


def test_the_first_call_of_this_sdk() -> None:
    """The notes' own example of the text before signing is what is signed."""
    at = datetime(2017, 5, 11, 15, 19, 30, tzinfo=UTC)
    text = (
        "POST\napi.hbdm.com\n/linear-swap-api/v1/swap_track_cancelall\n"
        "AccessKeyId=e2xxxxxx-99xxxxxx-84xxxxxx-7xxxx&SignatureMethod=HmacSHA256"
        "&SignatureVersion=2&Timestamp=2017-05-11T15%3A19%3A30"
    )
    query = query_of(Request("POST", PATH, b'{"contract_code":"BTC-USDT"}'), at=at)
    assert sent_signature(query) == by_hand(SECRET, text)


def test_the_body_is_not_signed() -> None:
    """Two bodies for the same second have the same signature, as the exchange has it."""
    assert query_of(Request("POST", PATH, b"{}")) == query_of(Request("POST", PATH, b'{"a":1}'))


def test_percent_encoding_is_upper_case_utf_8() -> None:
    """Reserved signs, space and other scripts are escaped as UTF-8 in upper-case hex."""
    params = (("x", "a+b/c=d:e f,g~h*\u9f99"),)
    query = query_of(Request("GET", "/v5/x", params=params), access="k+/=:key")
    assert "&x=a%2Bb%2Fc%3Dd%3Ae%20f%2Cg~h%2A%E9%BE%99&" in f"&{query}&"
    assert "AccessKeyId=k%2B%2F%3D%3Akey&" in query
    assert "Timestamp=2026-03-01T12%3A00%3A00" in query


def test_the_signature_itself_is_escaped() -> None:
    """No signature travels with a raw plus, slash or equals sign; a raw plus would be a space."""
    credentials = Credentials(ACCESS, SECRET)
    raw = ""
    for second in range(60):
        at = NOON + timedelta(seconds=second)
        signed = sign(credentials, Request("POST", PATH), "https://api.hbdm.com", at)
        value = signed.url().partition("&Signature=")[2]
        assert not set("+/=&") & set(value)
        raw += sent_signature(urlsplit(signed.url()).query)
    assert "+" in raw
    assert "/" in raw


@pytest.mark.parametrize(
    ("base_url", "host"),
    [
        ("https://api.hbdm.com", "api.hbdm.com"),
        ("https://api.hbdm.vn", "api.hbdm.vn"),
        ("https://API.HBDM.com", "api.hbdm.com"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("http://[::1]:9", "[::1]:9"),
    ],
)
def test_the_signed_host_is_the_host_header(base_url: str, host: str) -> None:
    """The host is signed in lower case, and with its port when that is not the scheme's own."""
    text = (
        f"POST\n{host}\n{PATH}\nAccessKeyId={ACCESS}&SignatureMethod=HmacSHA256"
        "&SignatureVersion=2&Timestamp=2026-03-01T12%3A00%3A00"
    )
    query = query_of(Request("POST", PATH), base_url=base_url)
    assert sent_signature(query) == by_hand(SECRET, text)


@pytest.mark.parametrize(
    "at",
    [
        NOON,
        NOON.replace(microsecond=999_999),
        NOON.astimezone(timezone(timedelta(hours=8))),
        NOON.astimezone(timezone(-timedelta(hours=9, minutes=30))),
    ],
)
def test_the_timestamp_is_utc_without_fractions(at: datetime) -> None:
    """Whatever zone or fraction the clock gives, the exchange sees whole seconds of UTC."""
    query = query_of(Request("POST", PATH), at=at)
    assert dict(parse_qsl(query))["Timestamp"] == "2026-03-01T12:00:00"


def test_the_query_holds_what_was_signed_and_nothing_else() -> None:
    """Four parameters and the signature travel: no more, each once."""
    names = [name for name, _ in parse_qsl(query_of(Request("POST", PATH)), strict_parsing=True)]
    assert sorted(names) == [
        "AccessKeyId",
        "Signature",
        "SignatureMethod",
        "SignatureVersion",
        "Timestamp",
    ]


def test_a_credential_signs_many_times() -> None:
    """One signature does not disturb the next."""
    credentials = Credentials(ACCESS, SECRET)
    assert [credentials.signature(text) for text in "aba"] == [by_hand(SECRET, t) for t in "aba"]


BAD_KEYS = {
    "empty": "",
    "space": " ",
    "newline": "\n",
    "leading space": f" {SECRET}",
    "trailing space": f"{SECRET} ",
    "trailing newline": f"{SECRET}\n",
    "trailing carriage return": f"{SECRET}\r",
    "leading tab": f"\t{SECRET}",
    "leading no-break space": f"\u00a0{SECRET}",
    "trailing ideographic space": f"{SECRET}\u3000",
    "inner NUL": f"{SECRET}\x00x",
    "inner newline": f"{SECRET}\nx",
    "inner escape": f"{SECRET}\x1bx",
    "inner delete": f"{SECRET}\x7fx",
    "inner C1 control": f"{SECRET}\x85x",
    "inner zero-width space": f"{SECRET}\u200bx",
    "leading zero-width space": f"\u200b{SECRET}",
    "trailing zero-width joiner": f"{SECRET}\u200d",
    "word joiner": f"{SECRET}\u2060",
    "byte order mark": f"\ufeff{SECRET}",
    "bidi override": f"{SECRET}\u202e",
    "soft hyphen": f"{SECRET}\u00adx",
    "line separator": f"{SECRET}\u2028x",
    "lone surrogate": f"{SECRET}\ud800",
}
NOT_TEXT: dict[str, Any] = {
    "None": None,
    "bytes": SECRET.encode(),
    "number": 12345678,
    "list": [SECRET],
    "dict": {"key": SECRET},
}


def leaks(error: BaseException) -> str:
    """Everything that a report of `error` could show: texts, chain, and locals of our frames."""
    shown = []
    todo: list[BaseException | None] = [error]
    while todo:
        current = todo.pop()
        if current is None:
            continue
        todo += [current.__cause__, current.__context__]
        shown += [str(current), repr(current), repr(current.args), repr(vars(current))]
        for frame, _ in traceback.walk_tb(current.__traceback__):
            if frame.f_code.co_filename.startswith(OURS):
                shown += [repr(value) for value in frame.f_locals.values()]
    return "\n".join(shown)


@pytest.mark.parametrize("value", [*BAD_KEYS.values(), *NOT_TEXT.values()])
@pytest.mark.parametrize("which", ["access_key", "secret_key"])
def test_bad_keys_are_refused_and_not_shown(which: str, value: Any) -> None:
    """A key that cannot be right is `InvalidRequest`, which names the key and shows neither."""
    keys: dict[str, Any] = {"access_key": "other-canary-key", "secret_key": "other-canary-key"}
    with pytest.raises(InvalidRequest, match=which) as caught:
        Credentials(**{**keys, which: value})
    shown = leaks(caught.value)
    assert "canary" not in shown
    assert "12345678" not in shown
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize("key", ["a", "key-1", "a b", "cl\u00e9+/=", "\u9f99\u867e", "x" * 5000])
def test_keys_are_taken_as_they_are(key: str) -> None:
    """Keys with inner spaces, signs or other scripts are neither refused nor changed."""
    credentials = Credentials(key, key)
    assert credentials.access_key == key
    assert credentials.signature("text") == by_hand(key, "text")


@pytest.mark.parametrize("name", ["access_key", "signature_method", "query_head", "_sign"])
def test_credentials_are_immutable(name: str) -> None:
    """What signs cannot be swapped after it was checked, as the docstring promises."""
    credentials = Credentials(ACCESS, SECRET)
    before = credentials.signature("text")
    with pytest.raises(AttributeError):
        setattr(credentials, name, "other")
    assert credentials.signature("text") == before


def reachable(root: object) -> list[object]:
    """All that hangs on `root` by attribute, closure or container, modules and types aside."""
    seen: dict[int, object] = {}
    todo = [root]
    while todo:
        current = todo.pop()
        if id(current) in seen or isinstance(current, type | types.ModuleType):
            continue
        seen[id(current)] = current
        if isinstance(current, types.FunctionType):
            todo += [cell.cell_contents for cell in current.__closure__ or ()]
            todo += [current.__defaults__, current.__kwdefaults__, current.__code__.co_consts]
        else:
            todo += gc.get_referents(current)
    return list(seen.values())


def test_the_secret_is_in_no_form_of_the_credentials() -> None:
    """No rendering, no attribute and nothing that hangs on credentials holds the secret."""
    credentials = Credentials(ACCESS, SECRET)
    shown = [
        repr(credentials),
        str(credentials),
        f"{credentials}",
        f"{credentials!a}",
        format(credentials),
        "%s %r" % (credentials, credentials),  # noqa: UP031 - old code formats so
        pprint.pformat([credentials]),
        repr({"credentials": credentials}),
        json.dumps({"credentials": credentials}, default=str),
    ]
    shown += [repr(getattr(credentials, name)) for name in dir(credentials)]
    assert all(SECRET not in text for text in shown)
    assert not hasattr(credentials, "__dict__")
    with pytest.raises(TypeError):
        vars(credentials)
    texts = [value for value in reachable(credentials) if isinstance(value, str | bytes)]
    assert ACCESS in texts
    assert all(SECRET not in (t if isinstance(t, str) else t.decode("latin-1")) for t in texts)


def test_the_access_key_is_not_rendered() -> None:
    """Only the property gives the access key away, no rendering does."""
    credentials = Credentials(ACCESS, SECRET)
    assert ACCESS not in f"{credentials!r}{credentials}{pprint.pformat(credentials)}"
    assert credentials.access_key == ACCESS


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_credentials_are_not_pickled(protocol: int) -> None:
    """Pickling credentials fails, with an error that shows neither key."""
    with pytest.raises(TypeError) as caught:
        pickle.dumps([Credentials(ACCESS, SECRET)], protocol)
    assert SECRET not in leaks(caught.value)
    assert ACCESS not in str(caught.value)


def test_copies_share_the_secret_without_showing_it() -> None:
    """A copy, deep or not, still signs and still shows nothing."""
    credentials = Credentials(ACCESS, SECRET)
    for twin in (copy.copy(credentials), copy.deepcopy({"key": credentials})["key"]):
        assert twin.signature("text") == by_hand(SECRET, "text")
        assert SECRET not in repr(twin)


def test_no_signature_shows_in_what_sign_gives_back() -> None:
    """The signed request shows neither signature nor access key to whoever prints it."""
    signed = sign(Credentials(ACCESS, SECRET), Request("POST", PATH), "https://api.hbdm.com", NOON)
    signature = sent_signature(urlsplit(signed.url()).query)
    shown = f"{signed!r} {signed} {pprint.pformat(signed)}"
    assert signature not in shown
    assert "Signature=" not in shown
    assert ACCESS not in shown
    assert PATH in shown


@pytest.mark.parametrize("access", [ACCESS, "key+with/signs=and:more"])
def test_a_reply_that_echoes_the_query_is_scrubbed(access: str) -> None:
    """Signature and access key are taken out of foreign text, raw or as they stood in the query."""
    signed = sign(Credentials(access, SECRET), Request("POST", PATH), "https://api.hbdm.com", NOON)
    query = urlsplit(signed.url()).query
    raw, escaped = sent_signature(query), query.partition("&Signature=")[2]
    escaped_key = query.partition("AccessKeyId=")[2].partition("&")[0]
    clean = signed.scrub(f"bad request: {query}; key {access}; signature {raw}")
    for secret in (raw, escaped, access, escaped_key):
        assert secret not in clean
    assert clean.startswith("bad request: ")
