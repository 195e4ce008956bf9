"""The images of a cell beside those of its baseline, image by image."""

import numpy as np

from ..device import BLOCK
from ..files import write_npz
from ..metrics.paired import feature_distance, paired, summary
from .cell import key
from .ledger import Ledger
from .records import Paired, PairedValue, Quality


def compare_images(ledger: Ledger, record: Quality, baseline: Quality) -> Paired | None:
    """Compare the images of two cells of equal noise and n, unless the ledger has the comparison already.

    Values are means over the pairs with their 95 % intervals; the value of every image is in the npz beside the record.
    PSNR, SSIM and the largest difference are of the images that are kept for people, feature distances of all n.
    Returns None where one of the two cells has kept no images, or is a bound.
    """
    name = f"{record.key}-{baseline.key}"
    if (known := ledger.read("paired", name)) is not None:
        return known
    both = record, baseline
    pixels = [ledger.samples(key(each.generation)) for each in both]
    extractor = record.identity["metrics"].get("extractor")
    if any(kept is None for kept in pixels) or extractor is None:  # the cell of a bound may share another's images
        return None
    n = min(record.n, baseline.n, *map(len, pixels))
    found = paired(*(kept[:n] for kept in pixels))
    scores = record.identity["metrics"].get("metric") == "clip_score"  # then scores are kept, and no features
    features = [None if scores else _features(ledger, each) for each in both]
    if all(kept is not None for kept in features):
        found["feature_distance"] = feature_distance(*features)
    values = {}
    for metric, each in summary(found).items():
        protocol = ["baseline", *([extractor] if metric == "feature_distance" else []), f"n={each['n']}"]
        each |= {name: tuple(each[name]) for name in ("worst", "worst_values")}
        values[f"{metric}[{','.join(protocol)}]"] = PairedValue(metric, each.pop("mean"), **each)
    write_npz(ledger.path("paired", name, ".npz"), **found)
    return ledger.write("paired", name, Paired(record.key, baseline.key, values))


def _features(ledger: Ledger, record: Quality) -> np.ndarray | None:
    """The kept features (n D) of the images of a record, or None if a block of them is gone."""
    metrics, n = record.identity["metrics"], record.n
    scorer, generation = (
        key({name: metrics[name] for name in ("extractor", "sha256", "settings") if name in metrics}),
        key(record.generation),
    )
    blocks = [
        ledger.read_block(generation, first // BLOCK, scorer, min(BLOCK, n - first)) for first in range(0, n, BLOCK)
    ]
    return None if any(block is None for block in blocks) else np.concatenate([block["features"] for block in blocks])
