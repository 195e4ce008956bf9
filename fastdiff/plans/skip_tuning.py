"""Skip-Tuning (Ma et al. 2024, arXiv 2402.15170): scale every skip where its decoder concat eats it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SkipTuning:
    """Factor rho_bottom at the innermost skip, rho_top at rung 0 (`conv_in`), linear between (Def. 3.1).

    Of the paper's readings of "linear" this is the one that hits both ends: linspace(rho_bottom, rho_top, K).
    Identity: both 1.
    """

    rho_bottom: float = 1.0
    rho_top: float = 1.0

    def __post_init__(self):
        for name, rho in (("rho_bottom", self.rho_bottom), ("rho_top", self.rho_top)):
            if not 0 <= rho <= 2:
                raise ValueError(f"{name} is {rho}; a factor in [0, 2] is needed (1 leaves the network as it is)")

    def scales(self, rungs: int, level: float = 0.0, full: bool = True, branch: int | None = None) -> list[float]:
        """Factor of skip i for i = 0 .. rungs - 1 (rung 0 first).

        `level` (0 = least noise, 1 = most, linear in log sigma), `full` and `branch` tell where in a trajectory the
        call is; this plan gives every call the same factors, and a rung keeps its factor on shallow calls.
        """
        depth = max(rungs - 1, 1)
        return [self.rho_top + (self.rho_bottom - self.rho_top) * i / depth for i in range(rungs)]
