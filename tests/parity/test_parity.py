"""Every fixture made by the official code comes out of ours, within the fixture's own tolerance (`make parity`)."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastdiff.parity import FAMILIES, cases

ROOT = Path(__file__).parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
ALL = [case for family in FAMILIES for case in cases(FIXTURES, family)]

# Outputs that nothing here makes yet; whoever adds the code takes its line out.
UNCOVERED = {
    "analytic": {"ddpm_ms_eps_ot_calls_t", "ddpm_ms_eps_ot_calls_x", "ddpm_ms_eps_ot_x0"},
    "edm_sampler": {f"ablation_{case}/{output}" for case in ("euler_vp_ddpmpp_vp_cond", "heun_edm_ddpmpp_uncond")
                    for output in ("calls_sigma", "calls_x", "x_final")},
    "metrics": {"isc_std", "kid", "mmd2", "prc", "prdc"},
}  # fmt: skip


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.family}/{case.name}")
def test_a_case_agrees_with_the_official_code(case):
    with torch.inference_mode():
        checks = list(FAMILIES[case.family](case))
    assert [check for check in checks if not check.ok] == []
    left = {f"{case.name}/{output}" for output in case.outputs} - {f"{case.name}/{check.output}" for check in checks}
    known = UNCOVERED.get(case.family, set())
    assert [name for name in left if not any(part in name for part in known)] == []


def test_every_family_of_fixtures_has_its_checks():
    folders = {path.name for path in FIXTURES.iterdir() if path.is_dir()}
    assert folders == set(FAMILIES)


def parity(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "benchmarks" / "parity.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_command_prints_a_line_a_family_and_writes_every_output(tmp_path):
    done = parity(f"out={tmp_path}/parity.csv")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[0] for line in lines if line and line[0] in FAMILIES] == sorted(FAMILIES)
    table = (tmp_path / "parity.csv").read_text().splitlines()
    assert table[0] == "family,case,output,error,tolerance,ok" and len(table) > 300


def test_a_difference_is_found_and_gives_exit_code_1(tmp_path):
    """The command is no test that cannot fail: with one weight changed it says where."""
    from safetensors.torch import load_file, save_file

    for suffix in ("json", "safetensors"):
        (tmp_path / "adm_unet").mkdir(exist_ok=True)
        shutil.copy(FIXTURES / "adm_unet" / f"c11_cond_sigma_updown.{suffix}", tmp_path / "adm_unet")
    path = tmp_path / "adm_unet" / "c11_cond_sigma_updown.safetensors"
    tensors = load_file(path)
    tensors["weights/out.2.bias"] += 0.1
    save_file(tensors, path)
    done = parity(f"fixtures={tmp_path}", "out=null")
    assert done.returncode == 1
    assert "FAILED adm_unet/c11_cond_sigma_updown/out:" in done.stdout


def test_an_empty_folder_is_refused_in_one_sentence(tmp_path):
    done = parity(f"fixtures={tmp_path}", "out=null")
    assert done.returncode == 2 and done.stderr.startswith("error: no fixture of adm_unet, analytic")
