"""Order ids, as many to a request as the exchange takes. Pure."""

from collections.abc import Callable, Iterable, Sequence

from htx_async.arguments import listed, shown
from htx_async.errors import InvalidRequest
from htx_async.exchange.v1 import MOST_IDS

_LONGEST_ID = 64


def checked_ids(order_ids: Iterable[str]) -> tuple[str, ...]:
    """Order ids as the exchange gives them, duplicates once; else `InvalidRequest`."""
    if isinstance(order_ids, str) or not isinstance(order_ids, Iterable):
        kind = type(order_ids).__name__
        raise InvalidRequest(
            f"order_ids must be a sequence of order ids, not {kind}; a list of one for one"
        )
    ids = tuple(order_ids)
    if not ids:
        raise InvalidRequest("order_ids is empty; an empty list never means all orders")
    wrong = [
        (f"order_ids[{place}], {shown(each)}", _NO_ID)
        for place, each in enumerate(ids)
        if not _is_id(each)
    ]
    if wrong:
        raise InvalidRequest(listed(wrong))
    return tuple(dict.fromkeys(ids))


_NO_ID = "an order id must be a string of digits; a number may be rounded"


def _is_id(value: object) -> bool:
    is_digits = isinstance(value, str) and value.isascii() and value.isdigit()
    return is_digits and len(str(value)) <= _LONGEST_ID


def batches(
    order_ids: Sequence[str], is_alone: Callable[[str], bool] = lambda order_id: False
) -> list[tuple[str, ...]]:
    """Ten to a request; one, where ten were refused for one of them."""
    together = [i for i in order_ids if not is_alone(i)]
    tens = [tuple(together[i : i + MOST_IDS]) for i in range(0, len(together), MOST_IDS)]
    return [*tens, *((i,) for i in order_ids if is_alone(i))]
