"""The table of codes, held against the notes' own list of the exchange's codes."""

import csv

import pytest

from htx_async import codes
from htx_async.codes import Code, CodeClass, classify, meaning
from tests.support.paths import DATA

# By decision: a path that is gone is an endpoint retired, not an account moved.
DECIDED = {"10000": "retired", "http:404": "retired"}

# Transfers and queries of assets, which this SDK never makes.
ASSETS = {1250, 1251, 1252, 1300, 1302, 1316, 1317, 1318, 1319, 1321, 1323}

# Codes of other generations and of the websocket; bare HTTP statuses, judged in test_v1.
ELSEWHERE = {"v5:1003", "v5:1067", "v5:200", "v5:403", "v5:404", "ws:1006", "http:403", "http:5xx"}
ELSEWHERE |= set(map(str, ASSETS))


def rows() -> list[tuple[str, str]]:
    """Code and class of every row of the list, with what was decided since."""
    with (DATA / "error_codes.csv").open(newline="") as file:
        listed = [(row["code"], row["class"]) for row in csv.DictReader(file)]
    return [(code, DECIDED.get(code, code_class)) for code, code_class in listed]


def arguments(code: str) -> tuple[Code | None, int | None]:
    """How a code of the list reaches `classify`: the code itself, and the HTTP status."""
    if code == "http:429":
        return None, 429
    if code == "http:404":
        return 404, 404
    name = code.removeprefix("status:")
    return (int(name) if name.isdigit() else name), 200


JUDGED = [row for row in rows() if row[0] not in ELSEWHERE]


def test_the_list_is_whole() -> None:
    """The copy of the list holds every row once, so the tests below judge what they claim to."""
    names = [code for code, _ in rows()]
    assert len(names) == len(set(names)) == 342
    assert set(names) >= ELSEWHERE


def test_every_listed_code_has_its_class() -> None:
    """Each code of the list is classified as the list, or a later decision, says."""
    wrong = [code for code, expected in JUDGED if classify(*arguments(code)) != expected]
    assert wrong == []


def test_a_429_in_the_body_is_a_rate_limit_too() -> None:
    """Not only as HTTP status: a reply that has it as its code says the same, in words."""
    assert classify(429, 200) is CodeClass.RATE_LIMITED
    assert meaning(429) == "too many requests"


@pytest.mark.parametrize("code", [4002, 4003, 4004, 4005, 6001, 6002, 6023, 1510])
def test_a_moved_account_is_told_apart(code: int) -> None:
    """The eight codes of a moved account are `migrated`, never 'nothing to cancel'."""
    assert classify(code) is CodeClass.MIGRATED


@pytest.mark.parametrize("code", [10000, 404])
def test_a_removed_interface_is_retired(code: int) -> None:
    """10000 and the 404 shape say that the interface is gone, which is not about the account."""
    assert classify(code) is CodeClass.RETIRED


ODD = [None, 0, -1, 1, 200, 999999, "", "1051", "MAINTAIN", "no-such", *sorted(ASSETS)]


@pytest.mark.parametrize("code", ODD)
def test_an_unlisted_code_is_final(code: Code | None) -> None:
    """A code that nobody listed is never retried and never success-like; text is not a number."""
    assert classify(code) is CodeClass.NOT_RETRYABLE


@pytest.mark.parametrize("code", [None, 1000, 1051, 403, 4002, "maintain", 424242])
def test_http_429_overrides_the_body(code: Code | None) -> None:
    """HTTP 429 is a rate limit whatever code came with it."""
    assert classify(code, 429) is CodeClass.RATE_LIMITED


@pytest.mark.parametrize("status", [None, 200, 400, 403, 404, 418, 428, 430])
def test_other_statuses_leave_the_code_alone(status: int | None) -> None:
    """No HTTP status but 429 changes what a code means."""
    assert classify(1056, status) is CodeClass.RETRYABLE
    assert classify(1051, status) is CodeClass.NOTHING_TO_CANCEL


def test_settled_order_codes() -> None:
    """Exactly these five per-order codes leave no trailing order waiting."""
    assert sorted(codes.SETTLED_ORDER_CODES) == [1017, 1061, 1062, 1063, 1071]
    assert (codes.NO_ORDERS, codes.CANCELLING, codes.EXECUTED) == (1051, 1062, 1063)


def test_every_code_with_a_rule_has_a_meaning() -> None:
    """A code that is treated in any special way is also explained in words."""
    special = [code for code, code_class in JUDGED if code_class != "not_retryable"]
    mute = [code for code in special if code != "http:429" and not meaning(arguments(code)[0])]
    assert mute == []


EXPLAINED = [1013, 1014, 1030, 1031, 1035, 1036, 1037, 1045, 1046, 1066, 1067, 1088, 1425, 1426,
             1427, 1455, 1470, 1492, 1499, 1500, 4007]  # fmt: skip


def test_refusals_that_a_trailing_order_may_meet_have_a_meaning() -> None:
    """Final ones need no rule, but the words that tell an operator what to mend."""
    assert [code for code in EXPLAINED if not meaning(code)] == []
    assert {classify(code) for code in EXPLAINED} == {CodeClass.NOT_RETRYABLE}


def test_codes_that_mean_more_than_their_class() -> None:
    """V5's word to an account that is not on it; refusals that a clock which is off may cause."""
    assert sorted(codes.NOT_ON_V5) == [4007, 6001]
    assert sorted(codes.CLOCK_CODES) == [12001, 12006, 12007, 12008]
    assert (codes.ANY_KEY_FAULT, codes.PATH_UNKNOWN, codes.FIELD_MISSING) == (403, 404, 1066)
    assert codes.MAINTENANCE == "maintain"


@pytest.mark.parametrize("code", [None, 987654, "no-such"])
def test_an_unlisted_code_has_no_meaning(code: Code | None) -> None:
    """Nothing is made up about a code that is not listed."""
    assert meaning(code) == ""
