"""The suite itself: what it needs of the machine that it runs on, and what it does not."""

import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

_DEAF = "trap '' INT HUP; exec \"$@\""
INTERRUPTED = "tests/cli/test_interrupted.py::test_what_is_not_answered_in_time_is_unknown"


@pytest.mark.slow
@pytest.mark.long
def test_signals_that_the_parent_ignores_are_heeded_by_the_children() -> None:
    """Under nohup and behind "&" the tests of Ctrl-C and of a closed terminal still pass."""
    options = ("-q", "-n", "0", "-p", "no:cacheprovider", "-p", "no:randomly")
    done = subprocess.run(
        ["/bin/sh", "-c", _DEAF, "sh", sys.executable, "-m", "pytest", *options, INTERRUPTED],
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout
