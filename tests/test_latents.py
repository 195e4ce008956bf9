"""Latent diffusion: a tiny random Stable Diffusion, built here, gives what diffusers' own pipeline gives."""

import json
import re

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from safetensors.torch import save_file

from fastdiff.accelerators import DeepCache
from fastdiff.bench.config import cell_of
from fastdiff.bench.cost import cost_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.resources import Resources, labels_of, load_denoiser
from fastdiff.bench.run_cell import run_cell
from fastdiff.knobs import build
from fastdiff.profiling import call_cost
from fastdiff.samplers import DDIM, PLMS
from fastdiff.sampling.denoiser import Denoiser, load_unet
from fastdiff.sampling.latents import load_decoder, load_prompts
from fastdiff.weights.model_card import Decoder, ModelCard
from fastdiff_benchmarks.entry import settings_of

diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")

UNET = dict(
    _class_name="UNet2DConditionModel", sample_size=8, in_channels=4, out_channels=4, layers_per_block=1,
    block_out_channels=[32, 64], down_block_types=["CrossAttnDownBlock2D", "DownBlock2D"],
    up_block_types=["UpBlock2D", "CrossAttnUpBlock2D"], cross_attention_dim=32, attention_head_dim=4,
)  # fmt: skip
BLOCKS = dict(
    down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2, block_out_channels=[32, 64],
    layers_per_block=1,
)  # fmt: skip
VAE = BLOCKS | dict(_class_name="AutoencoderKL", latent_channels=4, scaling_factor=0.3, sample_size=16)
VQ = BLOCKS | dict(_class_name="VQModel", latent_channels=3, vq_embed_dim=3, num_vq_embeddings=20, scaling_factor=1.0)
LETTERS = [chr(i) for i in range(97, 123)]
VOCAB = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), "th", "the</w>", "<|startoftext|>", "<|endoftext|>"]
TEXT = dict(
    hidden_size=32, intermediate_size=64, num_attention_heads=2, num_hidden_layers=2, max_position_embeddings=16,
    projection_dim=32, vocab_size=len(VOCAB), hidden_act="quick_gelu", bos_token_id=54, eos_token_id=55, pad_token_id=55
)  # fmt: skip
PROMPTS = ["a cat on the mat", "the dog", "a much longer prompt than the sixteen tokens that this encoder takes in"]
SCHEDULE = dict(name="scaled_linear", N=1000, beta_start=0.00085, beta_end=0.012)
NOISE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)


def made(kind, arch: dict, seed: int):
    torch.manual_seed(seed)
    network = getattr(diffusers, kind)(**{k: v for k, v in arch.items() if k[0] != "_"}).eval().requires_grad_(False)
    for parameter in network.parameters():  # diffusers starts some layers at zero, which hides those before them
        if not parameter.any():
            parameter.normal_(std=0.1)
    return network


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> dict:
    """The networks, their tokenizer, and the card (as conf would give it) of the files that hold them."""
    folder = tmp_path_factory.mktemp("sd")
    unet, vae = made("UNet2DConditionModel", UNET, 0), made("AutoencoderKL", VAE, 1)
    text = transformers.CLIPTextModel(transformers.CLIPTextConfig(**TEXT)).eval().requires_grad_(False)
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(VOCAB)}))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\nth e</w>\n")
    (folder / "prompts.txt").write_text("\n".join(PROMPTS) + "\n\n")
    tokens = {"vocab": str(folder / "vocab.json"), "merges": str(folder / "merges.txt")}
    state = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in text.state_dict().items()}
    state["text_model.embeddings.position_ids"] = torch.arange(16)[None]  # as files of earlier releases have it
    for name, tensors in {"unet": unet.state_dict(), "vae": vae.state_dict(), "text": state}.items():
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / f"{name}.safetensors")
    weights = {name: str(folder / f"{name}.safetensors") for name in ("unet", "vae", "text")}
    card = dict(
        name="tiny",
        family="hf",
        arch=UNET,
        shape=[4, 8, 8],
        weights=weights["unet"],
        schedule=SCHEDULE,
        time_shift=-1.0,
    )
    card |= dict(decoder=dict(arch=VAE, weights=weights["vae"]))
    card |= dict(text=dict(arch=TEXT, weights=weights["text"], prompts=str(folder / "prompts.txt"), **tokens))
    tokenizer = transformers.CLIPTokenizer(**tokens, model_max_length=16)
    return dict(unet=unet, vae=vae, text=text, tokenizer=tokenizer, card=card, folder=folder)


@pytest.fixture
def conf(parts, tmp_path):
    """Settings of a cell of 6 images, 4 steps, guidance 5."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    tiny = ["sampler=plms", "sampler.steps=4", "budget.n=6", "device=cpu", "device.batch=3", "device.precision=float32"]
    tiny += ["data=npz", f"data.path={tmp_path}/images.npz", "data.size=16", "guidance=5", "metrics.is_splits=2"]
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        conf = settings_of(compose("config", overrides=tiny))
    return conf | {"model": parts["card"], "metrics": classifier(tmp_path, conf["metrics"])}


def classifier(folder, metrics: dict) -> dict:
    """A random classifier of 16 x 16 colour images in place of that of digits."""
    from fastdiff.metrics.classifier import Classifier

    arch = dict(size=16, in_channels=3, width=8, features=4, classes=3)
    torch.manual_seed(0)
    save_file(Classifier(**arch).state_dict(), folder / "classifier.safetensors")
    return metrics | dict(name="random", arch=arch, weights=str(folder / "classifier.safetensors"), sha256=None)


def pipeline(parts, scheduler):
    networks = {"vae": parts["vae"], "text_encoder": parts["text"], "unet": parts["unet"]}
    made = diffusers.StableDiffusionPipeline(
        **networks, tokenizer=parts["tokenizer"], scheduler=scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


SAMPLERS = {
    "ddim": (lambda: diffusers.DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=True), DDIM(5, "leading")),
    "plms": (lambda: diffusers.PNDMScheduler(**NOISE, skip_prk_steps=True), PLMS(5)),
}


@pytest.mark.parametrize("guidance", [1.0, 7.5])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_guided_trajectory_is_that_of_diffusers_pipeline_latent_and_decoded(parts, name, guidance):
    scheduler, sampler = SAMPLERS[name]
    card = build(ModelCard, parts["card"], "model")
    decode = load_decoder(card)
    denoiser = Denoiser(load_unet(card), card, guidance=guidance, value_range=(-np.inf, np.inf), decode=decode)
    assert denoiser.cov_max == np.inf
    z = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    official = pipeline(parts, scheduler())
    given = dict(prompt=PROMPTS, latents=z, num_inference_steps=5, guidance_scale=guidance)
    with torch.inference_mode():
        latents = sampler(denoiser, lambda i: z, load_prompts(card)(np.arange(3)))
        expected = official(**given, output_type="latent").images
        torch.testing.assert_close(latents, expected, atol=1e-4, rtol=0)
        pixels = (decode(latents) / 2 + 0.5).clamp(0, 1)
        torch.testing.assert_close(pixels, official(**given, output_type="pt").images, atol=1e-4, rtol=0)
    assert pixels.std() > 0.01 and latents.std() > 0.1


def test_contexts_are_those_of_the_pipeline_and_prompts_begin_again(parts):
    card = build(ModelCard, parts["card"], "model")
    context, nothing = load_prompts(card)(np.array([4, 2]))
    official = pipeline(parts, SAMPLERS["plms"][0]())
    expected = official.encode_prompt([PROMPTS[1], PROMPTS[2]], "cpu", 1, True)
    assert torch.equal(context, expected[0]) and torch.equal(nothing, expected[1])


def test_a_decoder_s_image_does_not_depend_on_those_beside_it(parts):
    decode = load_decoder(build(ModelCard, parts["card"], "model"))
    latents = torch.randn(3, 4, 8, 8)
    assert torch.equal(decode(latents)[1:2], decode(latents[1:2])) and decode(latents).shape == (3, 3, 16, 16)


def test_a_cell_of_prompts_runs_cached_and_guided_and_keeps_its_images(parts, conf, tmp_path):
    conf["accelerator"]["deepcache"] |= dict(interval=2, branch=1)
    cell, ledger = cell_of(conf), Ledger(tmp_path / "runs")
    outcome = run_cell(cell, ledger, conf, save_images=2)
    assert outcome.kind == "quality", outcome.record.reason
    assert outcome.record.cost.nfe == 10 and outcome.record.cost.full_calls == 4
    with np.load(ledger.root / outcome.record.images / "images.npz") as held:
        assert held.files == ["arr_0"] and held["arr_0"].shape == (2, 16, 16, 3) and held["arr_0"].std() > 1


def test_a_cell_s_images_are_those_of_its_prompts(parts, conf):
    cell = cell_of(conf)
    context, nothing = labels_of(cell, None, Resources())(np.arange(4))
    assert torch.equal(context[0], context[3]) and not torch.equal(context[0], context[1])
    assert load_denoiser(cell).value_range == (-np.inf, np.inf)
    (parts["folder"] / "others.txt").write_text("something else\n")
    text = conf["model"]["text"] | {"prompts": str(parts["folder"] / "others.txt")}
    assert cell_of(conf | {"model": conf["model"] | {"text": text}}).key != cell.key


def test_texts_cost_operations_too(parts, conf):
    full, cell = call_cost("hf", UNET, (4, 8, 8)), cell_of(conf)
    assert 0 < full.conv_macs < full.layer_macs < full.macs
    assert cost_of(cell, Resources()).macs == full.macs * 5 * 2


def test_what_latents_cannot_do_is_said(conf):
    def refused(said, **changed):
        with pytest.raises(ValueError, match=said):
            cell_of(conf | changed)

    model = conf["model"]
    refused("needs prompts: give model.text.prompts", model=model | {"text": model["text"] | {"prompts": None}})
    refused("makes images .3, 16, 16., but data", data=conf["data"] | {"size": 8})
    analytic = dict(name="analytic_ddim", steps=4, variance="analytic")
    refused("works in latents, and there are no score norms", sampler=analytic)
    refused("model.decoder has no knob 'nosuch'", model=model | {"decoder": model["decoder"] | {"nosuch": 1}})


def test_guidance_by_text_needs_the_context_of_no_prompt(parts):
    card = build(ModelCard, parts["card"], "model")
    denoiser = Denoiser(load_unet(card), card, guidance=3.0)
    with pytest.raises(ValueError, match="guidance needs a pair, the context and that of no prompt"):
        denoiser.start([1.0], torch.zeros(1, 16, 32))


def test_both_halves_of_a_guided_call_share_one_trunk(parts):
    card = build(ModelCard, parts["card"], "model")
    cond = load_prompts(card)(np.arange(2))
    x = torch.randn(2, 4, 8, 8)
    plain, cached = (Denoiser(load_unet(card), card, (DeepCache(i),), guidance=4.0) for i in (1, 2))
    with torch.inference_mode():
        first, second = (denoiser.start([3.0, 2.0], cond) for denoiser in (plain, cached))
        assert torch.equal(first(x, 3.0), second(x, 3.0))
        assert not torch.equal(first(x, 2.0), second(x, 2.0))


def compvis(network) -> dict:
    """The state of a VQModel under the names of CompVis/latent-diffusion."""
    rules = [
        (r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2"),
        (r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample"),
        (r"mid_block\.attentions\.0", "mid.attn_1"), (r"mid_block\.resnets\.0", "mid.block_1"),
        (r"mid_block\.resnets\.1", "mid.block_2"), (r"conv_norm_out", "norm_out"), (r"conv_shortcut", "nin_shortcut"),
        (r"group_norm", "norm"), (r"to_out\.0", "proj_out"), (r"to_([qkv])", r"\1"),
    ]  # fmt: skip
    found = {}
    for name, tensor in network.state_dict().items():
        attention = "attentions" in name and name.endswith("weight") and "norm" not in name
        name = re.sub(
            r"up_blocks\.(\d)\.", lambda match: f"up.{1 - int(match[1])}.", name
        )  # counted from full resolution
        name = re.sub(r"(up\.\d)\.resnets\.(\d)", r"\1.block.\2", name)
        name = re.sub(r"(up\.\d)\.upsamplers\.0", r"\1.upsample", name)
        for old, new in rules:
            name = re.sub(old, new, name)
        found[f"first_stage_model.{name}"] = tensor[..., None, None] if attention else tensor
    return found


def test_latent_diffusion_s_own_checkpoint_gives_its_decoder(tmp_path):
    network = made("VQModel", VQ, 2)
    beside = {"model.diffusion_model.out.2.bias": torch.zeros(3), "first_stage_model.loss.x": torch.zeros(1)}
    torch.save({"state_dict": compvis(network) | beside}, tmp_path / "model.ckpt")
    decoder = Decoder(VQ, str(tmp_path / "model.ckpt"))
    card = ModelCard("ldm", "adm", {}, (3, 8, 8), "none", decoder=decoder)
    latents = torch.randn(2, 3, 8, 8)
    expected = torch.cat([network.decode(one[None]).sample for one in latents])
    assert torch.equal(load_decoder(card)(latents), expected)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"_class_name": "AutoencoderTiny"}, "decoder class 'AutoencoderTiny' is not one of: AutoencoderKL, VQModel"),
        ({"nosuch": 1}, "arch of the decoder: .*nosuch"),
        ({"latent_channels": 5}, "the weights do not fit arch"),
    ],
)
def test_a_decoder_that_does_not_fit_is_refused(parts, changed, said):
    card = build(ModelCard, parts["card"] | {"decoder": parts["card"]["decoder"] | {"arch": VAE | changed}}, "model")
    with pytest.raises(ValueError, match=said):
        load_decoder(card)
