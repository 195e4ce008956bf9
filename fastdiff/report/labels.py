"""Labels beside the marks of a crowded plot, where they cover the least."""

import numpy as np


def annotate(ax, labels: list[tuple], taken: list[tuple]) -> None:
    """Write each label (x, y, text, colour) on the side of its point where the fewest of `taken` (x, y) are near."""
    ax.figure.draw_without_rendering()
    taken = ax.transData.transform(taken) * 72 / ax.figure.dpi  # in points, as offsets are
    room = ax.bbox.get_points() * 72 / ax.figure.dpi
    around = [(np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 16, endpoint=False)]
    for x, y, text, colour in labels:
        half = np.array([2.6 * len(text) + 1, 5])
        at = ax.transData.transform((x, y)) * 72 / ax.figure.dpi
        sides = np.array([(r + half * (1, 0.6)) * side for r in (5, 9) for side in around])
        gaps = (np.abs(taken - (at + sides)[:, None]) / (half + (4, 4))).max(2)
        crowding = np.clip(1.3 - gaps, 0, None).sum(1) + 0.003 * np.hypot(*sides.T)
        inside = np.all(np.abs(at + sides - room.mean(0)) + half < np.ptp(room, axis=0) / 2, axis=1)
        crowding[~inside] += 1
        if crowding.min() > 1.5 and text.isdigit():
            continue  # a mark without its number is better than a number nobody can read
        side = sides[crowding.argmin()]
        ax.annotate(text, (x, y), side, textcoords="offset points", ha="center", va="center", color=colour, fontsize=8)
        taken = np.vstack([taken, at + side + np.outer((-0.6, 0, 0.6), half * (1, 0))])
