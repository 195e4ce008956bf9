"""Single calls of the official networks (families ddim_unet, adm_unet, edm_unet)."""

from collections.abc import Iterator

import torch

from ..unets import build, walk
from . import trajectories
from .case import Case, Check


def call(unet, x, c_noise, cond=None, scales=None, branch=None, trunk=None):
    """One walk, every skip as it was trained unless scales are given."""
    scales = torch.ones(unet.rungs) if scales is None else scales
    return walk(unet, x, c_noise, cond, scales, branch, trunk)


def ddim(case: Case) -> Iterator[Check]:
    if "eps" not in case.outputs:
        yield from trajectories.ddim(case)
        return
    unet = build("ddim", case.facts["config"], case.state)
    yield case.check("eps", call(unet, case.inputs["x"], case.inputs["t"])[0])


def adm_arch(case: Case) -> dict:
    """Words of create_model; the module constant NUM_CLASSES stands beside them in the json."""
    config = case.facts["config"]
    return config | ({"num_classes": case.facts["num_classes"]} if config.get("class_cond") else {})


def adm(case: Case) -> Iterator[Check]:
    unet = build("adm", adm_arch(case), case.state)
    x, timesteps = case.inputs["x"], case.inputs["timesteps"].float()
    for output in case.outputs:  # out: at `timesteps`; out_t250: all images at 250
        at = timesteps if output == "out" else torch.full_like(timesteps, float(output.removeprefix("out_t")))
        yield case.check(output, call(unet, x, at, case.labels)[0])


def edm_arch(case: Case) -> dict:
    """Words of the wrapper's and the network's constructors."""
    config = case.weights_case.facts["config"]
    arch = {"preconditioning": config["precond"], **config["kwargs"]}
    heads = config.get("channels_per_head")
    return arch if heads is None else arch | {"channels_per_head": heads}


def edm(case: Case) -> Iterator[Check]:
    unet = build("edm", edm_arch(case), case.state)
    x, sigma, wrapper = case.inputs["x"], case.inputs["sigma"], unet.preconditioning
    scale = torch.as_tensor(wrapper.scale(sigma)).reshape(-1, 1, 1, 1)
    found = {"c_noise": wrapper.noise(sigma), "model_input": x / scale, "D_x": unet(x, sigma, case.labels)}
    found["F_x"] = call(unet, found["model_input"], found["c_noise"], case.labels)[0][:, : x.shape[1]]
    if "D_x_nolabel" in case.outputs:
        found["D_x_nolabel"] = unet(x, sigma, None)
    for output in case.outputs:
        if output in found:
            yield case.check(output, found[output])
