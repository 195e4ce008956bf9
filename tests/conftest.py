"""What many tests need: a small network that is not trivially zero, its card and denoiser, and the golden files."""

import copy
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from fastdiff.analytic import ScoreNorms
from fastdiff.bench.cell import Budget, Cell
from fastdiff.data import DataCard
from fastdiff.device import Device
from fastdiff.metrics import ImageMetrics
from fastdiff.samplers import DDIM
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.unets import build
from fastdiff.weights.model_card import ModelCard

FIXTURES = Path(__file__).parent / "fixtures"
SMALL = dict(size=8, in_channels=1, channels=8, multipliers=(1, 2), blocks=2, attention=(4,), classes=3)


def _randomised(unet: nn.Module, seed: int = 0) -> nn.Module:
    """Layers that start at zero hide everything behind them: give them weights that matter."""
    torch.manual_seed(seed)
    for layer in unet.modules():
        if isinstance(layer, nn.Conv2d) and not layer.weight.any():
            layer.weight.normal_(std=0.2)
            layer.bias.normal_(std=0.2)
    return unet


@pytest.fixture(scope="session")
def make_unet():
    """make_unet(seed=0, **arch) -> a native network with random weights; without arch, the small one."""

    def make(seed: int = 0, **arch) -> nn.Module:
        torch.manual_seed(seed)
        return _randomised(build("native", arch or SMALL), seed)

    return make


@pytest.fixture(scope="session")
def _random_unet(make_unet):
    return make_unet()


@pytest.fixture
def random_unet(_random_unet):
    """The small network; each test has its own copy, so that it may change weights."""
    return copy.deepcopy(_random_unet)


@pytest.fixture
def make_card():
    """make_card(**changed) -> the card of the small network."""

    def make(**changed) -> ModelCard:
        facts = dict(
            name="small", family="native", arch=SMALL, shape=(1, 8, 8), weights="none", sha256="0" * 64, classes=3
        )
        return ModelCard(**facts | changed)

    return make


@pytest.fixture
def make_cell(make_card):
    """make_cell(**changed) -> a cell of the small network and DDIM, whose files need not exist."""

    def make(**changed) -> Cell:
        parts = dict(
            model=make_card(),
            data=DataCard("digits", "npz", "none", 8, 1, sha256="1" * 64),
            sampler=DDIM(10),
            accelerators=(),
            score_norms=ScoreNorms(),
            metrics=ImageMetrics("classifier", "classifier", "none", "2" * 64),
            budget=Budget(),
            device=Device(),
        )
        return Cell(**parts | changed)

    return make


@pytest.fixture
def denoiser(random_unet, make_card):
    return Denoiser(random_unet, make_card())


class TapeUNet(nn.Module):
    """A one-rung network whose output is function(x_vp, c_noise, cond); what it was fed is kept in `calls`."""

    rungs = 1

    def __init__(self, function, dtype):
        super().__init__()
        self.function, self.calls = function, []
        self.weight = nn.Parameter(torch.zeros(1, dtype=dtype), requires_grad=False)  # says device and precision

    def embed(self, c_noise, cond):
        return c_noise, cond

    def down(self, i, h, emb):
        return h, h

    def mid(self, h, emb):
        return h

    def up(self, i, h, skip, emb):
        return h

    def head(self, h, emb):
        self.calls.append((h.clone(), *emb))
        return self.function(h, *emb)


@pytest.fixture
def fake_unet():
    """fake_unet(function(x_vp, c_noise, cond), dtype=float32) -> a network that computes just that."""
    return lambda function, dtype=torch.float32: TapeUNet(function, dtype)


@pytest.fixture
def traced(monkeypatch):
    """Graphs are traced and guarded as ever, but run eagerly: generating code takes most of a minute."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda *a, mode, **options: real(*a, backend="eager", **options))


@pytest.fixture
def golden():
    """golden(family, case) -> tensors by name, and the json beside them (origin, conventions, tolerances)."""

    def read(family: str, case: str) -> tuple[dict, dict]:
        path = FIXTURES / family / case
        return load_file(path.with_suffix(".safetensors")), json.loads(path.with_suffix(".json").read_text())

    return read


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium; for tests that import `browsing`, which skips them where there is none."""
    from browsing import launched

    with launched() as found:
        yield found
