"""The knobs of score norms: the node score_norms in conf."""

from dataclasses import dataclass

from ..files import locate, sha256

ESTIMATORS = ("eps_ms", "mse")
CACHED = ("base", "joint")


@dataclass(frozen=True)
class ScoreNorms:
    """Where score norms come from: `images` training images and noise of `seed`, or an official ms_eps `file`.

    estimator: `eps_ms` (Bao et al. 2022, eq. 9) or `mse`, whose variance is KL-optimal for the mean that the sampler
    takes from this network. cached, under a cache: `base`, norms of the uncached network for every call, or `joint`,
    those of the cached network for its shallow calls. levels, of spacing `dp`: how many noise levels the curve is
    estimated at.
    """

    images: int = 256
    seed: int = 0
    file: str | None = None
    estimator: str = "eps_ms"
    cached: str = "base"
    levels: int = 64

    def __post_init__(self):
        if self.images < 2:
            raise ValueError(f"score_norms.images is {self.images}; at least 2 are needed for a standard error")
        for knob, choices in (("estimator", ESTIMATORS), ("cached", CACHED)):
            if getattr(self, knob) not in choices:
                raise ValueError(f"{knob} '{getattr(self, knob)}' is not one of: {', '.join(choices)}")
        if self.levels < 2:
            raise ValueError(f"score_norms.levels is {self.levels}; a curve needs at least 2 (all: the network's N)")
        if self.file is not None and (self.estimator, self.cached) != ("eps_ms", "base"):
            raise ValueError("an ms_eps file holds eps_ms of uncached calls: it needs estimator=eps_ms and cached=base")

    def identity(self) -> dict:
        """What each stored norm depends on: one pass gives both estimators, level by level."""
        if self.file is not None:
            return {"file_sha256": sha256(locate(self.file))}
        return {"images": self.images, "seed": self.seed}

    def used(self, analytic: bool, cached: bool, optimal: bool) -> dict:
        """What a cell's images depend on: whether it takes its variance from norms, caches, places steps by norms."""
        joint = analytic and cached and self.cached != "base"
        found = self.identity() | ({"cached": self.cached} if joint else {})
        # `of` tells the key from that of earlier versions, whose mse knew nothing of the sampler's clip
        found |= {"estimator": "mse", "of": "the mean"} if analytic and self.estimator == "mse" else {}
        return found | ({"levels": self.levels} if optimal and self.file is None else {})
