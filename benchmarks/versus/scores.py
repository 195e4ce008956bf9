"""Scoring: our Frechet distance and feature extraction beside clean-fid's."""

import contextlib
import io
import tempfile
import time
from pathlib import Path

import numpy as np

from fastdiff_benchmarks.versus.targets import Target


def distance(dimensions: int = 2048, n: int = 5000, repeats: int = 3) -> Target:
    """Seconds from moments to the distance; the reference is factored in the first run, which is not the best."""
    from cleanfid.fid import frechet_distance

    from fastdiff.metrics import frechet, moments

    draw = np.random.default_rng(0)
    mix = draw.normal(size=(dimensions, dimensions)) / dimensions**0.5
    arm, reference = (moments(draw.normal(size=(n, dimensions)) @ mix + shift) for shift in (0.1, 0.0))
    ours, mine = _best(lambda: frechet(arm, reference), repeats)
    theirs, its = _best(lambda: frechet_distance(arm.mean, arm.cov, reference.mean, reference.cov), 1)
    note = f"equal to {abs(mine / its - 1):.0e} of the value; ours the best of {repeats} runs, theirs one"
    return Target(f"Frechet distance, D = {dimensions}: against clean-fid", ours, theirs, theirs / ours, 10, unit="s",
                  note=note)  # fmt: skip


def extraction(images: int = 200, repeats: int = 3) -> Target:
    """Images per second from uint8 images, ours in memory, clean-fid's from a folder of PNGs as it wants them (written
    before the clock starts). One Inception-v3 with random weights, float32, mode legacy_pytorch."""
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

        theirs, its = _best(folder_features, repeats)
        ours, mine = _best(lambda: features_of(network, resize, pixels, 50, threads=2), repeats)
    note = f"largest difference {np.abs(mine - its).max():.1e} of features up to {np.abs(its).max():.1e}"
    return Target("features: against clean-fid's folder of PNGs", images / ours, images / theirs, theirs / ours, 1.0,
                  note=f"{note}; the best of {repeats} runs each")  # fmt: skip


def inception():
    """torchvision's Inception-v3, images (B 3 299 299) in 0 .. 255 -> features (B 2048), with random weights (He et
    al.'s, so that features do not vanish)."""
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


def _best(run, repeats: int):
    """Least seconds of so many runs, and the last result."""
    spent = []
    for _ in range(repeats):
        begun = time.perf_counter()
        result = run()
        spent.append(time.perf_counter() - begun)
    return min(spent), result
