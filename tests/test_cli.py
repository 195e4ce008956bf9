"""The installed command: version, help, completion, and a menu for an unknown command."""

import os
import subprocess
import sys

import pytest

from fastdiff import __version__
from fastdiff_benchmarks.__main__ import COMMANDS


def fastdiff(*words: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "fastdiff_benchmarks", *words]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})


def completed(line: str, shell: str = "bash") -> list[str]:
    return fastdiff("-sc", f"query={shell}", COMP_LINE=line).stdout.split()


def test_the_version_is_the_package_s():
    assert fastdiff("--version").stdout == f"fastdiff {__version__}\n"


def test_help_lists_the_commands():
    said = fastdiff("--help").stdout
    assert all(f"  {name:11} {what}\n" in said for name, what in COMMANDS.items())
    assert fastdiff().stdout == said


def test_an_unknown_command_gives_the_menu():
    done = fastdiff("rum")
    assert done.returncode == 2
    assert done.stderr == f"error: command 'rum' is not one of: {', '.join(sorted(COMMANDS))}\n"


def test_help_of_a_command_lists_every_setting_with_its_value_and_meaning():
    lines = fastdiff("run", "sampler=ddim", "--help").stdout.splitlines()
    (eta,) = [line for line in lines if line.startswith("  sampler.eta=")]
    assert eta.split(maxsplit=1) == ["sampler.eta=0.0", "0: DDIM, no noise is added; 1: DDPM"]
    assert any(line.startswith("  accelerator.deepcache.interval=1 ") for line in lines)
    assert any(line.startswith("  guidance=1.0 ") for line in lines)
    assert "  device: auto, cpu, cuda" in lines
    assert not any("base/" in line or "  hydra" in line for line in lines)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "completion"])
def test_every_command_has_help(name):
    done = fastdiff(name, "--help")
    assert done.returncode == 0 and "settings: knob=value" in done.stdout, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_calls_the_command_back(shell):
    done = fastdiff("completion", shell)
    assert done.returncode == 0 and "fastdiff" in done.stdout and "-sc query=" in done.stdout
    assert f"fastdiff completion {shell}" in fastdiff("completion").stdout


def test_completion_knows_commands_groups_members_and_knobs():
    assert completed("fastdiff re") == ["report", "reproduce"]
    assert completed("fastdiff run sampler=dd") == ["sampler=ddim", "sampler=ddpm", "sampler=ddpm_large"]
    assert completed("fastdiff run sampler=dd", "fish") == completed("fastdiff run sampler=dd")
    assert completed("fastdiff run +grid=smo") == ["+grid=smoke"]
    assert completed("fastdiff run device=cpu accelerator.deepcache.br") == ["accelerator.deepcache.branch="]
    assert "sampler=" in completed("fastdiff run sampl")
    assert not [word for word in completed("fastdiff run sampler=") if "base" in word]


def test_an_unknown_shell_gives_the_menu():
    done = fastdiff("completion", "tcsh")
    assert done.returncode == 2 and "shell 'tcsh' is not one of: bash, fish, zsh" in done.stderr


def test_bash_completes_with_the_script(tmp_path):
    """The script is evaluated, and the function that it registers is called as bash calls it."""
    (tmp_path / "fastdiff").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fastdiff_benchmarks "$@"\n')
    (tmp_path / "fastdiff").chmod(0o755)
    script = (
        f'PATH="{tmp_path}:$PATH"; eval "$(fastdiff completion bash)"\n'
        'COMP_LINE="fastdiff run sampler=ddp"; COMP_POINT=${#COMP_LINE}; COMP_CWORD=2\n'
        'hydra_bash_completion; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["sampler=ddpm", "sampler=ddpm_large"], done.stderr


def test_a_node_that_the_root_does_not_know_needs_a_plus():
    done = fastdiff("run", "accelerator.freeu.b=1.2")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "accelerator has no knob 'freeu'; known: " in done.stderr and "+accelerator.freeu.<knob>=" in done.stderr
