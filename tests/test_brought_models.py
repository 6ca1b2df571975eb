"""True models of kinds that were once called wrong, through the whole program; and one that is wrong along an axis."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import brought_models
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "calibration"))
from whole_study import run_study

from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.study import read_study

pytestmark = pytest.mark.long

SAMPLER = {"chains": 4, "warmup": 300, "draws": 300}


class Brought(NamedTuple):
    """A model, its table and what the study asks beside them."""

    model: str
    table: str
    n_rows: int
    data: dict[str, Any]
    model_keys: dict[str, Any] = {}
    subsets: tuple[int, int] = (4, 200)
    increments: tuple[int, int] = (300, 600)
    sampler: dict[str, Any] = {}


CASES = {
    "censored": Brought("lifetimes", "table_of_lifetimes", 800, {"outcome": "days"}),
    "masked": Brought("counts_seen", "table_of_counts", 800, {"outcome": "counts"}),
    "index": Brought(
        "by_treatment", "table_of_treatments", 1600, {"outcome": "visits", "axes": ["ward"]}
    ),
    "crossed": Brought(
        "of_population", "table_of_items", 4000, {"outcome": "right"}, subsets=(8, 400)
    ),
    "products": Brought(
        "products",
        "table_of_slopes",
        1200,
        {"outcome": "y"},
        {"arguments": {"x": [*"abcd"]}},
        (5, 200),
        # A funnel: as the line on a fit that cannot be used advises.
        sampler={"target_accept": 0.95, "draws": 600},
    ),
    "grades": Brought("grades", "table_of_grades", 800, {"outcome": "grade"}),
    "labels": Brought("line", "table_of_countries", 800, {"outcome": "y", "axes": ["country"]}),
    "lagged": Brought("two_lags", "table_of_series", 1200, {"outcome": "y"}, subsets=(4, 300)),
}


def run(tmp_path_factory, name):
    case, folder = CASES[name], tmp_path_factory.mktemp(name)
    rng = np.random.default_rng(7)
    table = getattr(brought_models, case.table)(rng, case.n_rows)
    table.round(4).to_csv(folder / "d.csv", index=False)
    count, size = case.subsets
    start, end = case.increments
    settings = read_study.build(
        {
            "study": name,
            "data": {"file": str(folder / "d.csv"), **case.data},
            "model": {"file": brought_models.__file__, "function": case.model, **case.model_keys},
            "subsets": {"count": count, "size": size},
            "increments": {"start": start, "end": end},
            "sampler": SAMPLER | case.sampler,
        },
        str(folder / "study.yaml"),
    )
    verdict = run_study(settings, folder / "results")
    return StudyFolder(folder / "results"), verdict


def statuses(verdict):
    found: dict[str, set[str]] = {}
    for finding in verdict["findings"]:
        found.setdefault(finding["family"], set()).add(finding["status"])
    return found


@pytest.mark.parametrize("name", [name for name in CASES if name != "index"])
def test_a_true_model_is_not_called_wrong(tmp_path_factory, name):
    _, verdict = run(tmp_path_factory, name)
    assert (verdict["misfit"], verdict["heterogeneous"]) == (False, False)
    assert verdict["verdict"] == "adequate", verdict["reason"]
    ran = {family for family, seen in statuses(verdict).items() if seen == {"pass"}}
    assert {"agreement", "drift"} & ran


def test_effects_of_an_index_that_are_turned_round_along_an_axis_are_found_there(tmp_path_factory):
    folder, verdict = run(tmp_path_factory, "index")
    assert verdict["heterogeneous"]
    named = verdict["attribution"]
    assert (named["family"], named["axis"]) == ("heterogeneity", "ward")
    (along,) = (one for one in verdict["findings"] if one["where"]["axis"] == "ward")
    assert along["where"]["parameter"] in ("log_rate[none]", "log_rate[full]")
    assert statuses(verdict)["agreement"] == {"pass"}
    named = set(formats.read_table(folder.table("estimates"))["parameter"])
    assert named == {"log_rate[none]", "log_rate[half]", "log_rate[full]"}
