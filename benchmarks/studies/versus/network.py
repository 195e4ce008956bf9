"""The timed network: the architecture of google/ddpm-cifar10-32 with any width and random weights."""

from dataclasses import dataclass
from functools import cached_property, partial

SHAPE = (3, 32, 32)


def config(width: int) -> dict:
    """Arguments of diffusers' UNet2DModel. width: channels of the outermost rung, a multiple of 32."""
    if width < 32 or width % 32:
        raise ValueError(f"width is {width}; a multiple of 32 is needed, because the norms have 32 groups")
    return {
        "_class_name": "UNet2DModel", "sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 2,
        "block_out_channels": [width, 2 * width, 2 * width, 2 * width], "freq_shift": 1, "flip_sin_to_cos": False,
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
        "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"], "norm_eps": 1e-6,
        "downsample_padding": 0, "mid_block_scale_factor": 1, "norm_num_groups": 32, "attention_head_dim": None,
    }  # fmt: skip


@dataclass(frozen=True)
class Timed:
    """The network on a device, as diffusers' object and as ours, with the same weights."""

    width: int
    device: str

    @cached_property
    def card(self):
        from fastdiff.weights.model_card import ModelCard

        return ModelCard(f"ddpm-cifar10-width-{self.width}", "hf", config(self.width), SHAPE, "none", time_shift=-1.0)

    @cached_property
    def state(self) -> dict:
        """Random weights (seed 0). The outputs have the size of noise."""
        import torch
        from diffusers import UNet2DModel

        with torch.random.fork_rng():
            torch.manual_seed(0)
            return UNet2DModel(**_arguments(self.width)).state_dict()

    def official(self, dtype=None, channels_last: bool = False):
        """The object of diffusers."""
        import torch
        from diffusers import UNet2DModel, logging

        logging.set_verbosity_error()  # .to() warns of modules that must stay in float32; here are none
        unet = UNet2DModel(**_arguments(self.width))
        unet.load_state_dict(self.state)
        form = torch.channels_last if channels_last else torch.contiguous_format
        return unet.eval().requires_grad_(False).to(self.device, dtype or torch.float32).to(memory_format=form)

    def ours(self, precision: str = "float32", memory_format: str = "contiguous"):
        """The same network, cut into rungs."""
        from fastdiff.sampling.denoiser import DTYPES
        from fastdiff.unets import build, laid_out

        unet = build("hf", config(self.width), self.state)
        return laid_out(unet.to(self.device, DTYPES[precision]), memory_format)

    def denoiser(self, unet, interval: int = 1, branch: int = 1, rho: float = 1.0, compile: str = "none"):
        """Our denoiser of the network, with DeepCache and Skip-Tuning."""
        from fastdiff.accelerators import DeepCache, SkipTuning, branch_of, joins_of
        from fastdiff.sampling.denoiser import Denoiser
        from fastdiff.unets import Runner

        accelerators = tuple(each for each in (SkipTuning(rho), DeepCache(interval, branch)) if not each.off)
        runner = Runner(unet, joins_of(accelerators, unet.rungs), branch_of(accelerators), compile)
        return Denoiser(unet, self.card, accelerators, runner=runner)


def _arguments(width: int) -> dict:
    return {name: value for name, value in config(width).items() if not name.startswith("_")}


def brief(arms: dict, interval: int = 1) -> dict:
    """Short trajectories for the warm-up: all calls of one interval and one more full call."""
    return {name: partial(work, interval + 1) for name, work in arms.items()}


def synchronise(device: str):
    """A function that waits until the device is idle. On a CPU it does nothing."""
    import torch

    return (lambda: torch.cuda.synchronize(device)) if device.startswith("cuda") else (lambda: None)
