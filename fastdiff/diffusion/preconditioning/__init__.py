"""How a trained network F becomes a denoiser:  x0 = skip(sigma) x + out(sigma) F(x / scale(sigma), noise(sigma)).

Every method takes a float or a tensor of any shape and gives the like (what does not depend on sigma stays a float).
`span` is the range of sigma that the method's own sampler covers, inside `domain`, all that the network accepts;
`levels` are the N noise levels of a network that knows only those (ascending float64; None = continuous).
EDM's four are Table 1 of Karras et al. 2022 (arXiv 2206.00364), with the names of its official code.
"""

from .forms import EDM, IDDPM, VE, VP, Discrete
from .names import NETWORKS, WRAPPERS, of_arch, official_name, wrapper

__all__ = ["EDM", "IDDPM", "NETWORKS", "VE", "VP", "WRAPPERS", "Discrete", "of_arch", "official_name", "wrapper"]
