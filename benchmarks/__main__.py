"""fastdiff COMMAND: the entry points of benchmarks/ by name."""

import importlib
import sys

COMMANDS = {
    "run": "measure one cell, or a sweep: fastdiff run +grid=default",
    "score-norms": "estimate, print and export score norms for Analytic-DPM",
    "speed": "time your network, uncached and cached, and find its best batch size",
    "report": "tables, figures and a page from what has been measured",
    "compare": "a ledger beside an earlier one: is anything worse? exit code 0, 3 (worse), 2 (nothing to compare)",
    "diagnose": "the papers' figures of your network and of what has been measured",
    "reproduce": "a published table beside ours: fastdiff reproduce table=paper/deepcache_table2",
    "tune": "choose a knob's value on one set of noise and reference images, confirm it on another",
    "train": "train the embedded network and its classifier",
    "sync": "upload what has been measured to Weights & Biases",
    "dashboard": "a W&B workspace and report of what was uploaded",
}


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print("usage: fastdiff COMMAND [hydra overrides]\n")
        print("\n".join(f"  {command:11} {what}" for command, what in COMMANDS.items()))
        print("\nfastdiff COMMAND --help lists a command's settings; all of them are in fastdiff_conf (conf/).")
        return
    if name not in COMMANDS:
        sys.exit(f"fastdiff: '{name}' is not one of: {', '.join(sorted(COMMANDS))}")
    sys.argv = [f"fastdiff {name}", *sys.argv[2:]]
    importlib.import_module(f"fastdiff_benchmarks.{name.replace('-', '_')}").main()


if __name__ == "__main__":
    main()
