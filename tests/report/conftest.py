"""Pages of simulated results, written once."""

import pytest

from scalecheck.report import ReportInputs

STUDIES = ["golf", "panel", "funnel"]


@pytest.fixture(scope="session", params=STUDIES)
def written(request: pytest.FixtureRequest, written_page):
    return written_page(request.param)


@pytest.fixture(scope="session")
def html(written) -> str:
    return written.html


@pytest.fixture(scope="session")
def golf(written_page) -> ReportInputs:
    return written_page("golf").inputs


@pytest.fixture(scope="session")
def golf_html(written_page) -> str:
    return written_page("golf").html


@pytest.fixture(scope="session")
def panel(written_page) -> ReportInputs:
    return written_page("panel").inputs


@pytest.fixture(scope="session")
def panel_html(written_page) -> str:
    return written_page("panel").html


@pytest.fixture(scope="session")
def funnel(written_page) -> ReportInputs:
    return written_page("funnel").inputs


@pytest.fixture(scope="session")
def funnel_html(written_page) -> str:
    return written_page("funnel").html
