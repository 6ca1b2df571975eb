"""Matplotlib figures as inline SVG, in the type and the colours of the page."""

import io
import re
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

WIDE, NARROW = 780.0, 350.0  # CSS pixels: the column of the page, and a phone's
INK, MUTED, GRID, PAPER = "#1d1d1b", "#66655f", "#e3e1da", "#fffffe"
# Okabe and Ito (2008); shapes are the second channel.
COLOURS = {"subset": "#0072b2", "level": "#d55e00", "increment": "#00805d"}
MARKERS = {"subset": "o", "level": "s", "increment": "^"}

DASHED: dict[str, Any] = {"color": MUTED, "linewidth": 1.2, "linestyle": (0, (4, 3))}

# On the page a colour is a variable of its style sheet, so that dark mode and print can change it.
VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper"} | {
    colour: kind for kind, colour in COLOURS.items()
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text: small, sharp, in the page's own font
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 13,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.solid_capstyle": "round",
}

Place = tuple[float | int, float | int]  # x and y


class Picture(NamedTuple):
    """A figure of the page.

    Attributes
    ----------
    id
        Of the figure element.
    title
        Its heading.
    caption
        One sentence: what to read off it, with this study's numbers.
    alt
        What a reader who cannot see it should know.
    wide, narrow
        The same figure drawn for a desk or paper and for a phone, in pieces that fit a page.
    """

    id: str
    title: str
    caption: str
    alt: str
    wide: tuple[Markup, ...]
    narrow: tuple[Markup, ...]


def draw(name: str, drawing: Callable[[], Figure], alt: str) -> Markup:
    """Draw a figure and return it as an inline SVG element.

    Parameters
    ----------
    name
        Prefix of all ids inside; unique on the page.
    drawing
        Makes the figure; called with the page's style in force.
    alt
        Text of `aria-label`.
    """
    target = io.StringIO()
    # The salt and the absent date make the bytes reproducible.
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # Labels in any script: the reader's browser has glyphs that Matplotlib lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        FigureCanvasSVG(drawing()).print_svg(target, metadata={"Date": None})
    return Markup(_embedded(target.getvalue(), name, alt))


def pieces(name: str, drawings: Iterable[Callable[[], Figure]], alt: str) -> tuple[Markup, ...]:
    """Draw the pieces of a picture; the ids inside begin with its name and the place of the piece."""
    return tuple(draw(f"{name}{i}", drawing, alt) for i, drawing in enumerate(drawings))


def figure(width: float, height: float) -> Figure:
    """Start an empty figure; sizes in CSS pixels, one point of Matplotlib each."""
    return Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")


def panel(fig: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place given in CSS pixels from the top left corner."""
    full_width, full_height = (72 * side for side in fig.get_size_inches())
    box = (
        left / full_width,
        1 - (top + height) / full_height,
        width / full_width,
        height / full_height,
    )
    return fig.add_axes(box)


def rows_panel(fig: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes as `panel` does, on which y is in pixels from the top."""
    ax = panel(fig, left, top, width, height)
    ax.set_ylim(height, 0)
    ax.set_yticks([])
    ax.grid(axis="y", visible=False)
    ax.spines["left"].set_visible(False)
    return ax


def marker(kind: str, size: float | int, **style: Any) -> dict[str, Any]:
    """Give the style of a mark of a kind of fits."""
    return {
        "marker": MARKERS[kind],
        "markersize": size,
        "markerfacecolor": COLOURS[kind],
        "markeredgecolor": PAPER,
        "markeredgewidth": 0.6,
        "zorder": 3,
    } | style


def write(
    ax: Axes,
    line: str,
    at: Place,
    *,
    by: Place = (0, 0),
    within: Any = ("axes fraction", "data"),
    **style: Any,
) -> None:
    """Write a line of text on axes.

    Parameters
    ----------
    at
        Its place, in the coordinates that `within` names.
    by
        How far it is moved from there, to the right and up, in CSS pixels.
    **style
        Properties of a text of Matplotlib.
    """
    ax.annotate(line, xy=at, xycoords=within, xytext=by, textcoords="offset points", **style)


def _embedded(svg: str, name: str, alt: str) -> str:
    body = svg[svg.index("<svg") :]
    view_box = re.search(r'viewBox="([^"]*)"', body)
    assert view_box is not None
    content = body[body.index(">") + 1 :].replace("xlink:href", "href")
    content = re.sub(r"<metadata>.*?</metadata>\s*", "", content, flags=re.DOTALL)
    content = re.sub(r"<!--.*?-->\s*", "", content, flags=re.DOTALL)
    content = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", content)
    content = re.sub(r"font(-family)?: [^;\"]*'DejaVu Sans'[^;\"]*", _font, content)
    for colour, variable in VARIABLES.items():
        content = content.replace(colour, f"var(--{variable})")
    width = view_box[1].split()[2]
    label = str(Markup.escape(alt))
    opening = f'<svg class="plot" role="img" viewBox="{view_box[1]}" style="max-width: {width}px"'
    return f'{opening} aria-label="{label}">{content}'


def _font(declaration: re.Match[str]) -> str:
    """Keep the size and weight of a font declaration; the family is the page's."""
    size = re.search(r"[\d.]+px", declaration[0])
    weight = "; font-weight: 700" if re.search(r"\b(700|bold)\b", declaration[0]) else ""
    return (f"font-size: {size[0]}" if size else "font-family: inherit") + weight
