"""The figures of the page as files of their own."""

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from docutils.core import publish_parts

from scalecheck.report.curves import picture
from scalecheck.report.figures import write_figures
from scalecheck.report.svg import PAPER, Picture

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def figures(written) -> Path:
    return written.folder.figures


def test_every_figure_of_the_page_is_a_file_with_its_caption(figures: Path, html: str) -> None:
    on_page = set(re.findall(r'<figure id="figure-([^"]+)"', html))
    assert {path.stem for path in figures.glob("*.svg")} == on_page
    assert {path.stem for path in figures.glob("*.rst")} == on_page


def test_a_figure_is_whole_without_the_page(figures: Path) -> None:
    for path in figures.glob("*.svg"):
        text = path.read_text()
        assert "var(" not in text and "class=" not in text
        root = ElementTree.fromstring(text)
        assert root.tag == f"{SVG}svg"
        rect = root.find(f"{SVG}rect")
        assert rect is not None and rect.get("fill") == PAPER
        ids = [part.get("id") for part in root.iter() if part.get("id")]
        assert len(ids) == len(set(ids))
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
        assert used <= set(ids)


def test_pieces_of_a_figure_lie_below_each_other_inside_it(figures: Path) -> None:
    for path in figures.glob("*.svg"):
        root = ElementTree.fromstring(path.read_text())
        bottom = 0.0
        for piece in root.findall(f"{SVG}svg"):
            top, height, width = (
                float(piece.get(side, "nan")) for side in ("y", "height", "width")
            )
            assert top > bottom
            assert width < float(root.get("width", "nan"))
            bottom = top + height
        assert 0 < bottom < float(root.get("height", "nan"))


def read_caption(path: Path) -> str:
    """Text of a caption as Snakemake's report shows it."""
    return words(publish_parts(path.read_text(), writer="html5")["body"])


def words(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", "", markup)).split())


def test_a_caption_says_in_a_report_of_snakemake_what_it_says_on_the_page(
    figures: Path, html: str
) -> None:
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", html, re.DOTALL)
    shown = [words(one) for one in captions]
    for path in figures.glob("*.rst"):
        assert any(read_caption(path).endswith(one) for one in shown)


def test_a_name_that_looks_like_markup_stays_text_in_a_caption(tmp_path: Path) -> None:
    caption = "mu_ and *b* of `n_clinic`_, |x| \\ y"
    drawn = picture("figure-forest", "Estimates", caption, [lambda axes: axes.set_yticks([])])
    write_figures(tmp_path / "figures", [drawn])
    assert read_caption(tmp_path / "figures/forest.rst") == f"Estimates. {caption}"


def test_a_name_that_xml_cannot_hold_makes_no_broken_file(tmp_path: Path) -> None:
    drawn = picture(
        "figure-forest", "a\x01b", "c\x0c\ufffe", [lambda axes: axes.set_title("d\x1b")]
    )
    write_figures(tmp_path / "figures", [drawn])
    found = ElementTree.parse(tmp_path / "figures/forest.svg").getroot()
    assert found[0].text == "a\N{REPLACEMENT CHARACTER}b"


def test_figures_that_cannot_all_be_written_leave_those_before(tmp_path: Path) -> None:
    drawn = picture("figure-forest", "Estimates", "all", [lambda axes: axes.set_yticks([])])
    write_figures(tmp_path / "figures", [drawn])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}

    def pictures() -> Iterator[Picture]:
        yield drawn._replace(caption="others")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_figures(tmp_path / "figures", pictures())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before
