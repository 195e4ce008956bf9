"""The time around the network: the loop, the accelerators, the noise, the conversion, the cut into rungs."""

from statistics import median

from fastdiff_benchmarks.studies.versus.apart import bare, taken_apart, trajectories
from fastdiff_benchmarks.studies.versus.network import SHAPE, Timed, synchronise
from fastdiff_benchmarks.studies.versus.targets import Target, overhead, ratio


def measure(timed: Timed, batch: int, steps: int, how: tuple, options: dict) -> tuple[dict, list[Target], list[dict]]:
    """Arms of the walk, targets, and the table of `taken_apart`. how: precision and memory format of trajectories."""
    import torch

    from fastdiff.profiling import interleaved
    from fastdiff.samplers import preset
    from fastdiff.sampling.denoiser import DTYPES

    sync, denoiser = synchronise(timed.device), timed.denoiser(timed.ours(*how[:2]))

    def trajectory(name: str, cov: float | None = None):
        return trajectories(denoiser, batch, steps, lambda steps: preset(name, steps=steps), cov)

    work = {"ddim": trajectory("ddim"), "ddpm": trajectory("ddpm"), "analytic_ddpm": trajectory("analytic_ddpm", 0.01)}
    calls = {"bare calls": bare(denoiser, batch, steps)}
    apart, said = taken_apart(work | calls, sync, rounds=12), f"{steps} steps, batch {batch}, {how[0]}"
    rows = [each.row(f"{name}, {said}") for name, each in apart.items()]
    found = [ratio(f"trajectory over its network calls ({name}), {said}", apart[name].whole, apart[name].inside, 1.01)
             for name in ("ddim", "ddpm")]  # fmt: skip
    found += [ratio(f"trajectory over as many bare calls in turns ({name}), {said}", apart[name].whole,
                    apart["bare calls"].whole, 1.01) for name in ("ddim", "ddpm")]  # fmt: skip
    # The network calls are the same in both and drift by more than the goal: both get the same network time.
    network = median(apart["ddpm"].inside + apart["analytic_ddpm"].inside)
    ddpm, analytic = ([network + each for each in apart[name].around] for name in ("ddpm", "analytic_ddpm"))
    found += [ratio(f"Analytic-DPM's sampling over DDPM's, {said}", analytic, ddpm, 1.005,
                    note="with the same network time for both")]  # fmt: skip
    x = torch.randn(batch, *SHAPE, dtype=DTYPES[how[0]], device=timed.device)
    arms = {}
    unet, forward = timed.ours(how[0]), timed.official(x.dtype).forward  # contiguous: there both run the same modules
    longer = {name: 4 * options[name] for name in ("repeats", "seconds")}  # for short calls and small differences
    for word, goal in (("eager", 1.01), ("compiled", 1.003)):
        walks = interleaved(_walks(word, unet, forward, x), sync, batch, **options | longer)
        arms |= walks
        for name in (f"walk, {word}", f"walk with factors, {word}"):
            said = f"{name}, over a straight forward, batch {batch}, {how[0]}, contiguous"
            found.append(overhead(said, walks, name, f"straight forward, {word}", goal))
    return arms, found, rows


def _walks(word: str, unet, forward, x) -> dict:
    """The official forward, and the walk with factors 1 and 0.5: all eager or all compiled."""
    import torch

    from fastdiff.accelerators import SkipTuning, joins_of
    from fastdiff.unets import Runner

    compiled = word == "compiled"
    joins = joins_of((SkipTuning(0.5, 0.5),), unet.rungs)
    runner = Runner(unet, joins, None, "default" if compiled else "none")
    straight = torch.compile(forward, fullgraph=True, dynamic=False) if compiled else forward
    c_noise = torch.full((len(x),), 500.0, device=x.device)
    ones = torch.ones(unet.rungs, 1, device=x.device) if compiled else None  # in eager mode a factor of 1 is left out
    halves = torch.full((unet.rungs, 1), 0.5, device=x.device)

    def inferred(call, *arguments):
        return torch.inference_mode()(lambda: call(*arguments))

    return {
        f"straight forward, {word}": inferred(straight, x, c_noise),
        f"walk, {word}": inferred(runner.full, x, c_noise, None, (ones,)),
        f"walk with factors, {word}": inferred(runner.full, x, c_noise, None, (halves,)),
    }
