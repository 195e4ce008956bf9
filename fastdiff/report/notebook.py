"""Figures in notebooks: sharp on a screen, and small enough to be kept in git."""

import io
from typing import Any

STYLE = {  # for matplotlib.rcParams
    "figure.dpi": 100, "savefig.dpi": 150, "font.size": 9, "axes.grid": True, "grid.color": "#dcdcdc",
    "axes.axisbelow": True, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
    "axes.prop_cycle": "cycler('color', ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9'])",
}  # fmt: skip
SHADES = 128  # colours of a picture: enough for lines with smooth edges


def shown(picture: Any):
    """A picture as an `IPython.display.Image`: a PNG of at most 128 colours. A grey picture keeps all its shades.

    picture: a PIL image, a plotly figure, or any object with matplotlib's `savefig`. Figures are drawn at twice the
    size that they are shown at. A plotly figure is returned as it is where no Chrome can draw it.
    """
    from IPython.display import Image
    from PIL import Image as Picture
    from PIL import ImageChops

    if isinstance(picture, Picture.Image):
        opened, sharp = picture, False
    else:
        try:
            opened, sharp = Picture.open(io.BytesIO(_png(picture))), True
        except RuntimeError as error:
            print(f"shown as an interactive figure: {error}")
            return picture
    buffer = io.BytesIO()
    coloured, grey = opened.convert("RGB"), opened.convert("L")
    if ImageChops.difference(coloured, grey.convert("RGB")).getbbox() is None:
        light = grey
    else:
        light = coloured.quantize(SHADES, dither=Picture.Dither.NONE)
    light.save(buffer, "png", optimize=True)
    return Image(buffer.getvalue(), retina=sharp)


def _png(figure) -> bytes:
    if not hasattr(figure, "savefig"):
        from .figures import render

        return render(figure, "png")[0]
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()
