"""make train: the embedded diffusion network and its classifier, on the training digits, from scratch.

Noise prediction (Ho et al. 2020, L_simple), AdamW with linear decay, moving average of the weights, label dropout.
A killed run goes on where its last state was saved. Change settings by Hydra overrides: make train ARGS="steps=10000".
"""

import copy
from pathlib import Path

import hydra


def train(cfg):
    import numpy as np
    import torch
    import torch.nn.functional as F
    from fastdiff.checkpoints import write_checkpoint
    from fastdiff.data import DataCard, load
    from fastdiff.files import write
    from fastdiff.metrics.classifier import Classifier
    from fastdiff.schedules import Schedule
    from fastdiff.unets.native import NativeUNet
    from omegaconf import OmegaConf
    from tqdm import tqdm

    card = DataCard(**OmegaConf.to_container(cfg.data, resolve=True)).resolved()
    digits, held_out = load(card)
    low, high = card.value_range
    x_train, x_held = (torch.from_numpy(split.pixels).float() / 255 * (high - low) + low for split in (digits, held_out))
    y_train, y_held = (torch.from_numpy(split.labels) for split in (digits, held_out))
    alpha_bar = torch.from_numpy(1 / (1 + Schedule(**cfg.schedule).levels() ** 2)).float()

    def loss_of(network, x, y, n, eps):
        a = alpha_bar[n].view(-1, 1, 1, 1)
        return (network(a.sqrt() * x + (1 - a).sqrt() * eps, n.float(), y) - eps).square().mean((1, 2, 3))

    # ---- the diffusion network ------------------------------------------------------------------------------------
    torch.manual_seed(cfg.seed)
    arch = OmegaConf.to_container(cfg.model, resolve=True)
    network = NativeUNet(**arch)
    averaged = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=cfg.lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: min(1, (i + 1) / 100) * (1 - i / cfg.steps))
    draw, begun = torch.Generator().manual_seed(cfg.seed), 0
    state = Path(cfg.state) / "state.pt"
    parts = {"network": network, "averaged": averaged, "optimiser": optimiser, "schedule": schedule}
    if state.exists():
        saved = torch.load(state, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        draw.set_state(saved["draw"])
        begun = saved["step"]
        print(f"going on from step {begun} ({state})")
    bar, smooth = tqdm(range(begun, cfg.steps), initial=begun, total=cfg.steps, desc="diffusion", mininterval=5), None
    for i in bar:
        pick = torch.randint(len(x_train), (cfg.batch,), generator=draw)
        n = torch.randint(len(alpha_bar), (cfg.batch,), generator=draw)
        eps = torch.randn(x_train[pick].shape, generator=draw)
        dropped = torch.rand(cfg.batch, generator=draw) < cfg.label_dropout
        label = y_train[pick].masked_fill(dropped, network.classes)
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(network, x_train[pick], label, n, eps).mean()
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
            saved = {name: part.state_dict() for name, part in parts.items()} | {"step": i + 1, "draw": draw.get_state()}
            write(state, lambda file: torch.save(saved, file))

    averaged.eval()
    levels, losses = [1, 10, 50, 100, 200, 300, 500, 700, 900, 1000], {}
    draw.manual_seed(cfg.seed + 1)
    with torch.inference_mode():
        for level in levels:
            n, eps = torch.full((len(x_held),), level - 1), torch.randn(x_held.shape, generator=draw)
            losses[level] = loss_of(averaged, x_held, y_held, n, eps).mean().item()
    facts = {"command": "make train", "seed": cfg.seed, "data": card.name, "data_sha256": card.sha256}
    recipe = {key: cfg[key] for key in ("steps", "batch", "lr", "ema", "label_dropout")}
    facts |= {"torch": torch.__version__, "licence": "Apache-2.0"}
    out = Path(cfg.out)
    held = {"held_out_eps_mse_per_n": losses, "held_out_images": len(x_held)}
    digest = write_checkpoint(out / "mnist_unet.safetensors", averaged, facts | recipe | held | {"arch": arch})
    print(f"diffusion network: held-out loss per noise level {losses}; sha256 {digest}")

    # ---- the classifier -------------------------------------------------------------------------------------------
    torch.manual_seed(cfg.seed)
    classifier = Classifier(cfg.model.size, cfg.model.in_channels, classes=cfg.model.classes)
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=1e-2)
    batches = len(x_train) // 100
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=cfg.classifier_epochs * batches)
    for _ in tqdm(range(cfg.classifier_epochs), desc="classifier"):
        for pick in torch.randperm(len(x_train)).split(100)[:batches]:
            shift = torch.randint(-2, 3, (2,)).tolist()
            x = torch.roll((x_train[pick] - low) / (high - low), shift, (2, 3))  # digits keep a margin of 4 pixels
            loss = F.cross_entropy(classifier(x)[1], y_train[pick], label_smoothing=0.05)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    classifier.eval()
    with torch.inference_mode():
        features, logits = classifier((x_held - low) / (high - low))
        right = (logits.argmax(1) == y_held).float().mean().item()
    spread = np.linalg.eigvalsh(np.cov(features.double().numpy(), rowvar=False))
    shape = {"size": cfg.model.size, "in_channels": cfg.model.in_channels, "width": 32, "features": features.shape[1]}
    held = {"held_out_accuracy": right, "covariance_smallest_over_largest_eigenvalue": spread[0] / spread[-1]}
    recipe = {"epochs": cfg.classifier_epochs, "arch": shape | {"classes": cfg.model.classes}}
    digest = write_checkpoint(out / "mnist_classifier.safetensors", classifier, facts | recipe | held)
    print(f"classifier: held-out accuracy {right:.4f}; sha256 {digest}")
    print(f"checkpoints and their cards are in {out}; put the digests into conf/model and conf/metrics")


@hydra.main(config_path="pkg://fastdiff_conf", config_name="train", version_base="1.3")
def main(cfg):
    train(cfg)


if __name__ == "__main__":
    main()
