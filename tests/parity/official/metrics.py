"""Frechet and kernel distance, inception score, precision and recall, resize of clean-fid (family metrics)."""

from collections.abc import Iterator

import numpy as np

from fastdiff.metrics import frechet_of, inception_score, kid, kid_subsets, moments, prdc, shuffled, split_scores
from fastdiff.metrics.clean_fid import build_resize

from .case import Case, Check


def checks(case: Case) -> Iterator[Check]:
    found = {}
    if "features_fake" in case.inputs:
        found |= distances(case)
    if "probs" in case.inputs:
        found |= scores(case.inputs["probs"].numpy())
    if "img0_hwc_uint8" in case.inputs:
        found |= resized(case)
    for output in case.outputs:
        if output in found:
            yield case.check(output, np.reshape(found[output], case.outputs[output].shape))


def distances(case: Case) -> dict[str, float]:
    """Distances of features. The balls of dgm-eval are open, those of torch-fidelity are closed."""
    fake, real = (case.inputs[f"features_{kind}"].numpy() for kind in ("fake", "real"))
    fid = frechet_of(fake, moments(real))
    found = {name: fid for name in case.outputs if name.startswith("fid_")}
    exact = kid(fake, real)
    found |= {name: exact for name in case.outputs if name.startswith("mmd2_")}
    given, clean = case.facts["config"]["kid"], case.facts["config"]["kid_cleanfid"]
    values = kid_subsets(fake, real, given["kid_subsets"], given["kid_subset_size"], given["rng_seed"])
    for kind in ("f64", "f32"):
        found |= {f"kid_torchfidelity_mean_{kind}": values.mean(), f"kid_torchfidelity_std_{kind}": values.std()}
    values = kid_subsets(fake, real, clean["num_subsets"], clean["max_subset_size"], clean["np_random_seed"])
    found["kid_cleanfid_f64_npseed0"] = values.mean()
    for name, k, closed in (("prdc_dgmeval", 5, False), ("prc_torchfidelity", 3, True), ("prc_torchfidelity", 5, True)):
        found |= {f"{name}_k{k}_{kind}": value for kind, value in prdc(fake, real, k, closed)._asdict().items()}
    return found


def scores(probabilities: np.ndarray) -> dict[str, float]:
    """Inception scores. The originals use the standard deviation of the population."""
    given, found = np.arange(len(probabilities)), {}
    runs = {"split10_given_order": (given, 10), "split10_shuffle2020": (shuffled(len(given)), 10), "split1": (given, 1)}
    for name, (order, splits) in runs.items():
        found[f"isc_mean_{name}"] = inception_score(probabilities, order, splits)
        found[f"isc_std_{name}"] = split_scores(probabilities, order, splits).std()
    return found


def resized(case: Case) -> dict[str, np.ndarray]:
    """Resized images (H W 3): every seventh pixel, the first row, the last column, the sum and the sum of squares."""
    found = {}
    for name in (name for name in case.inputs if name.endswith("_hwc_uint8")):
        pixels = case.inputs[name].numpy().astype(np.uint8)
        for mode in ("clean", "legacy_pytorch"):
            image, output = build_resize(mode)(pixels), f"{name.removesuffix('_hwc_uint8')}_{mode}_299"
            found |= {f"{output}_stride7": image[::7, ::7], f"{output}_row0": image[0]}
            wide = image.astype(np.float64)
            found |= {f"{output}_lastcol": image[:, -1], f"{output}_sum_sumsq": [wide.sum(), (wide**2).sum()]}
    return found
