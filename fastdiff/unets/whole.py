"""A network that is not cut into rungs, as a `UNet` with K = 0: only what acts on its output applies to it."""

from torch import Tensor, nn


class Whole(nn.Module):
    """network: any module with forward(x (B C H W), c_noise (B), cond (B) or None) -> output (B C_out H W)."""

    rungs = 0

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        for name in ("context", "label_rows"):  # what guidance asks a network for
            if hasattr(network, name):
                setattr(self, name, getattr(network, name))

    def embed(self, c_noise: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return c_noise, cond

    def down(self, i: int, h: Tensor, emb: tuple[Tensor, Tensor | None]) -> tuple[Tensor, Tensor]:
        raise IndexError(f"rung {i} was asked for, and this network has none")

    def mid(self, h: Tensor, emb: tuple[Tensor, Tensor | None]) -> Tensor:
        return self.network(h, *emb)

    def up(self, i: int, h: Tensor, skip: Tensor, emb: tuple[Tensor, Tensor | None]) -> Tensor:
        raise IndexError(f"rung {i} was asked for, and this network has none")

    def head(self, h: Tensor, emb: tuple[Tensor, Tensor | None]) -> Tensor:
        return h
