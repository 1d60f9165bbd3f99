"""Base URLs: which are taken, in which order they are tried, and that no password is echoed."""

from typing import Any

import pytest

from htx_async.calls.base_urls import BaseUrls, checked
from htx_async.errors import InvalidRequest

COM, VN, NET = "https://api.hbdm.com", "https://api.hbdm.vn", "https://third.example"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("https://api.hbdm.com", COM),
        ("https://api.hbdm.com/", COM),
        ("https://API.HBDM.COM", COM),
        ("HTTPS://api.hbdm.com", COM),
        ("https://api.hbdm.com:443", COM),
        ("https://api.hbdm.com:443/", COM),
        ("https://api.hbdm.com:0443", COM),
        ("https://api.hbdm.com:80", "https://api.hbdm.com:80"),
        ("https://api.hbdm.com:8443", "https://api.hbdm.com:8443"),
        ("https://10.0.0.7", "https://10.0.0.7"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://localhost", "http://localhost"),
        ("http://LOCALHOST:8080", "http://localhost:8080"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:443", "http://localhost:443"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("http://127.8.8.8", "http://127.8.8.8"),
        ("http://127.8.8.8:80/", "http://127.8.8.8"),
        ("http://[::1]", "http://[::1]"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://[::1]:80", "http://[::1]"),
    ],
)
def test_base_urls_that_are_taken(given: str, expected: str) -> None:
    """https to anywhere and http to this machine, in lower case and without a default port."""
    assert checked([given]) == (expected,)


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        "api.hbdm.com",
        "//api.hbdm.com",
        "https:",
        "https://",
        "https:///path",
        "https://:443",
        "ftp://api.hbdm.com",
        "ws://api.hbdm.com",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http://api.hbdm.com",
        "http://10.0.0.7",
        "http://192.168.0.1",
        "http://0.0.0.0",
        "http://128.0.0.1",
        "http://126.255.255.255",
        "http://localhost.evil.example",
        "http://127.0.0.1.nip.example",
        "http://127.evil.example",
        "http://[::2]",
        "http://[2001:db8::1]",
        "http://2130706433",
        "http://127.1",
        "http://0x7f000001",
        "https://api.hbdm.com/linear-swap-api",
        "https://api.hbdm.com/?x=1",
        "https://api.hbdm.com?x=1",
        "https://api.hbdm.com#part",
        "https://api.hbdm.com:0",
        "https://api.hbdm.com:65536",
        "https://api.hbdm.com:-1",
        "https://api.hbdm.com:https",
        "https://api.hbdm.com:\u0664\u0664\u0663",
        "https://[::1",
        "https://::1",
        "https://a:b:c",
        "https://[::1%25eth0]",
        "https://a b",
        "https://api.hbdm.com\\.evil.example",
        "https://api.hbdm.com%2eevil.example",
        "https://b\u00fccher.example",
        "https://api\u3002hbdm.com",
        "https://api.hbdm.com,https://api.hbdm.vn",
        "https://*.hbdm.com",
        "https://api.hbdm.com\x00",
        "https://api.hbdm.com\r\nX: y",
        None,
        5,
        b"https://api.hbdm.com",
        ("https", "api.hbdm.com"),
    ],
)
def test_base_urls_that_are_refused(given: Any) -> None:
    """Anything that is not scheme, host and port, or would show a signed URL, is refused."""
    with pytest.raises(InvalidRequest) as caught:
        checked([COM, given])
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "given",
    [
        "https://user:canary@api.hbdm.com",
        "https://:canary@api.hbdm.com",
        "https://user:can@canary@api.hbdm.com",
        "https://user:canary@api.hbdm.com:8443/path",
        "https://user:canary@api.hbdm.com:port",
        "https://user:canary@",
        "https://user:canary/x@api.hbdm.com",
        "https://user:canary?x@api.hbdm.com",
        "https://user:canary#x@api.hbdm.com",
        "https://user:canary@a b",
        "https://user:canary@[::1",
        "http://user:canary@localhost",
        "http://user:canary@api.hbdm.com",
        "ftp://user:canary@api.hbdm.com",
        "https://api.hbdm.com?token=canary",
        "https://api.hbdm.com/canary",
        "https://api.hbdm.com#canary",
        "https://api.hbdm.com@canary:1x",
    ],
)
def test_a_password_in_a_base_url_is_not_echoed(given: str) -> None:
    """User, path, query and fragment are refused by a text that repeats none of them."""
    with pytest.raises(InvalidRequest) as caught:
        checked([given])
    assert "canary" not in str(caught.value) + repr(caught.value.args)
    assert caught.value.__context__ is None


def test_an_at_sign_without_a_user_is_refused_too() -> None:
    """An empty user is still a user."""
    with pytest.raises(InvalidRequest):
        checked(["https://@api.hbdm.com"])


def test_one_string_is_one_base_url() -> None:
    """A single string is taken as it stands, not letter by letter."""
    assert checked(COM) == (COM,)


@pytest.mark.parametrize("given", [[], (), iter([])])
def test_none_at_all_is_refused(given: Any) -> None:
    """A session needs somewhere to go."""
    with pytest.raises(InvalidRequest):
        checked(given)


@pytest.mark.parametrize("given", [None, 5, 1.5, object()])
def test_what_is_no_sequence_is_refused(given: Any) -> None:
    """A wrong type is the caller's argument like any other: `InvalidRequest`, not `TypeError`."""
    with pytest.raises(InvalidRequest):
        checked(given)


def test_duplicates_stand_once() -> None:
    """The same place spelt twice is one base URL, at its first place in the order."""
    given = [VN, "https://API.hbdm.com:443/", VN, COM, "https://api.hbdm.vn/"]
    assert checked(given) == (VN, COM)


def test_any_iterable_and_its_order() -> None:
    """A generator is read once, and its order is the order of preference."""
    urls = BaseUrls(url for url in (NET, COM, VN))
    assert list(urls) == [NET, COM, VN]
    assert list(urls) == [NET, COM, VN]


def journey(urls: BaseUrls, now: float, steps: int) -> list[str]:
    itinerary = urls.itinerary(now)
    places = []
    for _ in range(steps):
        places.append(itinerary.current)
        itinerary.advance()
    return places


def test_a_call_tries_all_base_urls_round_and_round() -> None:
    """A call tries all base URLs in order, round and round."""
    assert journey(BaseUrls([COM, VN, NET]), 0.0, 7) == [COM, VN, NET, COM, VN, NET, COM]
    assert journey(BaseUrls([COM]), 0.0, 3) == [COM, COM, COM]


@pytest.mark.parametrize(
    ("urls", "expected"),
    [
        ([COM], [False] * 4),
        ([COM, VN], [True, False, True, False]),
        ([COM, VN, NET], [True, True, False, True]),
    ],
)
def test_untried_ends_with_the_round(urls: list[str], expected: list[bool]) -> None:
    """`untried` says whether this round has another base URL left after the current one."""
    itinerary = BaseUrls(urls).itinerary(0.0)
    seen = []
    for _ in expected:
        seen.append(itinerary.untried)
        itinerary.advance()
    assert seen == expected


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        (0.0, [VN, NET, COM]),
        (29.9, [VN, NET, COM]),
        (30.1, [COM, VN, NET]),
        (3600.0, [COM, VN, NET]),
    ],
)
def test_a_dead_base_url_is_tried_last_for_30_s(later: float, expected: list[str]) -> None:
    """One that failed to connect goes to the end, is not left out, and is back after 30 s."""
    urls = BaseUrls([COM, VN, NET])
    urls.note(COM, 100.0, answered=False)
    assert journey(urls, 100.0 + later, 3) == expected


def test_a_connection_forgives() -> None:
    """Once connected to, a base URL has its place again, and so has one that never failed."""
    urls = BaseUrls([COM, VN])
    urls.note(COM, 5.0, answered=False)
    urls.note(COM, 6.0, answered=True)
    urls.note(VN, 6.0, answered=True)
    assert journey(urls, 6.0, 2) == [COM, VN]


def test_a_new_failure_starts_the_30_s_anew() -> None:
    """What fails again is avoided from then on."""
    urls = BaseUrls([COM, VN])
    urls.note(COM, 0.0, answered=False)
    urls.note(COM, 20.0, answered=False)
    assert journey(urls, 45.0, 2) == [VN, COM]
    assert journey(urls, 51.0, 2) == [COM, VN]


def test_all_dead_keep_their_order() -> None:
    """When all failed, all are tried, in the caller's order."""
    urls = BaseUrls([COM, VN, NET])
    for url in (NET, COM, VN):
        urls.note(url, 1.0, answered=False)
    assert journey(urls, 2.0, 4) == [COM, VN, NET, COM]
    urls.note(NET, 3.0, answered=True)
    assert journey(urls, 3.0, 3) == [NET, COM, VN]


def test_a_call_under_way_keeps_its_order() -> None:
    """A failure seen by one call reorders later calls, not the one on its way."""
    urls = BaseUrls([COM, VN])
    first = urls.itinerary(0.0)
    urls.note(COM, 0.0, answered=False)
    assert first.current == COM
    assert urls.itinerary(0.0).current == VN
    first.advance()
    assert first.current == VN


def test_the_memory_is_the_sessions_own() -> None:
    """Two sets of base URLs do not share what they remember."""
    one, other = BaseUrls([COM, VN]), BaseUrls([COM, VN])
    one.note(COM, 0.0, answered=False)
    assert journey(other, 0.0, 1) == [COM]


def test_neither_a_slow_failure_nor_many_quick_ones_keep_a_base_url_away() -> None:
    """Where all fail, the one that failed at once goes first, but only for some seconds."""
    urls = BaseUrls([COM, VN])
    urls.note(VN, 3.0, answered=False, took=3.0)
    asked = []
    for tenth in range(30, 80):
        asked.append(urls.itinerary(tenth / 10).current)
        urls.note(COM, tenth / 10, answered=False)
    assert asked[0] == asked[3] == COM
    assert VN in asked
    urls.note(VN, 8.0, answered=False, took=3.0)
    assert urls.itinerary(8.0).current == COM
