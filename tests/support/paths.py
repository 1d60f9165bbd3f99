"""Where this repository's files lie, for tests of any folder."""

from pathlib import Path

import htx_async

PACKAGE = Path(htx_async.__file__).parent
"""Not to be known by its name alone: a clone's folder has the same."""

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
DATA = TESTS / "data"
