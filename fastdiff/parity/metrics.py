"""Frechet distance and inception score (family metrics)."""

from collections.abc import Iterator

import numpy as np

from ..metrics import frechet, inception_score, moments, shuffled
from .case import Case, Check


def checks(case: Case) -> Iterator[Check]:
    if "features_fake" in case.inputs:
        fake, real = (case.inputs[f"features_{kind}"].numpy() for kind in ("fake", "real"))
        distance = frechet(moments(fake), moments(real))
        for output in case.outputs:
            if output.startswith("fid"):
                yield case.check(output, np.full(case.outputs[output].shape, distance))
    if "probs" in case.inputs:
        probabilities = case.inputs["probs"].numpy()
        given = np.arange(len(probabilities))
        runs = {"split10_given_order": (given, 10), "split10_shuffle2020": (shuffled(len(given)), 10)}
        for name, (order, splits) in (runs | {"split1": (given, 1)}).items():
            if (output := f"isc_mean_{name}") in case.outputs:
                score = inception_score(probabilities, order, splits)
                yield case.check(output, np.full(case.outputs[output].shape, score))
