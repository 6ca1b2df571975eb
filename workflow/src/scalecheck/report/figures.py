"""The figures of the page as files of their own, each with its caption: for slides and for `snakemake --report`."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from markupsafe import Markup

from scalecheck.files import formats
from scalecheck.report.svg import PAPER, VARIABLES, Picture

_GAP, _MARGIN = 26.0, 12.0  # between pieces and around them, in CSS pixels
_SANS = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif"
# What XML knows no word for, which labels may hold: readers of SVG refuse a file that has one.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MARKS = re.compile(r"([\\*`_|])")  # of reStructuredText, in which Snakemake reads captions


def write_figures(folder: Path, pictures: Iterable[Picture]) -> None:
    """Write every picture as an SVG file and its caption beside it; what was there before goes when all are there.

    Parameters
    ----------
    folder
        Of the figures alone.
    pictures
        As drawn for the page.
    """
    new = folder.with_name(f".{folder.name}-new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        for picture in pictures:
            name = picture.id.removeprefix("figure-")
            formats.write_text(new / f"{name}.svg", standing_alone(picture))
            caption = _MARKS.sub(r"\\\1", f"{picture.title}. {picture.caption}")
            formats.write_text(new / f"{name}.rst", caption + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def standing_alone(picture: Picture) -> str:
    """Give a picture as one SVG document: its wide pieces below each other, with its own colours and paper.

    Colours are written out, because programs that draw slides know no variables.
    """
    sizes = [_size(piece) for piece in picture.wide]
    width = max(wide for wide, _ in sizes) + 2 * _MARGIN
    height = sum(high for _, high in sizes) + _GAP * (len(sizes) - 1) + 2 * _MARGIN
    y, placed = _MARGIN, []
    for piece, (wide, high) in zip(picture.wide, sizes, strict=True):
        place = f'<svg x="{_MARGIN:g}" y="{y:g}" width="{wide:g}" height="{high:g}"'
        placed.append(str(piece).replace('<svg class="plot" role="img"', place, 1))
        y += high + _GAP
    content = "\n".join(placed)
    for colour, variable in VARIABLES.items():
        content = content.replace(f"var(--{variable})", colour)
    document = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"'
        f' viewBox="0 0 {width:g} {height:g}" font-family="{_SANS}">\n'
        f"<title>{Markup.escape(picture.title)}</title>\n<desc>{Markup.escape(picture.caption)}</desc>\n"
        f'<rect width="100%" height="100%" fill="{PAPER}"/>\n{content}\n</svg>\n'
    )
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", document)


def _size(piece: str) -> tuple[float, float]:
    """Width and height of a piece in CSS pixels."""
    view_box = re.search(r'viewBox="([^"]*)"', piece)
    assert view_box is not None
    _, _, width, height = map(float, view_box[1].split())
    return width, height
