"""fastdiff: honest, fast measurement of training-free diffusion acceleration."""

__version__ = "0.2.0"
