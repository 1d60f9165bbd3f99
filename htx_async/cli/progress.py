"""A mass cancel as it goes, on a terminal. Loaded only when there is one."""

import sys
import time
from collections import Counter
from math import ceil

from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from htx_async.cli.plan import Schedule
from htx_async.cli.report_page import console, style
from htx_async.cli.words import visible, words
from htx_async.enums import BY_URGENCY, Outcome
from htx_async.report import CancelReport

_ROOM_FOR_A_BAR = 50
_ROOM_FOR_AN_ECHO = 4


class Bar:
    """Contracts done, their outcomes, and the time that is left. With `leaves_nothing` it is gone
    when it is closed."""

    def __init__(self, schedule: Schedule, *, leaves_nothing: bool) -> None:
        self._schedule = schedule
        self._outcomes: Counter[Outcome] = Counter()
        self._began = time.monotonic()
        self._console = console(sys.stderr)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=leaves_nothing,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        self.tick()

    def say(self, text: str) -> None:
        """Show one line above the bar."""
        self._console.print(Text(visible(text)))

    def ended(self, report: CancelReport) -> None:
        """Count a contract."""
        self._outcomes[report.outcome] += 1
        self.tick()

    def tick(self) -> None:
        """Draw it anew."""
        self._live.update(self._drawn(), refresh=True)

    def close(self) -> None:
        """Draw it for the last time."""
        self._live.stop()

    def _drawn(self) -> Table:
        done, total = self._outcomes.total(), self._schedule.contracts
        figures = Text(f"{done}/{total} done  {self._left(done == total)}")
        table = Table.grid(padding=(0, 2, 0, 0))
        # What a terminal echoes of Ctrl-C would else begin a line that is never erased.
        table.width = self._console.width - _ROOM_FOR_AN_ECHO
        if self._console.width < _ROOM_FOR_A_BAR:
            table.add_row(figures)
        else:
            table.add_column(ratio=1)
            table.add_column(no_wrap=True)
            table.add_row(ProgressBar(total, done), figures)
        table.add_row(self._counts())
        return table

    def _counts(self) -> Text:
        counted = [outcome for outcome in BY_URGENCY if self._outcomes[outcome]]
        each = (Text(f"{self._outcomes[one]} {words(one)}", style(one)) for one in counted)
        return Text(", ").join(each)

    def _left(self, is_done: bool) -> str:
        passed = time.monotonic() - self._began
        if is_done:
            return f"after {passed:.1f} s"
        if passed < self._schedule.seconds:
            return f"about {ceil(self._schedule.seconds - passed)} s to go"
        return f"deadline in {max(0.0, self._schedule.deadline - passed):.0f} s"
