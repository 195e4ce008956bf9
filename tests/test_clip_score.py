"""CLIP score: a tiny random CLIP, saved here as transformers saves it, scores images beside their prompts."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import test_latents
import torch
from hydra import compose, initialize_config_module
from test_latents import PROMPTS, TEXT, VOCAB

from fastdiff.bench.config import cell_of
from fastdiff.bench.ledger import Ledger
from fastdiff.bench.run_cell import run_cell
from fastdiff.knobs import build
from fastdiff.metrics import PromptMetrics, build_extractor
from fastdiff.metrics.cards import HIGHER, LOWER, sign, words
from fastdiff.metrics.clip_score import clip_score, located
from fastdiff.sampling.latents import load_prompts
from fastdiff.weights.model_card import ModelCard
from fastdiff_benchmarks.entry import settings_of

transformers = pytest.importorskip("transformers")

parts, conf = test_latents.parts, test_latents.conf  # the tiny random Stable Diffusion, and a cell of it
VISION = dict(
    hidden_size=32, intermediate_size=64, num_attention_heads=2, num_hidden_layers=2, image_size=8, patch_size=4
)  # fmt: skip
NAME = "ViT-32/4 random"
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8)
TEXTS = ["the cat", "a dog", "the", "on a mat", "x", PROMPTS[2]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A CLIPModel and a CLIPProcessor as save_pretrained leaves them."""
    path = tmp_path_factory.mktemp("clip")
    tokens = {"vocab": str(path / "vocab"), "merges": str(path / "merges")}
    (path / "vocab").write_text(json.dumps({token: i for i, token in enumerate(VOCAB)}))
    (path / "merges").write_text("#version: 0.2\nt h\nth e</w>\n")
    tokenizer = transformers.CLIPTokenizer(**tokens, model_max_length=16)
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8})
    torch.manual_seed(0)
    config = transformers.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=6)
    model = transformers.CLIPModel(config)
    for parameter in model.parameters():  # as they begin, all prompts and images look nearly alike
        parameter.data.normal_(std=0.3)
    model.save_pretrained(path / "saved")
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(path / "saved")
    return path / "saved"


@pytest.fixture
def card(folder) -> PromptMetrics:
    return PromptMetrics(NAME, weights=str(folder))


def by_hand(folder, pixels, texts) -> np.ndarray:
    """max(100 cos, 0) of each pair, from the towers' own outputs."""
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    processor = transformers.CLIPProcessor.from_pretrained(folder)
    cut = dict(padding="max_length", max_length=16, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        seen = processor(images=list(torch.from_numpy(pixels)), return_tensors="pt")["pixel_values"]
        image = model.visual_projection(model.vision_model(seen).pooler_output)
        text = model.text_projection(model.text_model(**processor.tokenizer(texts, **cut)).pooler_output)
        cosines = torch.nn.functional.cosine_similarity(image, text)
    return (100 * cosines).clamp(min=0).numpy()


def test_the_score_of_each_image_is_100_cos_and_at_least_0(folder, card):
    features, probabilities = build_extractor(card)(PIXELS, TEXTS)
    expected = by_hand(folder, PIXELS, TEXTS)
    assert 0 < (expected == 0).sum() < 6 and np.ptp(expected) > 5  # of both kinds
    assert features.dtype == np.float32 and features.shape == (6, 1) and probabilities.shape == (6, 0)
    np.testing.assert_allclose(features[:, 0], expected, atol=1e-3)


def test_the_mean_is_that_of_torchmetrics_own_update_and_compute(folder, card):
    from torchmetrics.multimodal import CLIPScore

    positive = by_hand(folder, PIXELS, TEXTS) > 0  # torchmetrics cuts at 0 after the mean over a batch
    pixels, texts = PIXELS[positive], [text for text, kept in zip(TEXTS, positive) if kept]
    extractor = build_extractor(card)
    metric = CLIPScore(model_name_or_path=lambda: extractor.clip)
    with torch.inference_mode():
        metric.update(torch.from_numpy(pixels), texts)
        value, psi = clip_score(extractor(pixels, texts).features)
        assert value == pytest.approx(metric.compute().item(), abs=1e-4) and value > 1
    assert abs(psi.mean()) < 1e-12 and len(psi) == len(texts)


def test_a_score_does_not_depend_on_the_images_beside_it(card):
    extractor = build_extractor(card)
    assert np.array_equal(extractor(PIXELS, TEXTS).features[2:4], extractor(PIXELS[2:4], TEXTS[2:4]).features)


def test_what_a_long_prompt_says_within_its_limit_counts(card):
    """torchmetrics alone would cut off the end token, where a prompt's embedding is read: all would score the same."""
    texts = ["a dog and much more than the sixteen tokens", "the cats and much more than the sixteen tokens"]
    features = build_extractor(card)(np.repeat(PIXELS[:1], 2, 0), texts).features
    assert features[0] != features[1]


def test_images_need_as_many_prompts(card):
    with pytest.raises(ValueError, match="6 images need as many prompts; 2 were given"):
        build_extractor(card)(PIXELS, TEXTS[:2])


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="the CLIP score of image 1 is NaN or infinite .1 of 3 are"):
        clip_score(np.array([[1.0], [np.nan], [2.0]], np.float32))


def metrics(folder) -> dict:
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        found = settings_of(compose("config", overrides=["metrics=clip_score"]))["metrics"]
    return found | {"name": NAME, "weights": str(folder)}


def test_a_cell_of_prompts_is_scored_by_clip_with_its_exact_interval(parts, conf, folder, tmp_path):
    conf |= {"metrics": metrics(folder)}
    cell, ledger = cell_of(conf), Ledger(tmp_path / "runs")
    outcome = run_cell(cell, ledger, conf, save_images=6)
    assert outcome.kind == "quality", outcome.record.reason
    (name,) = outcome.record.values
    found = outcome.record.values[name]
    assert name == f"clip_score[{NAME},n=6]" and found.metric == "clip_score"
    with np.load(ledger.root / outcome.record.images / "images.npz") as held:
        pixels = held["arr_0"].transpose(0, 3, 1, 2)
    scores = by_hand(folder, pixels, [PROMPTS[i % 3] for i in range(6)])  # there are three, and they begin again
    assert found.value == pytest.approx(scores.mean(), abs=1e-3) and scores.std() > 0.01
    assert found.se == pytest.approx(scores.std(ddof=1) / np.sqrt(6), abs=1e-3)
    np.testing.assert_allclose(ledger.influence(cell.key)["clip_score"], scores - scores.mean(), atol=1e-3)
    assert run_cell(cell, ledger, conf).reused


def test_image_i_is_scored_beside_the_prompt_it_was_drawn_from(parts):
    prompts = load_prompts(build(ModelCard, parts["card"], "model"))
    texts = prompts.texts(np.array([0, 4, 5]))
    assert texts == [PROMPTS[0], PROMPTS[1], PROMPTS[2]]
    assert torch.equal(prompts.encode(texts), prompts(np.array([0, 4, 5]))[0])


def test_the_key_depends_on_the_weights_and_the_prompts_and_not_on_where_they_lie(parts, conf, folder, tmp_path):
    conf |= {"metrics": metrics(folder)}
    key = cell_of(conf).key
    shutil.copytree(folder, tmp_path / "copy")
    assert cell_of(conf | {"metrics": metrics(tmp_path / "copy")}).key == key
    (tmp_path / "copy" / "notes.md").write_text("nothing that is read")
    assert cell_of(conf | {"metrics": metrics(tmp_path / "copy")}).key == key
    (tmp_path / "copy" / "model.safetensors").write_bytes(b"others")
    assert cell_of(conf | {"metrics": metrics(tmp_path / "copy")}).key != key
    (parts["folder"] / "more.txt").write_text("something else\n")
    text = conf["model"]["text"] | {"prompts": str(parts["folder"] / "more.txt")}
    assert cell_of(conf | {"model": conf["model"] | {"text": text}}).key != key


def test_weights_that_are_no_longer_those_of_the_key_are_refused(card, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    known = dataclasses.replace(card, weights=str(tmp_path / "copy")).resolved()
    (tmp_path / "copy" / "model.safetensors").write_bytes(b"others, put there meanwhile")
    with pytest.raises(ValueError, match=f"has sha256 .*, but {known.sha256} is known; give the right folder"):
        build_extractor(known)
    with pytest.raises(ValueError, match="cannot be read as a CLIP .*; fetch its files again"):
        build_extractor(dataclasses.replace(known, sha256=None))


def test_a_folder_that_lacks_files_is_refused_saying_which(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    for name in ("model.safetensors", "processor_config.json"):
        (tmp_path / "copy" / name).unlink()
    said = "has no model.safetensors, preprocessor_config.json; put config.json, .* and give metrics.weights=FOLDER"
    with pytest.raises(FileNotFoundError, match=said):
        PromptMetrics(NAME, weights=str(tmp_path / "copy")).resolved()
    for gone in (str(tmp_path / "gone"), None):
        with pytest.raises(FileNotFoundError, match="is not there; put config.json, model.safetensors, "):
            located(gone)


def test_offline_it_says_from_where_and_what_to_put_into_a_folder(monkeypatch, tmp_path):
    asked = []

    def offline(name, *, allow_patterns, local_files_only):
        asked.append(local_files_only)
        raise OSError("no network.\nand more of it")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    said = (
        "metrics.weights 'openai/clip-vit-base-patch32' is no folder here and cannot be fetched from"
        " https://huggingface.co/openai/clip-vit-base-patch32 .no network.; put config.json, model.safetensors,"
        " preprocessor_config.json, tokenizer.json of a CLIPModel .* into a folder and give metrics.weights=FOLDER"
    )
    with pytest.raises(FileNotFoundError, match=said) as raised:
        PromptMetrics("ViT-B/32", weights="openai/clip-vit-base-patch32").resolved()
    assert "\n" not in str(raised.value) and asked == [True, False]


def test_what_the_hub_s_cache_has_is_not_asked_for(monkeypatch, card, folder):
    def cache(name, *, allow_patterns, local_files_only):
        assert local_files_only and name == "someone/tiny"
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", cache)
    assert PromptMetrics(NAME, weights="someone/tiny").resolved().sha256 == card.resolved().sha256


def test_values_are_filed_under_what_the_weights_are(folder, tmp_path):
    with pytest.raises(ValueError, match="holds a ViT-32/4, but metrics.name is 'ViT-B/32', .* give metrics.name="):
        PromptMetrics("ViT-B/32", weights=str(folder)).resolved()
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(ValueError, match="holds a 'siglip'; metrics=clip_score needs a 'clip'"):
        PromptMetrics("ViT-B/32", weights=str(tmp_path / "copy")).resolved()


def test_a_model_without_prompts_is_refused_before_anything_is_fetched(monkeypatch):
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("the hub was asked"))
    with initialize_config_module("fastdiff_conf", version_base="1.3"):
        settings = settings_of(compose("config", overrides=["metrics=clip_score", "device=cpu"]))
    with pytest.raises(ValueError, match="clip_score needs a model with prompts, .*: model=stable_diffusion_15"):
        cell_of(settings)


def test_every_metric_points_one_way():
    assert not set(LOWER) & set(HIGHER)
    assert sign("fid[clean,inception-v3,n=50000]") == 1 and sign(f"clip_score[{NAME},n=5000]") == -1
    assert words("nll[bits/dim,n=1000]") == "lower is better" and words("clip_score") == "higher is better"
    with pytest.raises(
        ValueError, match="metric 'vgg' is not one of: clip_score, coverage, density, feature_distance, fid"
    ):
        sign("vgg[n=5]")
