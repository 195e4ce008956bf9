"""Scoring: our Frechet distance and feature extraction beside clean-fid."""

import contextlib
import io
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from fastdiff_benchmarks.studies.versus.targets import Target, beside

OURS, THEIRS = "ours", "clean-fid"


def distance(dimensions: int = 2048, n: int = 5000) -> Target:
    """Seconds from moments to the distance. Our reference is factored in the first call, once per sweep."""
    from cleanfid.fid import frechet_distance

    from fastdiff.metrics import frechet, moments

    draw = np.random.default_rng(0)
    mix = draw.normal(size=(dimensions, dimensions)) / dimensions**0.5
    arm, reference = (moments(draw.normal(size=(n, dimensions)) @ mix + shift) for shift in (0.1, 0.0))
    arms, results = _turns({
        THEIRS: lambda: frechet_distance(arm.mean, arm.cov, reference.mean, reference.cov),
        OURS: lambda: frechet(arm, reference),
    })  # fmt: skip
    found = beside(f"Frechet distance, D = {dimensions}: against clean-fid", arms, OURS, THEIRS, 10)
    note = f"equal to {abs(results[OURS] / results[THEIRS] - 1):.0e} of the value; our reference was factored before"
    return replace(found, ours=median(arms[OURS].seconds), theirs=median(arms[THEIRS].seconds), unit="s", note=note)


def extraction(images: int = 200) -> Target:
    """Images per second from uint8 images to features, with one Inception-v3 (random weights, float32, legacy_pytorch).

    Ours reads them from memory. clean-fid reads a folder of PNGs, written before the clock starts.
    """
    import torch
    from cleanfid.fid import get_folder_features
    from PIL import Image

    from fastdiff.metrics.clean_fid import build_resize, features_of

    pixels = np.random.default_rng(0).integers(0, 256, (images, 3, 32, 32), dtype=np.uint8)
    network, resize = inception(), build_resize("legacy_pytorch")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        for i, image in enumerate(pixels):
            Image.fromarray(image.transpose(1, 2, 0)).save(Path(folder) / f"{i:06d}.png")

        def folder_features():
            with contextlib.redirect_stdout(io.StringIO()):
                return get_folder_features(folder, network, num_workers=2, batch_size=50, device=torch.device("cpu"),
                                           mode="legacy_pytorch", verbose=False)  # fmt: skip

        work = {THEIRS: folder_features, OURS: lambda: features_of(network, resize, pixels, 50, threads=2)}
        arms, results = _turns(work, images)
    mine, its = results[OURS], results[THEIRS]
    note = f"largest difference {np.abs(mine - its).max():.1e} of features up to {np.abs(its).max():.1e}"
    return beside("features: against clean-fid's folder of PNGs", arms, OURS, THEIRS, 1.0, note=note)


def inception():
    """torchvision's Inception-v3: images (B 3 299 299) in 0 .. 255 -> features (B 2048).

    The random weights have He's initialisation, which keeps features from vanishing.
    """
    import torch
    from torch import nn
    from torchvision.models import Inception3

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Inception3(aux_logits=False, init_weights=False)
        for part in network.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    network.fc = nn.Identity()
    network.eval().requires_grad_(False)
    return lambda x: network(x / 255)


def _turns(work: dict, batch: int = 1) -> tuple[dict, dict]:
    """Arms timed in turns, each as often as an interval needs, and their results."""
    from fastdiff.profiling import interleaved

    results = {}

    def kept(name: str):
        results[name] = work[name]()

    arms = {name: partial(kept, name) for name in work}
    return interleaved(arms, lambda: None, batch, repeats=1, seconds=1), results
