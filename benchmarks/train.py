"""make train: train the embedded diffusion network and its classifier on the training digits, from scratch.

The network learns to predict the noise (Ho et al. 2020, L_simple) with AdamW, linear decay, a moving average of the
weights and label dropout. A killed run resumes from its last saved state. Change settings with Hydra overrides:
make train ARGS="steps=10000".
"""

import copy
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from fastdiff_benchmarks.entry import entry

SHOWN = [1, 10, 50, 100, 200, 300, 500, 700, 900, 1000]  # noise levels n; the model card has their held-out loss


@entry("train")
def main(cfg: DictConfig) -> None:
    import torch

    from fastdiff.data import DataCard, load
    from fastdiff.knobs import build

    card = build(DataCard, OmegaConf.to_container(cfg.data, resolve=True), "data").resolved()
    train, held_out = load(card)
    given = " ".join(HydraConfig.get().overrides.task)
    facts = {
        "command": f'make train ARGS="{given}"' if given else "make train",
        "seed": cfg.seed,
        "data": card.name,
        "data_sha256": card.sha256,
    }
    facts |= {"torch": torch.__version__, "licence": "Apache-2.0", "held_out_images": len(held_out)}
    train_network(cfg, card, train, held_out, facts)
    train_classifier(cfg, card, train, held_out, facts)
    print(f"checkpoints and model cards written to {cfg.out}; copy their sha256 into conf/model and conf/metrics")


def tensors(images, low: float, high: float):
    """Images -> float32 pixels (N C H W) in [low, high] and labels (N)."""
    import torch

    return torch.from_numpy(images.pixels).float() / 255 * (high - low) + low, torch.from_numpy(images.labels)


def train_network(cfg, card, train, held_out, facts: dict) -> None:
    import torch
    from tqdm import tqdm

    from fastdiff.diffusion.schedules import Schedule
    from fastdiff.files import write
    from fastdiff.unets.native import NativeUNet
    from fastdiff.weights.checkpoints import write_checkpoint

    levels = torch.from_numpy(Schedule(**cfg.schedule).levels()).float()
    x_train, y_train = tensors(train, *card.value_range)
    torch.manual_seed(cfg.seed)
    arch = OmegaConf.to_container(cfg.model, resolve=True)
    network = NativeUNet(**arch)
    averaged = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=cfg.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: min(1, (i + 1) / 100) * (1 - i / cfg.steps))
    parts = {"network": network, "averaged": averaged, "optimiser": optimiser, "schedule": schedule}
    recipe = {name: cfg[name] for name in ("seed", "steps", "batch", "lr", "ema", "label_dropout")}
    recipe |= {"schedule": OmegaConf.to_container(cfg.schedule), "arch": arch, "data_sha256": card.sha256}
    draw, begun, state = torch.Generator().manual_seed(cfg.seed), 0, Path(cfg.state) / "state.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True)
        if saved.get("recipe") != recipe:
            raise ValueError(f"{state} is from a run with other settings; delete it or choose another state=FOLDER")
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        draw.set_state(saved["draw"])
        begun = saved["step"]
        print(f"resuming from step {begun} ({state})")

    def save(step: int) -> None:
        saved = {name: part.state_dict() for name, part in parts.items()} | {"step": step, "draw": draw.get_state()}
        saved["recipe"] = recipe
        write(state, lambda file: torch.save(saved, file))

    bar, smooth = tqdm(range(begun, cfg.steps), initial=begun, total=cfg.steps, desc="diffusion", mininterval=5), None
    for i in bar:
        pick = torch.randint(len(x_train), (cfg.batch,), generator=draw)
        n = torch.randint(len(levels), (cfg.batch,), generator=draw)
        eps = torch.randn(x_train[pick].shape, generator=draw)
        dropped = torch.rand(cfg.batch, generator=draw) < cfg.label_dropout
        with torch.autocast("cpu", torch.bfloat16):
            label = y_train[pick].masked_fill(dropped, network.classes)
            loss = eps_loss(network, levels, x_train[pick], label, n, eps).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(averaged.parameters()), list(network.parameters()), 1 - cfg.ema)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.4f}", refresh=False)
        if (i + 1) % 250 == 0 or i + 1 == cfg.steps:
            save(i + 1)

    losses = held_out_losses(
        averaged.eval(), levels, *tensors(held_out, *card.value_range), draw.manual_seed(cfg.seed + 1)
    )
    facts = facts | recipe | {"held_out_eps_mse_per_n": losses}
    digest = write_checkpoint(Path(cfg.out) / "mnist_unet.safetensors", averaged, facts)
    print(f"diffusion network: held-out loss per noise level {losses}; sha256 {digest}")


def eps_loss(network, levels, x0, label, n, eps):
    """Mean square of eps_network - eps per image (B). n counts the levels from 0."""
    sigma = levels[n].view(-1, 1, 1, 1)
    return (network((x0 + sigma * eps) / (1 + sigma**2).sqrt(), n.float(), label) - eps).square().mean((1, 2, 3))


def held_out_losses(network, levels, x, y, draw) -> dict[int, float]:
    import torch

    losses = {}
    with torch.inference_mode():
        for n in SHOWN:
            eps = torch.randn(x.shape, generator=draw)
            losses[n] = eps_loss(network, levels, x, y, torch.full((len(x),), n - 1), eps).mean().item()
    return losses


def train_classifier(cfg, card, train, held_out, facts: dict) -> None:
    import numpy as np
    import torch
    import torch.nn.functional as F
    from tqdm import tqdm

    from fastdiff.metrics.classifier import Classifier
    from fastdiff.weights.checkpoints import write_checkpoint

    x_train, y_train = tensors(train, 0, 1)
    x_held, y_held = tensors(held_out, 0, 1)
    torch.manual_seed(cfg.seed)
    shape = {"size": card.size, "in_channels": card.channels, "width": 32, "features": 64, "classes": cfg.model.classes}
    classifier, batches = Classifier(**shape), len(x_train) // 100
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=cfg.classifier_epochs * batches)
    for _ in tqdm(range(cfg.classifier_epochs), desc="classifier"):
        for pick in torch.randperm(len(x_train)).split(100)[:batches]:
            shift = torch.randint(-2, 3, (2,)).tolist()  # digits keep a margin of 4 pixels
            logits = classifier(torch.roll(x_train[pick], shift, (2, 3)))[1]
            loss = F.cross_entropy(logits, y_train[pick], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    classifier.eval()
    with torch.inference_mode():
        features, logits = classifier(x_held)
        right = (logits.argmax(1) == y_held).float().mean().item()
    spread = np.linalg.eigvalsh(np.cov(features.double().numpy(), rowvar=False))
    held = {"held_out_accuracy": right, "covariance_smallest_over_largest_eigenvalue": spread[0] / spread[-1]}
    recipe = {"epochs": cfg.classifier_epochs, "arch": shape}
    digest = write_checkpoint(Path(cfg.out) / "mnist_classifier.safetensors", classifier, facts | recipe | held)
    print(f"classifier: held-out accuracy {right:.4f}; sha256 {digest}")


if __name__ == "__main__":
    main()
