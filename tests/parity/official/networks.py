"""Single calls of the official networks (families ddim_unet, adm_unet, edm_unet)."""

import re
from collections.abc import Iterator

import torch

from fastdiff.unets import build, walk

from . import trajectories
from .case import Case, Check


def call(unet, x, c_noise, cond=None, scales=None, branch=None, trunk=None):
    """One walk. Without scales every skip is used as it was trained."""
    scales = torch.ones(unet.rungs) if scales is None else scales
    return walk(unet, x, c_noise, cond, scales, branch, trunk)


def ddim(case: Case) -> Iterator[Check]:
    if "eps" not in case.outputs:
        yield from trajectories.ddim(case)
        return
    unet = build("ddim", case.facts["config"], case.state)
    yield case.check("eps", unet(case.inputs["x"], case.inputs["t"]))


def adm_arch(case: Case) -> dict:
    """Arguments of create_model or UNetModel. The json has the module constant NUM_CLASSES as `num_classes`."""
    config = case.facts["config"]
    return config | ({"num_classes": case.facts["num_classes"]} if config.get("class_cond") else {})


def adm(case: Case) -> Iterator[Check]:
    unet = build("adm", adm_arch(case), case.state)
    x, timesteps = case.inputs["x"], case.inputs["timesteps"].float()
    cond = case.inputs.get("context", case.labels)
    for output in case.outputs:  # out: at `timesteps`; out_t250: all images at 250
        if named := re.fullmatch(r"out(?:_t(\d+))?", output):
            at = timesteps if named[1] is None else torch.full_like(timesteps, float(named[1]))
            yield case.check(output, unet(x, at, cond))


def edm_arch(case: Case) -> dict:
    """The wrapper, and the arguments of the constructors of wrapper and network."""
    config = case.weights_case.facts["config"]
    config = {word: value for word, value in config.items() if word != "num_heads"}  # a remark, no argument
    words = next((config.pop(word) for word in ("kwargs", "init_kwargs") if word in config), {})
    return {**words, **{word: value for word, value in config.items() if value is not None}}


def edm(case: Case) -> Iterator[Check]:
    unet = build("edm", edm_arch(case), case.state)
    x, sigma, wrapper = case.inputs["x"], case.inputs["sigma"], unet.preconditioning
    scale = torch.as_tensor(wrapper.scale(sigma)).reshape(-1, 1, 1, 1)
    found = {"c_noise": wrapper.noise(sigma), "model_input": x / scale, "D_x": unet(x, sigma, case.labels)}
    raw = call(unet, found["model_input"], found["c_noise"], case.labels)[0]
    found["F_x"] = raw[:, : case.outputs["F_x"].shape[1]] if "F_x" in case.outputs else raw
    if "D_x_nolabel" in case.outputs:
        found["D_x_nolabel"] = unet(x, sigma, None)
    for output in case.outputs:
        if output in found:
            yield case.check(output, found[output])
