"""Every value with an interval that README.md and results print was measured: it is in a csv there."""

import re
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parent.parent
MNIST, SPEED = ROOT / "results" / "mnist", ROOT / "results" / "speed"
TRIPLE = re.compile(r"([+-]?\d+\.\d+) \[([+-]?\d+\.\d+), ([+-]?\d+\.\d+)\]")


def measured() -> list[tuple[float, float, float]]:
    """(value, low, high) of every column of every csv that has both ends."""
    found = []
    for path in sorted([*MNIST.glob("*.csv"), *SPEED.glob("*.csv")]):
        frame = pd.read_csv(path)
        for low in (name for name in frame if name == "low" or name.endswith(".low")):
            name = low.removesuffix("low").removesuffix(".") or "value"
            columns = [name, low, low.removesuffix("low") + "high"]
            found += list(frame[columns].dropna().itertuples(index=False, name=None))
    return found


MEASURED = measured()


@pytest.mark.parametrize("path", [ROOT / "README.md", *sorted([*MNIST.glob("*.md"), *SPEED.glob("*.md")])], ids=str)
def test_a_printed_value_and_its_interval_are_those_of_a_csv(path):
    printed = TRIPLE.findall(path.read_text())
    assert len(printed) > 10
    for words in printed:
        digits = len(words[0].partition(".")[2])
        wanted = [float(word) for word in words]
        step = 0.501 * 10**-digits
        near = (all(abs(a - b) <= step + 1e-5 * abs(b) for a, b in zip(wanted, each)) for each in MEASURED)
        assert any(near), f"{' '.join(words)} is in no csv of results/mnist"


def test_every_target_of_speed_is_printed_as_the_csv_has_it():
    text = (SPEED / "README.md").read_text().partition("## Targets")[2].partition("\n\n## ")[0]
    printed = [
        [each.strip() for each in line.strip("|").split("|")] for line in text.splitlines() if line.count("|") == 7
    ]
    frame = pd.read_csv(SPEED / "targets.csv").set_index("target")
    assert [line[0] for line in printed[2:]] == list(frame.index)
    for target, ours, theirs, ratio, goal, met in printed[2:]:
        row = frame.loc[target]
        assert (goal, met) == (row["goal"], row["met"]), target
        number, _, unit = ours.partition(" ")
        assert unit == row["unit"] and near(number, row["ours"]) and near(theirs, row["theirs"]), target
        assert abs(float(ratio.partition(" ")[0]) - row["ratio"]) <= 0.0051, target


def near(printed: str, value: float) -> bool:
    """Whether a number of three digits, or of whole ones, is that value."""
    return abs(float(printed.replace(",", "")) - value) <= max(0.0051 * abs(value), 1e-9)


def test_every_table_of_results_names_the_protocol_and_the_number_of_images():
    for path in sorted((ROOT / "results").glob("*/*.md")):
        named = re.findall(r"`?(?:fid|nll|is)\[[^\]]*n=[\d.,]+\]", path.read_text())
        assert named, f"{path} prints numbers of no stated protocol"
