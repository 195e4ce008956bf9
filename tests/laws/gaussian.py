"""What is exactly true of Gaussian data N(0, S^2 I), for the laws of solvers: x0 = S^2 / (S^2 + sigma^2) x."""

import math

import torch

S2 = 0.25


class Gaussian:
    """The exact denoiser in EDM space; what it was called with is kept. rounded: as iDDPM networks round sigma."""

    vp, span = False, (0.002, 80.0)

    def __init__(self, low=0.0, high=math.inf, rounded=lambda sigma: sigma, levels=None):
        self.sigma_min, self.sigma_max, self.rounded, self.levels, self.calls = low, high, rounded, levels, []

    def prior_scale(self, sigma):
        return sigma

    def start(self, calls, cond=None, asked=None):
        self.begun = calls, asked

        def denoise(x, sigma):
            self.calls.append((sigma, x))
            return S2 / (S2 + sigma**2) * x

        return denoise


def ones(index):
    return torch.ones(1, 1, 1, 1)
