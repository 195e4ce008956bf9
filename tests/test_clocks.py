"""Durations are read from a clock that never jumps: `time.perf_counter`. The wall clock may be set while one waits."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WALL = {"time", "time_ns"}


def wall_clocks(source: str) -> list[int]:
    """Lines that read time.time or time.time_ns, under whatever name the module goes, or import either by name."""
    nodes = list(ast.walk(ast.parse(source)))
    aliases = [alias for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules = {alias.asname or alias.name for alias in aliases if alias.name == "time"}
    lines = []
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            wrong = node.value.id in modules and node.attr in WALL
        else:
            wrong = isinstance(node, ast.ImportFrom) and node.module == "time" and WALL & {a.name for a in node.names}
        if wrong:
            lines.append(node.lineno)
    return sorted(lines)


@pytest.mark.parametrize("room", ["fastdiff", "benchmarks"])
def test_no_duration_comes_from_the_wall_clock(room):
    paths = sorted((ROOT / room).rglob("*.py"))
    assert paths
    assert not [f"{path.relative_to(ROOT)}:{line}" for path in paths for line in wall_clocks(path.read_text())]


@pytest.mark.parametrize(
    "planted",
    [
        "import time\nbegun = time.time()",
        "import time as t\nbegun = t.time()",
        "import os, time\nclock = time.time_ns",
        "x = 1\nfrom time import time",
        "x = 1\nfrom time import perf_counter, time as now",
        "def late():\n    import time; return time.time()",
    ],
)
def test_a_planted_wall_clock_is_found(planted):
    assert wall_clocks(planted) == [2]


@pytest.mark.parametrize(
    "honest",
    [
        "import time\nbegun = time.perf_counter()",
        "from time import perf_counter, sleep",
        "from datetime import datetime, timezone\nnow = datetime.now(timezone.utc)",
        "row.time",
        "def step(time):\n    return time.time",
    ],
)
def test_an_honest_clock_is_not(honest):
    assert wall_clocks(honest) == []
