"""A limit's tokens, against a list of every one of them."""

import random

import pytest

from htx_async.limits.window import Window


def drawn(chance: random.Random, size: int) -> tuple[Window, list[float]]:
    """A window at loop time 10 with some tokens in use, perhaps more than it has; and when each of
    its tokens can be had, idle ones included."""
    in_use, returning = chance.randrange(size + 3), chance.randrange(size + 3)
    window = Window(size, 1.0, 0.75)
    times = [chance.uniform(8.5, 10.0) for _ in range(returning)]
    for _ in range(in_use + returning):
        window.take()
    for at in times:
        window.settle(at, answered=chance.random() < 0.5)
    idle = [10.0] * (size - in_use - returning)
    returning_at = [max(10.0, at) for at in window._returning]
    return window, sorted([*idle, *returning_at, *[10.75] * in_use])[-size:]


@pytest.mark.parametrize("seed", range(50))
def test_a_turn_is_that_of_the_token_at_ones_place(seed: int) -> None:
    """Idle tokens first, then those in use as they come back, then the next round of all; never
    before the moment from which anybody may go."""
    chance = random.Random(seed)
    size = chance.randint(1, 7)
    window, tokens = drawn(chance, size)
    for least in (10.0, chance.uniform(10.0, 12.0)):
        for ahead in range(3 * size):
            rounds, place = divmod(ahead, size)
            expected = max(tokens[place], least) + rounds * (0.75 + 0.1)
            assert window.turn(ahead, window.turns(10.0), least, 0.1) == expected
