"""Shell completion of the installed command, by Hydra: fastdiff run sampler=dd<TAB>."""

import contextlib
import importlib
import io
import os
import sys

import fastdiff_conf

SHELLS = {
    "bash": 'eval "$(fastdiff completion bash)"',
    "zsh": 'autoload -Uz bashcompinit && bashcompinit; eval "$(fastdiff completion zsh)"',
    "fish": "fastdiff completion fish | source",
}


def script(shell: str) -> str:
    """What a shell evaluates to complete `fastdiff`. Raises ValueError for an unknown shell."""
    if shell not in SHELLS:
        raise ValueError(f"shell '{shell}' is not one of: {', '.join(sorted(SHELLS))}; usage: {SHELLS['bash']}")
    return _hydra("run", f"install={shell}")


def words(commands: list[str]) -> str:
    """What completes the line in COMP_LINE: commands first, then what Hydra offers for the command on the line.

    A bash or fish script calls `fastdiff -sc query=<shell>`; the reply is in the form that this shell expects.
    """
    query = next((word for word in sys.argv[1:] if word.startswith("query=")), "query=bash")
    _, _, line = os.environ.get("COMP_LINE", "").lstrip().partition(" ")
    name, typed, rest = line.lstrip().partition(" ")
    between = "\n" if query == "query=fish" else " "
    if not typed:
        return between.join(command for command in commands if command.startswith(name))
    if name not in commands:
        return ""
    os.environ["COMP_LINE"] = f"fastdiff {rest}"
    groups = fastdiff_conf.groups()  # Hydra offers `sampler` and sampler/base=, as that folder has a sub-folder
    found = [word for word in _hydra(name, query).strip("\n").split(between) if not word.endswith("/base=")]
    return between.join(f"{word}=" if word.lstrip("+") in groups else word for word in found)


def _hydra(name: str, what: str) -> str:
    """What Hydra prints for a command's `--shell-completion`."""
    said, sys.argv = io.StringIO(), ["fastdiff", "-sc", what]
    with contextlib.redirect_stdout(said):
        importlib.import_module(f"fastdiff_benchmarks.{name}").main()
    return said.getvalue()
