"""The wheel alone, in an environment and a folder that know nothing of the repository, measures a cell."""

import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_wheel_measures_a_tiny_cell_outside_the_repository(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("fastdiff", "benchmarks", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))

    def call(*command) -> str:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=tmp_path / "empty")
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    (tmp_path / "empty").mkdir()
    call(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source)
    (wheel,) = tmp_path.glob("fastdiff_bench-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"fastdiff_conf/config.yaml", "fastdiff_conf/grid/default.yaml", "fastdiff_benchmarks/run.py"} <= set(names)
    assert {
        "fastdiff_conf/grid/paper/deepcache_table2.yaml",
        "fastdiff_benchmarks/anchors/deepcache_table2.csv",
    } <= set(names)
    assert {"fastdiff/assets/mnist10k.npz", "fastdiff/assets/mnist_unet.safetensors"} <= set(names)
    assert {"fastdiff/report/page.css", "fastdiff/report/plot.js", "fastdiff/report/table.js"} <= set(names)

    call(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    call(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel)
    # The dependencies are borrowed; the repository is not, because a .pth line's own .pth files are not followed.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    python = tmp_path / "venv" / "bin" / "python"
    assert str(site) in call(python, "-c", "import fastdiff; print(fastdiff.__file__)")

    tiny = ["budget.n=10", "device=cpu", "device.batch=5", "sampler.steps=2", "tracker=none"]
    assert "fid[mnist-classifier,n=10]" in call(python, "-m", "fastdiff_benchmarks", "run", *tiny)
    script = site / "bin" / "fastdiff"
    assert "run " in call(python, script, "--help")
    assert "already measured" in call(python, script, "run", *tiny)
