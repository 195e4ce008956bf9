"""How a run of W&B is opened and closed, and what is said when that or a part of it fails."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE = {
    "WANDB_FINISH_TIMEOUT": "300",
    "WANDB_FINISH_TIMEOUT_RAISES": "true",
}  # s; without them uploads wait for ever
Part = tuple[str, Callable[[], object]]  # what it is, and what writes it


@dataclass(frozen=True)
class Tracker:
    """name: wandb or none. mode: offline (no account; `make sync` uploads later), online or disabled."""

    name: str = "none"
    project: str = "fastdiff"
    entity: str | None = None
    mode: str = "offline"

    def __post_init__(self):
        if self.name not in ("none", "wandb"):
            raise ValueError(f"tracker '{self.name}' is not one of: none, wandb")
        if self.mode not in ("disabled", "offline", "online"):
            raise ValueError(f"tracker.mode '{self.mode}' is not one of: disabled, offline, online")


class Trouble(NamedTuple):
    """said: what is missing in W&B, in one sentence. reached: whether a run could be opened at all. again: whether the
    session has said so before."""

    said: str
    reached: bool = True
    again: bool = False


@dataclass
class Session:
    """The runs of W&B that one command writes.

    unreachable: why W&B could not be reached. It is not tried again then, because every try takes its whole patience.
    """

    tracker: Tracker
    unreachable: str | None = None

    def written(self, what: str, parts: Callable[..., Iterable[Part]], **opening: Any) -> Trouble | None:
        """Open a run, write its parts and close it. What goes wrong comes back, and is never raised.

        parts(run): each is written, whatever becomes of the others. opening: arguments of wandb.init.
        """
        tracker = self.tracker
        if tracker.name == "none":
            return None
        if self.unreachable is not None:
            return Trouble(_nothing(what, self.unreachable), reached=False, again=True)
        for name, value in {"WANDB_SILENT": "true", **PATIENCE}.items():
            os.environ.setdefault(name, value)
        lost: dict[str, list[str]] = {}
        try:
            with _opened(tracker, **opening) as run:
                for part, write in parts(run):
                    try:
                        write()
                    except Exception as error:  # the measurement is in the ledger, whatever W&B raises
                        lost.setdefault(_reason(error), []).append(part)
                where = Path(run.dir)
        except Exception as error:
            if _unreachable(error):
                self.unreachable = _reason(error)
            return Trouble(_nothing(what, _reason(error)), reached=False)
        if lost:
            said = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in lost.items())
            return Trouble(f"W&B lacks of {what}: {said}; the ledger has it, `make sync` replays it")
        if tracker.mode == "offline" and folder() not in where.resolve().parents:
            return Trouble(f"{folder().parent} cannot be written: W&B's files of {what} are in {where}")
        return None


def _opened(tracker: Tracker, **opening):
    try:
        import wandb
    except ImportError as error:
        raise ImportError("wandb is not installed: pip install wandb") from error
    if tracker.mode == "online" and not logged_in():
        raise wandb.errors.AuthenticationError("not logged in: run `wandb login` or set WANDB_API_KEY")
    where = {"project": tracker.project, "entity": tracker.entity, "mode": tracker.mode}
    return wandb.init(**where, resume="allow", **opening)


def _unreachable(error: Exception) -> bool:
    """Whether the next run would fail likewise."""
    if isinstance(error, (ImportError, OSError)):
        return True
    import wandb

    return isinstance(error, wandb.errors.CommError)


def _nothing(what: str, reason: str) -> str:
    return f"W&B could not record {what} ({reason}); the ledger has it, `make sync` replays it"


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def folder() -> Path:
    """Where W&B keeps what it has not uploaded, and `make sync` what it has: can be deleted any time."""
    return (Path(os.environ.get("WANDB_DIR") or ".") / "wandb").resolve()


def logged_in() -> bool:
    """Whether an upload has a chance; asks nobody, nor the network."""
    import wandb

    return bool(wandb.login(prompt=False, verify=False))


def default_entity() -> str:
    """The account's own entity: where runs go that name none. Asks W&B."""
    import wandb

    return wandb.Api().default_entity
