"""Tables of what each knob does: its effect alone, and heat maps of its effect at each value of another knob."""

import math
from html import escape

from ..metrics.cards import sign
from . import clock
from .effects import Effect, Effects
from .html import DASH, cell, coloured, number, signed, table

NAMES = {"rho": "rho (Skip-Tuning)", "cache": "caching (DeepCache)", "variance": "variance (Analytic-DPM)"}
_INTERACTION = {"better": "better together", "worse": "worse together", "indistinguishable": "no interaction told"}


def main_table(effects: Effects) -> str:
    """A row for each value of each knob: the change from the knob's reference, all else equal."""
    columns = ["knob", "from", "to", f"change in {effects.column}", "verdict", "settings", "smallest to largest"]
    columns += ["MACs", "images_per_s"]
    right, rows = {columns[3], "settings", "smallest to largest", "MACs", "images_per_s"}, []
    for (knob, base, value), effect in effects.main.items():
        factors = [DASH if math.isnan(each) else f"x {each:.2f}" for each in (effect.cost, effect.speed)]
        if clock.far(effect.speed, 1 / effect.cost):
            factors[1] = f"<mark>{factors[1]} ?</mark>"
        size = max(abs(effect.low), abs(effect.high))
        shown = [NAMES.get(knob, knob), escape(str(base)), escape(str(value)), signed(effect.found)]
        shown += [coloured(effect.word, effect.word or DASH), str(effect.settings)]
        shown += [f"{number(effect.low, size, '+')} to {number(effect.high, size, '+')}", *factors]
        rows.append("<tr>" + "".join(cell("td", text, c in right) for text, c in zip(shown, columns)) + "</tr>")
    return table("Each knob alone", columns, right, rows, "effects") if rows else ""


def pair_tables(effects: Effects) -> str:
    """A heat map for each pair of knobs that were varied together."""
    return "".join(_pair(effects, *pair) for pair in effects.pairs)


def _pair(effects: Effects, knob: str, other: str) -> str:
    """Rows are values of one knob, columns those of the other; loss and gain are shaded by their size."""
    cells, base = effects.pairs[knob, other], effects.reference[other]
    values, places = (list(dict.fromkeys(each[i] for each in cells)) for i in (0, 1))
    places.sort(key=lambda place: place != base)  # the reference comes first, the others keep their order
    most = max(abs(effect.found.value) for effect, _ in cells.values()) or 1.0
    rows = []
    for value in values:
        found = [cells.get((value, at)) for at in places]
        shown = "".join(f"<td>{DASH}</td>" if each is None else _cell(*each, most, effects.column) for each in found)
        rows.append(f'<tr><th scope="row">{escape(str(value))}</th>{shown}</tr>')
    columns = [f"{knob} {escape(str(effects.reference[knob]))} to", *(f"at {other} {escape(str(at))}" for at in places)]
    return table(f"{NAMES.get(knob, knob)} by {NAMES.get(other, other)}", columns, set(), rows, "heat")


def _cell(effect: Effect, both: Effect | None, most: float, column: str) -> str:
    lost = sign(column) * effect.found.value
    share, hue = round(45 * min(1.0, abs(lost) / most)), "loss" if lost > 0 else "gain"
    text = f"{signed(effect.found)} {coloured(effect.word, effect.word or '')}"
    if both is not None:
        text += f"<small>interaction {signed(both.found)} {_INTERACTION.get(both.word, '')}</small>"
    return f'<td style="--hue: var(--{hue}); --share: {share}%">{text}</td>'


def legend(effects: Effects) -> str:
    """What the tables show, html."""
    return (
        "<p>Only cells that differ in that knob and in nothing else are compared, with no other method at work; the"
        " change is the mean over all settings (steps, samplers) that were measured at both values, paired by noise,"
        " with its 95 % interval, and smallest to largest are the single settings. The verdicts are Holm's over all"
        " effects shown here. What was not measured is not there.</p>"
        "<p>In the coloured tables a row is a change of one knob, a column the value of the other; orange loses, blue"
        " gains. The interaction is what the change does there beyond what it does in the first column, over those"
        " settings alone where all four cells were measured, which may be fewer. All values:"
        f" <code>{escape(effects.column)}</code>.</p>"
    )
