"""What `make test` tries of many cases alike; `make long` tries the others."""

from collections.abc import Iterable
from typing import Any

import pytest


def first_of(cases: Iterable[Any], few: int) -> list[Any]:
    """All of them, for `pytest.mark.parametrize`, those of several values as tuples; what comes
    after the first `few` is long."""
    each = [case if isinstance(case, tuple) else (case,) for case in cases]
    marks = (pytest.mark.slow, pytest.mark.long)
    return [
        pytest.param(*case, marks=() if place < few else marks) for place, case in enumerate(each)
    ]
