"""The wall clock and its correction."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from htx_async.wall_clock import WallClock

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "told",
    [NOON, NOON.timestamp(), int(NOON.timestamp()), NOON.astimezone(timezone(timedelta(hours=8)))],
)
def test_any_form_of_now_becomes_utc(told: datetime | float) -> None:
    """Aware datetimes of any zone and Unix seconds mean the same moment."""
    now = WallClock(lambda: told).now()
    assert now == NOON
    assert now.tzinfo is UTC


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_skew_is_measured_and_corrected(hours: int) -> None:
    """The exchange's time, half a round trip old, tells how far ours is off."""
    clock = WallClock(lambda: NOON)
    ts = int((NOON + timedelta(hours=hours, seconds=-0.2)).timestamp() * 1000)
    ahead = clock.ahead(ts, 0.2)
    assert ahead is not None
    assert ahead == pytest.approx(hours * 3600)
    clock.correct(ahead)
    assert clock.now() == NOON + timedelta(hours=hours)
    assert clock.skew == pytest.approx(hours * 3600)
    assert clock.ahead(ts, 0.2) == pytest.approx(hours * 3600)
