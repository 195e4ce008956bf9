"""Where the solver steps lie among the N training levels: rules (N, steps) -> indices n, ascending, 1 <= n <= N."""


def even(N: int, steps: int) -> list[int]:
    """Analytic-DPM, App. F.4: 1 .. N in equal strides, both ends hit (one step: N alone).

    The float is accumulated and rounded by Python's `round` (half to even), as in the official code: another way of
    rounding gives other networks calls.
    """
    stride_, at, indices = (N - 1) / max(steps - 1, 1), 1.0, []
    for _ in range(steps):
        indices.append(round(at))
        at += stride_
    return indices if steps > 1 else [N]


def stride(N: int, steps: int) -> list[int]:
    """ermongroup/ddim and DeepCache, `uniform`: every (N // steps)-th level from the first.

    Never reaches N, and runs more calls than asked when steps does not divide N (15 of 1000 gives 16).
    """
    return [at + 1 for at in range(0, N, N // steps)]


SPACINGS = {"even": even, "stride": stride}


def indices(spacing: str, N: int, steps: int) -> list[int]:
    """Indices n, ascending, of a rule by its name. Raises ValueError for an unknown rule or an impossible number."""
    if spacing not in SPACINGS:
        raise ValueError(f"spacing '{spacing}' is not one of: {', '.join(sorted(SPACINGS))}")
    if not 1 <= steps <= N:
        raise ValueError(f"steps is {steps}; a network with {N} noise levels takes 1 .. {N}")
    return SPACINGS[spacing](N, steps)
