"""What a fit asks of a machine is told from shapes, before anything was fitted."""

import jax
import numpy as np
import pandas as pd
import pytest
import small_studies

from scalecheck.fitting import resource_model, sample_batch
from scalecheck.pipeline import check_study

N_ROWS = 20_000
PER_UNIT = """
def model(x, unit, n_unit, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("units", n_unit):
        base = numpyro.sample("base", dist.Normal(mu, 1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(base[unit] + x, 1.0), obs=y)
"""
CONSTANT = """
def model(x, y=None):
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
"""


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((2, N_ROWS))
    return pd.DataFrame({"x": x, "y": y, "unit": np.arange(N_ROWS) // 3})


def asked(small):
    study = small.study
    bound = check_study.load_model(small.folder, "y", study.model, study.sampler)
    return resource_model.demand_of_study(small.folder, bound, study.model.compare, study.sampler)


@pytest.mark.parametrize(
    ("source", "settings"),
    [
        (small_studies.CONJUGATE, {}),
        (small_studies.CONJUGATE, {"sampler": {"precision": "float64"}}),
        (PER_UNIT, {"data": {"unit": "unit"}}),
    ],
    ids=["few parameters", "float64", "a parameter per unit"],
)
def test_the_memory_of_all_rows_is_told_from_fits_of_fewer(tmp_path, table, source, settings):
    small = small_studies.make(tmp_path, table, source, **settings)
    found = asked(small)
    with jax.enable_x64(small.study.sampler.precision == "float64"):
        whole = sample_batch.forecast_memory(small.whole(), small.study.sampler).together
    for name, size in {
        "held": whole.data + whole.draws,
        "running": whole.chains + whole.gradients,
    }.items():
        told = found[name]["fixed"] + N_ROWS * found[name]["per_row"]
        # Enough, and hardly more: fits of fewer rows have a mask of those that pad, which all rows have not.
        assert 0.99 * size <= told <= 1.25 * size
    # Each row is at least its own numbers.
    assert found["held"]["per_row"] > 4 * len(small.whole().arrays)
    assert found["at_once"] == sample_batch.CPU_SLOTS


def test_operations_of_a_gradient_grow_with_rows(tmp_path, table):
    found = asked(small_studies.make(tmp_path, table))
    assert found["rows"] == N_ROWS
    assert 5 < found["operations"]["per_row"] < 100
    assert found["operations"]["fixed"] < 1000


def test_a_fit_without_parameters_asks_for_its_data_alone(tmp_path, table):
    found = asked(small_studies.make(tmp_path, table, CONSTANT))
    assert found["operations"] == {"fixed": 0.0, "per_row": 0.0}
    # With the mask of the rows that pad.
    held = found["held"]["fixed"] + N_ROWS * found["held"]["per_row"]
    assert held == pytest.approx((2 * 4 + 1) * N_ROWS)
    assert found["running"] == {"fixed": 0.0, "per_row": 0.0}


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ({10: 5.0}, (5.0, 0.0)),
        ({10: 5.0, 20: 7.0}, (3.0, 0.2)),
        ({10: 5.0, 20: 4.0}, (4.0, 0.0)),
        ({10: 5.0, 20: 15.0}, (0.0, 1.0)),
    ],
)
def test_a_line_through_two_points_falls_nowhere_and_begins_at_nothing(points, expected):
    assert resource_model.line_through(points) == pytest.approx(expected)
