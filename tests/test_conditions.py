"""What the machine was like, and what was held in its memory."""

import os
import subprocess
import sys
import time
from collections import namedtuple
from dataclasses import asdict
from types import SimpleNamespace

import psutil
import pytest
import torch

from fastdiff.accelerators import DeepCache
from fastdiff.profiling import Conditions, conditions, memory, peak_mb, trunk_bytes, watched
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.unets import build, walk

CPU = torch.device("cpu")
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux tells of itself")


Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest guest_nice")  # psutil's on Linux


@pytest.fixture
def stat(monkeypatch):
    """stat(busy, idle, steal=0): the times of a machine of four cores, of which this process may use 0 and 2. Seconds
    that each of those has spent; the others are always busy."""
    monkeypatch.setattr(conditions, "_cores", lambda: [0, 2])

    def tell(busy, idle, steal=0.0):
        mine = Times(busy / 2, 0, busy / 2, idle, 0, 0, 0, steal, busy / 2, 0)  # guest time is within the user's
        rest = Times(busy + idle, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        monkeypatch.setattr(psutil, "cpu_times", lambda percpu: [mine, rest, mine, rest])

    return tell


@pytest.fixture
def own(monkeypatch):
    """own(seconds): what this process is said to have spent."""
    spent = [0.0]
    monkeypatch.setattr(conditions, "_own", lambda: spent[0])
    return lambda seconds: spent.__setitem__(0, seconds)


def test_others_are_what_the_cores_spent_and_this_process_did_not(stat, own):
    stat(busy=100, idle=50)
    with watched() as seen:
        stat(busy=108, idle=52)  # 20 s of two cores, 16 of them busy
        own(9.2)
    assert seen.others == pytest.approx(0.34)
    assert seen.busy
    assert seen.said == "other processes used 34 % of 2 cores: these times are not to be trusted"


def test_a_process_alone_on_its_cores_is_not_disturbed_by_the_cores_it_may_not_use(stat, own):
    stat(busy=100, idle=50)
    with watched() as seen:
        stat(busy=110, idle=50)
        own(19.0)
    assert seen.others == pytest.approx(0.05) and not seen.busy
    assert seen.said == "other processes used 5 % of 2 cores"


def test_stolen_time_is_others_and_rounding_never_makes_it_negative(stat, own):
    stat(busy=0, idle=0)
    with watched() as seen:
        stat(busy=5, idle=3, steal=2)
        own(10)
    assert seen.others == pytest.approx(0.2)
    with watched() as seen:
        stat(busy=10, idle=8, steal=2)
        own(20.5)
    assert seen.others == 0.0


def test_what_is_not_known_is_not_called_busy(stat, monkeypatch):
    stat(busy=0, idle=0)
    with watched() as seen:
        stat(busy=0.05, idle=0.05)  # a few ticks tell nothing
    assert seen.others is None

    def absent(percpu=False):
        raise FileNotFoundError

    monkeypatch.setattr(psutil, "cpu_times", absent)
    monkeypatch.setattr(psutil, "cpu_freq", absent)
    with watched() as seen:
        pass
    assert (seen.others, seen.busy, seen.clock_mhz) == (None, False, None)
    assert seen.said == "what other processes used is not known here"


def test_conditions_are_filled_when_the_work_fails(stat, own):
    stat(busy=0, idle=0)
    with pytest.raises(RuntimeError), watched() as seen:
        stat(busy=8, idle=2)
        raise RuntimeError
    assert seen.others == pytest.approx(0.8)


@LINUX
def test_a_planted_busy_process_is_seen(monkeypatch):
    """On one core, however many there are: a tenth of them all is more than one process can use of many."""
    core = conditions._cores()[-1]
    monkeypatch.setattr(conditions, "_cores", lambda: [core])
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.sched_setaffinity(busy.pid, [core])
        with watched() as seen:
            time.sleep(1.0)
    finally:
        busy.kill()
        busy.wait()  # after the block: a child that was waited for counts as one's own
    assert seen.busy and seen.said.endswith("of 1 core: these times are not to be trusted")
    assert seen.threads == torch.get_num_threads() and seen.load_average > 0
    assert set(asdict(seen)) == {"threads", "cores", "clock_mhz", "load_average", "others"}


def test_the_clock_is_the_mean_over_cores_and_that_of_a_gpu_is_its_own(monkeypatch):
    monkeypatch.setattr(psutil, "cpu_freq", lambda: SimpleNamespace(current=2500.5))
    with watched(CPU) as seen:
        pass
    assert seen.clock_mhz == 2500.5
    monkeypatch.setattr(torch.cuda, "clock_rate", lambda device: 1410)
    with watched(torch.device("cuda")) as seen:
        pass
    assert seen.clock_mhz == 1410

    def absent(device):
        raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr(torch.cuda, "clock_rate", absent)
    with watched(torch.device("cuda")) as seen:
        pass
    assert seen.clock_mhz is None


def test_one_core_is_one_core():
    assert Conditions(1, 1, others=0.02).said == "other processes used 2 % of 1 core"


# --- memory


@LINUX
@pytest.mark.parametrize("kept", [False, True])
def test_the_peak_is_what_work_held_at_once_also_when_memory_was_used_before(kept):
    """In a process of its own: on a heap that other tests have left in pieces, huge pages make the rise larger than
    what was asked for."""
    script = """
import sys
import torch
from fastdiff.device import keep_freed_memory
from fastdiff.profiling import peak_mb

if sys.argv[1] == "True":
    keep_freed_memory()

def work():
    held = [torch.ones(10**6) for _ in range(16)]  # 64 MB in pieces that the C library would keep
    del held
    return torch.ones(10**6)

cpu = torch.device("cpu")
print(*(peak_mb(work, cpu) for _ in range(3)), peak_mb(lambda: None, cpu))
"""
    said = subprocess.run([sys.executable, "-c", script, str(kept)], capture_output=True, text=True, check=True).stdout
    *peaks, nothing = map(float, said.split())
    assert peaks == pytest.approx([64] * 3, abs=8)
    assert nothing < 8


@LINUX
def test_kept_memory_serves_the_next_tensor_without_a_page_coming_anew():
    script = """
import resource
import torch
from fastdiff.device import keep_freed_memory, release_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10**7)  # 40 MB: more than the C library would keep by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def after_a_larger_one():
    torch.ones(2 * 10**7)
    return faults()

usual = after_a_larger_one()
kept, serving = keep_freed_memory(), after_a_larger_one()
release_freed_memory()
print(kept, usual, serving, faults())
"""
    kept, usual, serving, anew = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    if kept == "False":
        pytest.skip("only glibc can be told to keep freed memory, and this C library is another")
    assert min(int(usual), int(anew)) > 1000 > 10 * int(serving)


def test_where_the_high_water_mark_cannot_be_reset_there_is_no_peak(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "nowhere" / "clear_refs")
    assert peak_mb(lambda: pytest.fail("work is in vain"), CPU) is None


def test_on_cuda_the_allocator_s_own_peak_is_reset_before_and_read_after(monkeypatch):
    tape = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: tape.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: tape.append("read") or 2_500_000)
    assert peak_mb(lambda: tape.append("work"), torch.device("cuda")) == 2.5
    assert tape == ["reset", "work", "read"]


@pytest.mark.parametrize("branch", [1, 2, 4, 6])
def test_trunk_bytes_are_those_of_the_tensor_that_a_trajectory_really_keeps(random_unet, make_card, branch):
    kept = []

    class Kept(type(random_unet)):
        def up(self, i, h, skip, emb):
            if i == branch - 1:
                kept.append(h)
            return super().up(i, h, skip, emb)

    random_unet.__class__ = Kept
    with torch.inference_mode():
        denoise = Denoiser(random_unet, make_card(), (DeepCache(2, branch),)).start([1.0, 0.5], torch.tensor([0, 1, 2]))
        for sigma in (1.0, 0.5):
            denoise(torch.zeros(3, 1, 8, 8), sigma)
    full, shallow = kept
    assert shallow is full  # the cached tensor itself
    found = trunk_bytes("native", make_card().arch, (1, 8, 8), branch, full.element_size(), labels=True)
    assert 3 * found == full.numel() * full.element_size()


def test_a_trunk_of_several_tensors_counts_them_all():
    arch = dict(class_name="SongUNet", img_resolution=16, img_channels=3, model_channels=8, num_blocks=2)
    arch |= dict(channel_mult=[1, 2], attn_resolutions=[8], encoder_type="residual", decoder_type="skip")
    arch |= dict(embedding_type="fourier", channel_mult_noise=2, resample_filter=[1, 3, 3, 1])
    net = build("edm", arch)
    with torch.inference_mode():
        for branch in range(1, net.rungs + 1):
            x, c_noise = torch.zeros(2, 3, 16, 16), torch.zeros(2)
            tensors = [t for t in walk(net, x, c_noise, None, None, branch)[1] if t is not None]
            assert 2 * trunk_bytes("edm", arch, (3, 16, 16), branch, 4) == sum(t.numel() * 4 for t in tensors)
            assert len(tensors) == (2 if branch < 4 else 1)  # the image so far joins at the second level


def test_branch_0_keeps_the_output(make_card):
    assert trunk_bytes("native", make_card().arch, (1, 8, 8), 0, 4, labels=True) == 1 * 8 * 8 * 4


@pytest.mark.parametrize("branch", [-1, 7])
def test_a_branch_that_the_network_does_not_have_keeps_nothing_that_could_be_told(make_card, branch):
    with pytest.raises(ValueError, match=f"branch is {branch}; this network's skips are 1 .. 6"):
        trunk_bytes("native", make_card().arch, (1, 8, 8), branch, 4)
