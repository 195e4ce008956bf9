"""What the README says is so."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
README, MAKEFILE = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()


def test_the_python_example_runs(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    exec(compile(example, "README.md", "exec"), {})
    (value,) = re.findall(r"fid\[mnist-classifier,n=200\] = ([\d.]+)", capsys.readouterr().out)
    assert float(value) > 0


def test_every_make_target_that_is_named_exists():
    named = set(re.findall(r"make ([a-z-]+)", README))
    assert named and named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.M))


def test_every_file_that_is_named_exists():
    named = re.findall(r"`((?:conf|docs|fastdiff|benchmarks|results)/[\w./]+\.\w+)`", README)
    assert named and all((ROOT / name).exists() for name in named if "results/report" not in name)
