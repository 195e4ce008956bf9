"""make speed: how much faster caching makes this network here, beside what its operations promise.

    python benchmarks/speed.py sampler=ddim sampler.steps=25 accelerator.deepcache.branch=1 device=cuda

Arms take turns, one batch each a round, so that a machine that slows down slows all of them; medians over rounds.
"""

from omegaconf import DictConfig

from fastdiff_benchmarks.entry import entry, settings_of


@entry("speed")
def main(cfg: DictConfig) -> None:
    import dataclasses

    import numpy as np
    import pandas as pd
    from tqdm import tqdm

    from fastdiff.bench import costs, labels_of, load_denoiser
    from fastdiff.data import load
    from fastdiff.generate import generate
    from fastdiff.settings import cell_of, device_name

    if cfg.rounds < 1:
        raise ValueError(f"rounds is {cfg.rounds}; at least 1 is needed")
    cell = cell_of(settings_of(cfg))
    if cell.analytic or cell.optimal:  # neither costs anything in the loop, and their norms need not be had
        usual = {"variance": "small"} | ({"spacing": "logsnr"} if cell.optimal else {})
        cell = dataclasses.replace(cell, sampler=dataclasses.replace(cell.sampler, **usual))
    arms = [
        dataclasses.replace(cell, deepcache=dataclasses.replace(cell.deepcache, interval=i))
        for i in dict.fromkeys([1, *cfg.intervals])
    ]
    seconds = [[] for _ in arms]
    images, labels = np.arange(cell.device.batch), labels_of(cell, load(cell.data)[0])
    for _ in tqdm(range(cfg.rounds + 1), desc="rounds"):
        for arm, spent in zip(arms, seconds):
            (batch,) = generate(load_denoiser(arm), arm.sampler, 0, images, labels, None, arm.device.batch)
            spent.append(batch.seconds)
    medians = [float(np.median(spent[1:])) for spent in seconds]  # the first round warms up
    rows = [
        {
            "interval": arm.deepcache.interval,
            "full_calls": (cost := costs(arm, load_denoiser(arm)))["full_calls"],
            "nfe": cost["nfe"],
            "MMACs": round(cost["macs"] / 1e6),
            "images_per_s": round(cell.device.batch / median, 1),
            "speedup": round(medians[0] / median, 2),
            "promised by MACs": round(costs(arms[0], load_denoiser(arms[0]))["macs"] / cost["macs"], 2),
        }
        for arm, median in zip(arms, medians)
    ]
    print(pd.DataFrame(rows).to_string(index=False))
    device, branch = device_name(cell.device), cell.deepcache.branch
    print(f"{cfg.rounds} rounds of {cell.device.batch} images, branch {branch}, {cell.device.precision}, on {device}")


if __name__ == "__main__":
    main()
