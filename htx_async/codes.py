"""The exchange's codes, in one table: how a client has to take each of them.

Codes and meanings: HTX API docs, "Error Code" (USDT-M); the grouping is this project's own
inference from them, from "FAQ Settlement Q1", and from replies recorded by ccxt, roq-htx-futures
and HTX's own Java SDK. A code that is not listed is final, `NOT_RETRYABLE`; those of transfers and
of asset queries are not, since no call about trailing orders makes any.
"""

from enum import StrEnum

Code = int | str
"""v1 `err_code` as a number; `err-code` in words; "maintain" for the body of a full maintenance."""


class CodeClass(StrEnum):
    """What a client may conclude from a code."""

    NOTHING_TO_CANCEL = "nothing_to_cancel"
    RATE_LIMITED = "rate_limited"
    RETRYABLE = "retryable"
    AMBIGUOUS = "ambiguous"
    AUTH = "auth"
    MIGRATED = "migrated"
    RETIRED = "retired"
    NOT_RETRYABLE = "not_retryable"


NO_ORDERS = 1051
CANCELLING = 1062
EXECUTED = 1063
MAINTENANCE = "maintain"
PATH_UNKNOWN = 404
TOO_MANY = 429

FIELD_MISSING = 1066
"""On a moved account also the answer to a request that lacks nothing (HTX's Java SDK, list of V5
interfaces)."""

INPUT_ERROR, FIELD_NOT_VALID = 1030, 1067

OF_FORM = (PATH_UNKNOWN, INPUT_ERROR, FIELD_MISSING, FIELD_NOT_VALID)
"""Of a whole request, which may mean its path or its form; nothing was carried out."""

NOT_ON_V5 = frozenset({4007, 6001})
"""What V5 tells an account that is not on it, as far as texts and clients' notes go; inferred."""

ANY_KEY_FAULT = 403
CLOCK_CODES = frozenset({12001, 12006, 12007, 12008})
"""Refusals that a clock which is off may cause; so may a 403."""

BUSY = frozenset({1004, "system-busy"})
"""The exchange asks not to keep cancelling while it says so (HTX API docs, "FAQ Order and Trade"
Q1)."""

NOT_FOUND = frozenset({1017, 1061})
"""Per-order codes of orders that the exchange does not know."""

NO_SUCH_CONTRACT = frozenset({1013, 1014})

SETTLED_ORDER_CODES = frozenset({1017, 1061, CANCELLING, EXECUTED, 1071})
"""Per-order codes after which the order is no longer a trailing order waiting in the book."""

_NOTHING = CodeClass.NOTHING_TO_CANCEL
_LIMITED = CodeClass.RATE_LIMITED
_AGAIN = CodeClass.RETRYABLE
_DOUBT = CodeClass.AMBIGUOUS
_AUTH = CodeClass.AUTH
_MOVED = CodeClass.MIGRATED
_GONE = CodeClass.RETIRED
_FINAL = CodeClass.NOT_RETRYABLE

_TABLE: dict[Code, tuple[CodeClass, str]] = {
    ANY_KEY_FAULT: (_AUTH, "key or signature fault of any kind"),
    PATH_UNKNOWN: (_GONE, "the path is unknown to the exchange"),
    TOO_MANY: (_LIMITED, "too many requests"),
    1000: (_DOUBT, "system error"),
    1001: (_AGAIN, "system not ready"),
    1002: (_AGAIN, "query error"),
    1003: (_DOUBT, "internal store error"),
    1004: (_DOUBT, "system busy; the docs ask not to repeat orders or cancels while it lasts"),
    1005: (_DOUBT, "query timed out inside the exchange"),
    1011: (_AUTH, "unknown user session"),
    1013: (_FINAL, "unknown contract symbol"),
    1014: (_FINAL, "unknown contract"),
    1015: (_AGAIN, "no index price"),
    1016: (_AGAIN, "no bid or ask price"),
    1017: (_NOTHING, "order does not exist"),
    INPUT_ERROR: (_FINAL, "input error, often under the text 'Abnormal service'"),
    1031: (_FINAL, "illegal request"),
    1032: (_LIMITED, "too many requests"),
    1035: (_FINAL, "direction not understood"),
    1036: (_FINAL, "offset not understood"),
    1037: (_FINAL, "leverage not valid"),
    1045: (_FINAL, "leverage locked by open orders"),
    1046: (_FINAL, "no position; older texts say 'Abnormal service'"),
    NO_ORDERS: (_NOTHING, "no orders to cancel"),
    1053: (_AGAIN, "no price range"),
    1054: (_AGAIN, "no latest price"),
    1056: (_AGAIN, "funding settlement: cancelling is refused too"),
    1059: (_AGAIN, "delivery: cancelling is refused too"),
    1061: (_NOTHING, "order does not exist"),
    CANCELLING: (_DOUBT, "cancelling is under way"),
    EXECUTED: (_NOTHING, "order was executed"),
    1064: (_DOUBT, "order key conflict"),
    FIELD_MISSING: (_FINAL, "a field is missing"),
    FIELD_NOT_VALID: (_FINAL, "a field is not valid"),
    1071: (_NOTHING, "order was cancelled before"),
    1076: (_AGAIN, "the order book is empty"),
    1077: (_AGAIN, "settlement or delivery"),
    1078: (_AGAIN, "settlement or delivery"),
    1079: (_AGAIN, "settlement or delivery"),
    1080: (_AGAIN, "settlement or delivery"),
    1084: (_LIMITED, "API use suspended by the cancellation-ratio rule"),
    1088: (_FINAL, "this contract does not take cancels now"),
    1106: (_AGAIN, "settlement or delivery"),
    1108: (_DOUBT, "internal call failed"),
    1109: (_AUTH, "sub-account may not open"),
    1110: (_AUTH, "sub-account may not close"),
    1111: (_AUTH, "sub-account may not transfer in"),
    1112: (_AUTH, "sub-account may not transfer out"),
    1113: (_AUTH, "sub-account may not trade"),
    1114: (_AUTH, "sub-account may not transfer"),
    1115: (_AUTH, "no access to this sub-account"),
    1200: (_AUTH, "login failed"),
    1220: (_AUTH, "futures trading not activated"),
    1228: (_AUTH, "futures trading not activated"),
    1230: (_AUTH, "risk check of the user not finished"),
    1231: (_AUTH, "identity check of the user not finished"),
    1233: (_AUTH, "high leverage not enabled"),
    1253: (_AUTH, "signature not valid"),
    1254: (_AUTH, "sub-account may not activate futures"),
    1409: (_AUTH, "no permission for take-profit and stop-loss orders"),
    1411: (_AGAIN, "settlement: orders cannot be read"),
    1413: (_AUTH, "no permission for trailing orders"),
    1420: (_AUTH, "no permission for grid trading"),
    1425: (_FINAL, "callback rate out of range"),
    1426: (_FINAL, "activation price out of range"),
    1427: (_FINAL, "too many trailing orders"),
    1431: (_AGAIN, "maintenance"),
    1440: (_DOUBT, "cancelling failed"),
    1455: (_FINAL, "too many trailing orders"),
    1458: (_LIMITED, "too many queries"),
    1470: (_FINAL, "too many trailing orders"),
    1487: (_AUTH, "no access to one-way mode"),
    1492: (_FINAL, "reduce-only amount too large"),
    1499: (_FINAL, "the account is in hedge mode, the request in one-way mode"),
    1500: (_FINAL, "the account is in one-way mode, the request in hedge mode"),
    1510: (_MOVED, "merged margin account: this API is closed to it"),
    4002: (_MOVED, "merged margin account: this API is closed to it"),
    4003: (_MOVED, "merged margin account: this API is closed to it"),
    4004: (_MOVED, "merged margin account: this API is closed to it"),
    4005: (_MOVED, "merged margin account: this API is closed to it"),
    4007: (_FINAL, "for unified accounts only"),
    6001: (_MOVED, "collateral mode not served by this API"),
    6002: (_MOVED, "unified or multi-asset account: this API is closed to it"),
    6023: (_MOVED, "moved account: this API is closed to it"),
    10000: (_GONE, "the interface is offline"),
    12001: (_AUTH, "submission time not valid: check the clock"),
    12002: (_AUTH, "signature version not valid"),
    12003: (_AUTH, "signature method not valid"),
    12004: (_AUTH, "the key has expired"),
    12005: (_AUTH, "the key is bound to another IP address"),
    12006: (_AUTH, "submission time missing"),
    12007: (_AUTH, "public key not valid"),
    12008: (_AUTH, "verification failed"),
    12009: (_AUTH, "user locked or unknown"),
    50102: (_AUTH, "identity check of the user not finished"),
    "api-signature-check-failed": (_AUTH, "signature not valid"),
    "api-signature-not-valid": (_AUTH, "signature not valid"),
    "base-request-exceed-frequency-limit": (_LIMITED, "too many requests"),
    "base-system-error": (_DOUBT, "system error"),
    "gateway-internal-error": (_DOUBT, "gateway error"),
    "login-required": (_AUTH, "signature missing"),
    MAINTENANCE: (_AGAIN, "full maintenance"),
    "rate-too-many-requests": (_LIMITED, "too many requests"),
    "system-busy": (_DOUBT, "system busy"),
    "system-maintenance": (_AGAIN, "maintenance"),
    "timeout": (_DOUBT, "request timed out inside the exchange"),
}

_UNLISTED = (CodeClass.NOT_RETRYABLE, "")


def classify(code: Code | None, http_status: int | None = None) -> CodeClass:
    """The class of a refusal; HTTP 429 is a rate limit whatever its body says."""
    if http_status == TOO_MANY:
        return CodeClass.RATE_LIMITED
    return CodeClass.NOT_RETRYABLE if code is None else _TABLE.get(code, _UNLISTED)[0]


def meaning(code: Code | None) -> str:
    """What the code stands for, in a few words of our own; empty when it is not listed."""
    return "" if code is None else _TABLE.get(code, _UNLISTED)[1]
