"""The page in headless Chromium, at a desk and on a phone."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
FIGURES = ("figure-forest", "figure-contraction", "figure-effort", "figure-cost")
WIDTHS = {"desk": 1280, "phone": 390}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module", params=["golf", "panel", "funnel"])
def address(request: pytest.FixtureRequest, written_page) -> str:
    return written_page(request.param).folder.report.as_uri()


@pytest.fixture(scope="module", params=list(WIDTHS))
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """Open the page, once for all tests; refuse and keep every other request, keep every complaint."""
    context = browser.new_context(viewport={"width": WIDTHS[request.param], "height": 844})
    opened = context.new_page()
    opened.complaints, opened.requests = [], []
    opened.on("console", lambda message: opened.complaints.append(message.text))
    opened.on("pageerror", lambda error: opened.complaints.append(str(error)))

    def decide(route: Any) -> None:
        if route.request.url == address:
            route.continue_()
        else:
            opened.requests.append(route.request.url)
            route.abort()

    opened.route("**/*", decide)
    opened.goto(address)
    yield opened
    context.close()


def test_page_is_quiet(page: Any) -> None:
    page.wait_for_load_state("networkidle")
    assert page.complaints == []
    assert page.requests == []


def test_every_figure_is_visible(page: Any) -> None:
    for name in FIGURES:
        drawn = page.locator(f"#{name} svg.plot:visible")
        assert drawn.count() >= 1
        for i in range(drawn.count()):
            box = drawn.nth(i).bounding_box()
            assert box["width"] > 250
            assert box["height"] > 150


def test_nothing_overflows_even_with_all_tables_open(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]


def test_no_text_of_a_figure_is_cut_off_or_too_small(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    faults = page.evaluate(
        """() => [...document.querySelectorAll('svg.plot')].flatMap(svg => {
            const frame = svg.getBoundingClientRect();
            if (!frame.width) return [];
            const scale = frame.width / svg.viewBox.baseVal.width;
            return [...svg.querySelectorAll('text')].filter(text => {
                const box = text.getBoundingClientRect();
                const size = parseFloat(getComputedStyle(text).fontSize) * scale;
                return size < 10.5 || box.left < 0 || box.right > window.innerWidth
                    || box.left < frame.left - 12 || box.right > frame.right + 12;
            }).map(text => text.textContent);
        })"""
    )
    assert faults == []


def test_labels_of_a_figure_do_not_overlap(page: Any) -> None:
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    overlaps = page.evaluate(
        """() => [...document.querySelectorAll('svg.plot')].flatMap(svg => {
            const boxes = [...svg.querySelectorAll('text')]
                .map(text => [text.textContent, text.getBoundingClientRect()])
                .filter(([_, box]) => box.width);
            return boxes.flatMap(([a, p], i) => boxes.slice(i + 1)
                .filter(([_, q]) => Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1
                    && Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 4)
                .map(([b]) => `${a} | ${b}`));
        })"""
    )
    assert overlaps == []
