"""Every fixture made by the official code comes out of ours, within the fixture's own tolerance (`make parity`)."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from official import FAMILIES, Case, Check, attempt, cases

ROOT = Path(__file__).parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
ALL = [case for family in FAMILIES for case in cases(FIXTURES, family)]

# Outputs that nothing here makes: TensorFlow's resize is inside its network's file, and nothing resizes to 20 x 13.
UNCOVERED: dict[str, set[str]] = {"metrics": {"tf1_bilinear", "w20_h13"}}


@pytest.mark.parametrize("case", ALL, ids=lambda case: f"{case.family}/{case.name}")
def test_a_case_agrees_with_the_official_code(case):
    with torch.inference_mode():
        checks, left = attempt(case)
    assert [check for check in checks if not check.ok] == []
    left = {f"{case.name}/{output}" for output in left}
    known = UNCOVERED.get(case.family, set())
    assert [name for name in left if not any(part in name for part in known)] == []


def test_every_family_of_fixtures_has_its_checks():
    folders = {path.name for path in FIXTURES.iterdir() if path.is_dir()}
    assert folders == set(FAMILIES)


def parity(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "tests" / "parity" / "run.py"), *arguments]
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


def copied(folder: Path, family: str, case: str, name: str | None = None) -> Path:
    """A case under another family's name; the json's path."""
    (folder / (name or family)).mkdir(parents=True, exist_ok=True)
    for suffix in ("json", "safetensors"):
        shutil.copy(FIXTURES / family / f"{case}.{suffix}", folder / (name or family))
    return folder / (name or family) / f"{case}.json"


def test_what_is_no_number_is_no_agreement(tmp_path):
    case = Case(FIXTURES, "ddim_unet", "A_c11_nb2_uniform10_eta0")
    found = case.outputs["xs"].clone()
    assert case.check("xs", found).ok
    found[3:] = math.nan
    check = case.check("xs", found)
    assert not check.ok and check.share == math.inf
    assert not Check("f", "c", "o", math.nan, 1.0).ok and not Check("f", "c", "o", 0.1, 0.0).ok


def test_one_bad_case_does_not_hide_the_others(tmp_path):
    copied(tmp_path, "adm_unet", "c11_uncond_plain")
    copied(tmp_path, "adm_unet", "c11_uncond_plain", name="ldm_unet")  # a family that has no checks
    torn = copied(tmp_path, "ddim_unet", "A_c11_nb2").with_suffix(".safetensors")
    torn.write_bytes(torn.read_bytes()[:1000])
    facts = copied(tmp_path, "edm_unet", "ddpmpp_uncond")
    facts.write_text(facts.read_text().replace('"tolerance_abs"', '"tolerance"').replace("_per_leading", "_by"))
    done = parity(f"fixtures={tmp_path}", "out=null")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.split()[:1] != ["FAILED"]}
    assert {"adm_unet", "ddim_unet", "edm_unet", "ldm_unet"} <= set(lines)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    assert len(failed) == 3 and not any("adm_unet/" in line for line in failed)
    assert any("family 'ldm_unet' is not one of: adm_unet" in line for line in failed)


def test_cases_in_other_words_are_read_too(tmp_path):
    """Official spellings that a fixture's author may take: init_kwargs, no limit as a word, whole numbers as floats."""
    path = copied(tmp_path, "edm_unet", "ddpmpp_vp_cond")
    facts = json.loads(path.read_text())
    words = facts["config"].pop("kwargs")
    facts["config"] = {"class_name": "training.networks.VPPrecond", "init_kwargs": words}
    path.write_text(json.dumps(facts))
    path = copied(tmp_path, "edm_sampler", "churn40_ddpmpp_uncond")
    shutil.copy(FIXTURES / "edm_unet" / "ddpmpp_uncond.json", tmp_path / "edm_unet")
    shutil.copy(FIXTURES / "edm_unet" / "ddpmpp_uncond.safetensors", tmp_path / "edm_unet")
    facts = json.loads(path.read_text())
    facts["call"]["kwargs"] |= {"num_steps": 8.0}
    path.write_text(json.dumps(facts))
    with torch.inference_mode():
        checks = [check for family in ("edm_unet", "edm_sampler") for case in cases(tmp_path, family)
                  for check in attempt(case)[0]]  # fmt: skip
    assert len(checks) == 12 and all(check.ok for check in checks)


def test_an_empty_folder_is_refused_in_one_sentence(tmp_path):
    done = parity(f"fixtures={tmp_path}", "out=null")
    assert done.returncode == 2 and done.stderr.startswith("error: no fixture of adm_unet, analytic")


def test_an_unknown_word_gives_the_menu():
    done = parity("fixture=here")
    assert done.returncode == 2
    assert done.stderr == "error: 'fixture=here' is not one of: fixtures=PATH, out=PATH\n"
