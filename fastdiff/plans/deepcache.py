"""DeepCache (Ma, Fang & Wang 2024, arXiv 2312.00858): which network calls run every rung."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DeepCache:
    """Uniform 1:interval schedule (eq. 6). `branch` is the paper's m, counted from 1: on the other calls only rungs
    0 .. branch - 1 run, on the state that entered up(branch - 1) at the last full call (eq. 4). Identity: interval 1.
    """

    interval: int = 1
    branch: int = 1

    def __post_init__(self):
        if self.interval < 1:
            raise ValueError(f"interval is {self.interval}; it must be at least 1 (1 caches nothing)")
        if self.branch < 1:
            raise ValueError(f"branch is {self.branch}; it is counted from 1 (the outermost skip)")

    @property
    def off(self) -> bool:
        return self.interval == 1

    def full_calls(self, calls: int, asked: int | None = None) -> list[bool]:
        """For each call of a trajectory, from the noisiest, whether it runs every rung. The first always does.

        `asked`: the number of steps asked for; calls beyond it (spacing `stride`) are shallow, as in the official code,
        which draws its list of full calls from the steps asked for. Without caching every call is full.
        """
        asked = calls if asked is None or self.off else asked
        return [i % self.interval == 0 and i < asked for i in range(calls)]
