"""Requests and replies as values: what they hold, and what they never show."""

import copy
import pickle
import pprint
import traceback

import pytest

from htx_async.exchange import messages as wire
from htx_async.exchange.messages import HIDDEN, Answer, Request, Secret, SendFailed, SignedRequest

ACCESS = "access-canary"
SIGNATURE = "canary/signature+0123456789="
ESCAPED = "canary%2Fsignature%2B0123456789%3D"
QUERY = f"AccessKeyId={ACCESS}&Signature={ESCAPED}"


def signed(*secrets: str) -> SignedRequest:
    return SignedRequest(
        Request("POST", "/path", b'{"contract_code":"BTC-USDT"}'),
        "https://api.hbdm.com",
        QUERY,
        tuple(map(Secret, secrets or (SIGNATURE, ESCAPED, ACCESS))),
    )


def test_a_request_is_a_frozen_value() -> None:
    """Requests compare by value and cannot be changed after they were made."""
    request = Request("POST", "/path", b"{}")
    assert request == Request("POST", "/path", b"{}", ())
    with pytest.raises(AttributeError):
        request.path = "/other"  # type: ignore[misc]


def test_the_signed_url_is_whole() -> None:
    """`url()` is base URL, path and query, byte for byte as signed."""
    assert signed().url() == f"https://api.hbdm.com/path?{QUERY}"


def test_what_the_transport_needs_is_at_hand() -> None:
    """Method, path, body and base URL are plain attributes."""
    request = signed()
    assert (request.method, request.path, request.base_url) == (
        "POST",
        "/path",
        "https://api.hbdm.com",
    )
    assert request.body == b'{"contract_code":"BTC-USDT"}'


def test_a_signed_request_shows_no_credential() -> None:
    """No rendering of a signed request holds its query, signature or access key."""
    request = signed()
    shown = f"{request!r}{request}{request!a}{pprint.pformat([request])}{[request]}"
    assert "canary" not in shown
    assert HIDDEN in shown
    assert not hasattr(request, "__dict__")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_signed_request_is_not_pickled(protocol: int) -> None:
    """Pickling fails, and the failure shows nothing secret."""
    with pytest.raises(TypeError) as caught:
        pickle.dumps(signed(), protocol)
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if frame.f_code.co_filename == wire.__file__]
    assert ours
    assert "canary" not in str(caught.value) + repr([frame.f_locals for frame in ours])


@pytest.mark.parametrize("copier", [copy.copy, copy.deepcopy])
def test_a_signed_request_is_not_copied(copier: object) -> None:
    """A credential is not duplicated by a copy either."""
    assert callable(copier)
    with pytest.raises(TypeError):
        copier(signed())


@pytest.mark.parametrize("echo", [SIGNATURE, ESCAPED, ACCESS, QUERY, f"{ACCESS}{ACCESS}", ""])
def test_scrub_takes_every_secret_out(echo: str) -> None:
    """Each form of signature and key is replaced, everywhere, and the rest is left alone."""
    clean = signed().scrub(f"before {echo} after")
    assert "canary" not in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")


@pytest.mark.parametrize(
    "echo",
    [
        r"canary\/signature+0123456789=",
        r"canary\\\/signature+0123456789=",
        r"canary\u002Fsignature\u002b0123456789=",
        "canary&#x2F;signature&#43;0123456789=",
        "canary&#47;signature&#x2b;0123456789=",
    ],
)
def test_scrub_knows_how_json_and_pages_write_a_signature(echo: str) -> None:
    """An excerpt shows the bytes of a reply as they came, escapes and all."""
    assert signed().scrub(f'{{"message":"not valid: {echo}"') == '{"message":"not valid: ***="'


def test_scrub_leaves_innocent_text_alone() -> None:
    """Text without a secret comes back unchanged, and a very short key does not shred words."""
    assert signed().scrub("No orders to cancel.") == "No orders to cancel."
    assert signed("a", "or").scrub("No orders to cancel.") == "No orders to cancel."


def test_an_answer_shows_its_size_only() -> None:
    """A reply may echo a credential, so its repr holds neither body nor headers."""
    answer = Answer(200, {"x-echo": "canary"}, b"canary canary")
    assert "canary" not in f"{answer!r}{answer}"
    assert "200" in repr(answer)
    assert "13" in repr(answer)


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("connecting", [True, False])
def test_a_failure_says_whether_it_was_sent(sent: bool, connecting: bool) -> None:
    """A failed sending carries its reason and both facts."""
    failure = SendFailed("the connection failed", sent=sent, connecting=connecting)
    assert (str(failure), failure.reason) == ("the connection failed",) * 2
    assert (failure.sent, failure.connecting) == (sent, connecting)
