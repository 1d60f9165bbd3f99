"""Order ids, as many to a request as the exchange takes. Pure."""

from collections.abc import Callable, Iterable, Sequence

from htx_async.arguments import each_of
from htx_async.errors import InvalidRequest
from htx_async.exchange.v1 import MOST_IDS

_LONGEST_ID = 64


def checked_ids(order_ids: Iterable[str]) -> tuple[str, ...]:
    """Order ids as the exchange gives them, duplicates once; else `InvalidRequest`."""
    ids = each_of("order_ids", order_ids, "orders", "; a list of one for one", _as_id)
    return tuple(dict.fromkeys(ids))


def _as_id(value: object) -> str:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _LONGEST_ID:
        return value
    raise InvalidRequest("an order id must be a string of digits; a number may be rounded")


def batches(
    order_ids: Sequence[str], is_alone: Callable[[str], bool] = lambda order_id: False
) -> list[tuple[str, ...]]:
    """Ten to a request; one, where ten were refused for one of them."""
    together = [i for i in order_ids if not is_alone(i)]
    tens = [tuple(together[i : i + MOST_IDS]) for i in range(0, len(together), MOST_IDS)]
    return [*tens, *((i,) for i in order_ids if is_alone(i))]
