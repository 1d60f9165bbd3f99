"""Checks of what users hand in."""

from typing import Any

import pytest

from htx_async import InvalidRequest
from htx_async.checks import as_count, as_instance, as_seconds


@pytest.mark.parametrize("value", [1, 0.001, 3.0, 86_400])
def test_seconds_are_positive_finite_numbers(value: float) -> None:
    """Whole numbers and fractions, as a float."""
    assert as_seconds("wait", value) == value
    assert isinstance(as_seconds("wait", value), float)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "1", None, True, [1]])
def test_anything_else_is_no_time(value: Any) -> None:
    """The error names the argument and what was given."""
    with pytest.raises(InvalidRequest, match="wait must be"):
        as_seconds("wait", value)


@pytest.mark.parametrize(("value", "fits"), [(0, True), (0.0, True), (2, True), (-0.1, False)])
def test_seconds_with_a_least_value(value: float, fits: bool) -> None:
    """With `least`, that value itself is taken."""
    if fits:
        assert as_seconds("pause", value, least=0) == value
    else:
        with pytest.raises(InvalidRequest, match="from 0 up"):
            as_seconds("pause", value, least=0)


@pytest.mark.parametrize("value", [0, -3, 1.0, "2", None, True])
def test_counts_are_whole_numbers_from_one_up(value: Any) -> None:
    """One and more pass as they are; nothing is rounded."""
    assert as_count("size", 5) == 5
    with pytest.raises(InvalidRequest, match="size must be a whole number"):
        as_count("size", value)


def test_instances_are_of_the_kind_that_is_named() -> None:
    """The error names both kinds, never the value, which may be a key."""
    as_instance("name", "text", str)
    with pytest.raises(InvalidRequest, match="name must be str, not int") as caught:
        as_instance("name", 4711, str)
    assert "4711" not in str(caught.value)
