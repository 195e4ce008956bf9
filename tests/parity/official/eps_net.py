"""The small network of the Analytic-DPM fixtures (config.eps_net in their json)."""

from dataclasses import replace

import torch
import torch.nn.functional as F

from fastdiff.diffusion.noise_levels import Curves
from fastdiff.sampling.denoiser import Denoiser
from fastdiff.weights.model_card import ModelCard

from .case import Case


class EpsNet(torch.nn.Module):
    """eps(x, t) = 0.8 x + conv2(silu(conv1(x) + W e(t))): one rung."""

    rungs = 1

    def __init__(self, weights: dict[str, torch.Tensor]):
        super().__init__()
        for name, tensor in weights.items():
            self.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=False))

    def embed(self, c_noise, cond):
        rates = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(8) / 8)
        angles = c_noise[:, None] * rates
        return c_noise, torch.cat([angles.sin(), angles.cos()], 1) @ self.temb_w.T

    def down(self, i, h, emb):
        return h, h

    def mid(self, h, emb):
        return h

    def up(self, i, h, skip, emb):
        return h

    def head(self, h, emb):
        inner = F.conv2d(h, self.conv1_w, self.conv1_b, padding=1) + emb[1][:, :, None, None]
        return 0.8 * h + F.conv2d(F.silu(inner), self.conv2_w, self.conv2_b, padding=1)


def denoiser_of(case: Case, like: torch.Tensor) -> Denoiser:
    """The network of the case, fed n 1000 / N or n, for images with the shape of `like`."""
    config, schedule = case.facts["config"], case.schedule
    scale = 1000 / schedule.N if config["rescale_timesteps"] else 1.0
    shape = tuple(like.shape[-3:])
    card = ModelCard(case.name, "none", {}, shape, "none", schedule=schedule, time_scale=scale)
    curves = None
    if "ms_eps" in case.inputs:
        curves = Curves(tuple(card.noise_levels.levels.tolist()), tuple(case.inputs["ms_eps"].double().tolist()[1:]))
    return Denoiser(EpsNet(case.state), card, noise_levels=replace(card.noise_levels, curves=curves))
