"""What `import htx_async` costs beside the libraries that it stands on.

Each import runs in a process of its own, the two interleaved, best of eleven, all from compiled
files, as after an installation; the resident memory is that of a process which did nothing else.
Run: `python -m benchmarks.import_cost`.
"""

import os
import subprocess
import sys
import tempfile

_ROUNDS = 11
_MOST_TIMES = 1.2
_MOST_MEGABYTES = 48.0

_FLOOR = """
import aiohttp, aiolimiter, pydantic
class Model(pydantic.BaseModel):
    number: int
"""
_OURS = "import htx_async"

_MEASURE = """
import time
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
with open("/proc/self/statm") as statm:
    pages = int(statm.read().split()[1])
print(seconds, pages * 4096 / 1e6)
"""


def measure(statement: str, compiled: str) -> tuple[float, float]:
    """Seconds and resident megabytes of one fresh process that runs `statement`; `compiled` is a
    folder for compiled files."""
    code = _MEASURE.format(statement=statement)
    env = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
        env=env,
    )
    seconds, megabytes = done.stdout.split()
    return float(seconds), float(megabytes)


def main() -> int:
    """Print the figures; 0 when both are within their bounds."""
    floor, ours = [], []
    with tempfile.TemporaryDirectory() as compiled:
        measure(_OURS, compiled)
        for _ in range(_ROUNDS):
            floor.append(measure(_FLOOR, compiled))
            ours.append(measure(_OURS, compiled))
    base, cost = min(floor)[0], min(ours)[0]
    memory = sorted(megabytes for _, megabytes in ours)[_ROUNDS // 2]
    print(f"aiohttp, aiolimiter, pydantic and one model: {base * 1000:.0f} ms")
    print(f"htx_async: {cost * 1000:.0f} ms, {cost / base:.2f} times (at most {_MOST_TIMES})")
    print(f"resident: {memory:.1f} MB (at most {_MOST_MEGABYTES:g})")
    return 0 if cost / base <= _MOST_TIMES and memory <= _MOST_MEGABYTES else 1


if __name__ == "__main__":
    sys.exit(main())
