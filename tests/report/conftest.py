"""Pages of simulated results, written once."""

import pytest
import synthetic_results
from markupsafe import Markup

from scalecheck.report import ReportInputs, effort, forest, plots
from scalecheck.report.page import render

STUDIES = ["golf", "panel", "funnel"]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures of a page empty: what is said beside them is the same, and takes no seconds."""
    empty = Markup('<svg class="plot" role="img" viewBox="0 0 1 1"></svg>')
    for module in (effort, forest, plots):
        monkeypatch.setattr(module, "draw", lambda name, drawing, alt: empty)


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
