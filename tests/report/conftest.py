"""Pages of simulated results, written once."""

import pytest
import synthetic_results

from scalecheck.report import ReportInputs
from scalecheck.report.page import render

STUDIES = ["golf", "panel", "funnel"]


@pytest.fixture(scope="module", params=STUDIES)
def inputs(request: pytest.FixtureRequest) -> ReportInputs:
    return getattr(synthetic_results, request.param)()


@pytest.fixture(scope="module")
def html(inputs: ReportInputs) -> str:
    return render(inputs)


@pytest.fixture(scope="module")
def golf() -> ReportInputs:
    return synthetic_results.golf()


@pytest.fixture(scope="module")
def golf_html(golf: ReportInputs) -> str:
    return render(golf)


@pytest.fixture(scope="module")
def panel_html(panel: ReportInputs) -> str:
    return render(panel)


@pytest.fixture(scope="module")
def panel() -> ReportInputs:
    return synthetic_results.panel()


@pytest.fixture(scope="module")
def funnel() -> ReportInputs:
    return synthetic_results.funnel()


@pytest.fixture(scope="module")
def funnel_html(funnel: ReportInputs) -> str:
    return render(funnel)
