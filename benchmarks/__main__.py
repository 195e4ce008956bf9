"""fastdiff COMMAND: the entry points of benchmarks/ by name."""

import importlib
import sys

COMMANDS = {
    "run": "measure one cell, or a sweep: fastdiff run +grid=default",
    "report": "write tables, figures and a page from what has been measured",
    "compare": "compare a ledger with an earlier one; exit code 0 (nothing worse), 3 (worse), 2 (nothing to compare)",
    "tune": "choose a knob's value on one set of noise and reference images, and confirm it on another",
    "reproduce": "print a published table beside your own values: fastdiff reproduce table=paper/deepcache_table2",
    "diagnose": "draw the papers' figures for your network and your measurements",
    "score-norms": "estimate, print, import or export score norms for Analytic-DPM",
    "speed": "time your network, uncached and cached, and find its best batch size",
    "train": "train the embedded network and its classifier",
    "sync": "upload what has been measured to Weights & Biases",
    "dashboard": "make a W&B workspace and report of what was uploaded",
    "completion": "print a shell's completion script: fastdiff completion bash|zsh|fish",
}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(help_text())
    elif name in ("-V", "--version"):
        from fastdiff import __version__

        print(f"fastdiff {__version__}")
    elif name in ("-sc", "--shell-completion"):
        from fastdiff_benchmarks.completion import words

        print(words(list(COMMANDS)))
    elif name == "completion":
        completion(sys.argv[2:])
    elif name in COMMANDS:
        sys.argv = [f"fastdiff {name}", *sys.argv[2:]]
        importlib.import_module(f"fastdiff_benchmarks.{name.replace('-', '_')}").main()
    else:
        print(f"error: command '{name}' is not one of: {', '.join(sorted(COMMANDS))}", file=sys.stderr)
        sys.exit(2)


def help_text() -> str:
    """The commands, a line each."""
    return "\n".join(
        [
            "usage: fastdiff COMMAND [knob=value ...]",
            "",
            *(f"  {command:11} {what}" for command, what in COMMANDS.items()),
            "",
            "fastdiff COMMAND --help   that command's settings, with their values and what they mean",
            "fastdiff --version        the version",
        ]
    )


def completion(arguments: list[str]) -> None:
    """Print the script of a shell, or how to use it."""
    from fastdiff_benchmarks.completion import SHELLS, script

    if not {"-h", "--help"}.isdisjoint(arguments) or not arguments:
        lines = [f"  {shell:5} {line}" for shell, line in SHELLS.items()]
        print("\n".join(["Add the line for your shell to its start-up file:", "", *lines]))
        return
    try:
        print(script(arguments[0]))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
