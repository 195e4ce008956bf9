"""clean-fid's Inception-v3 as an extractor: its weights, its resize, its features; the distance is ours."""

import os
from pathlib import Path

import numpy as np

from .features import Features, MetricsCard, check_pixels

# Where clean-fid itself looks; its paths are hard-coded.
TORCHSCRIPT = Path("/tmp" if os.name != "nt" else ".") / "inception-2015-12-05.pt"
PYTORCH = "pt_inception-2015-12-05-6726825d.pth"
URLS = {
    TORCHSCRIPT.name: "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    PYTORCH: "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/" + PYTORCH,
}
SMALLEST = 80_000_000  # bytes; both files are above 90 MB, and a truncated download would be taken for whole


def weights_path(mode: str) -> Path:
    import torch

    return TORCHSCRIPT if mode != "legacy_pytorch" else Path(torch.hub.get_dir()) / "checkpoints" / PYTORCH


class CleanFidExtractor:
    """2048 features of images resized to 299 x 299 by clean-fid's own rule of `mode`; no class probabilities.

    Grey images become three equal channels. Raises FileNotFoundError, saying what to put where, when the weights are
    neither there nor to be had.
    """

    def __init__(self, card: MetricsCard, device="cpu"):
        import torch
        from cleanfid.features import build_feature_extractor
        from cleanfid.resize import build_resizer

        path = weights_path(card.mode)
        url = URLS[path.name]
        if path.exists() and path.stat().st_size < SMALLEST:
            raise ValueError(f"{path} is truncated ({path.stat().st_size} bytes); delete it and fetch {url} again")
        try:
            self.network = build_feature_extractor(card.mode, torch.device(device), use_dataparallel=False)
        except OSError as error:  # URLError is one
            raise FileNotFoundError(
                f"clean-fid's Inception-v3 is not at {path} and cannot be downloaded ({error}); fetch {url} on another"
                f" machine and put it there, or use metrics=mnist_classifier"
            ) from error
        self.resize, self.device, self.batch = build_resizer(card.mode), torch.device(device), card.batch

    def __call__(self, pixels: np.ndarray) -> Features:
        import torch

        check_pixels(pixels)
        parts = []
        for part in np.split(pixels, range(self.batch, len(pixels), self.batch)):
            channels_last = np.repeat(part, 3 // part.shape[1], axis=1).transpose(0, 2, 3, 1)
            resized = np.stack([self.resize(image) for image in channels_last]).transpose(0, 3, 1, 2)
            with torch.inference_mode():
                parts.append(self.network(torch.from_numpy(resized).to(self.device)).half().cpu().numpy())
        features = np.concatenate(parts)
        return Features(features, np.zeros((len(features), 0), np.float32))
