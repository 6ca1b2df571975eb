"""The study logistic_groups: its table to the bit, its truth, and its model against the plain one."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import study_files
from numpyro import handlers

STUDY = Path(__file__).parents[1] / "config" / "studies" / "logistic_groups"


@pytest.fixture(scope="module")
def rows():
    return study_files.load("logistic_groups", "rows")


@pytest.fixture(scope="module")
def few(rows):
    return rows.simulate(2000, 200)


def test_the_calls_are_those_of_the_source_in_its_order(rows):
    n, n_groups, k = 300, 30, 4
    rng = np.random.default_rng(827)
    group = rng.integers(0, n_groups, size=n)
    x = rng.standard_normal((n, k)).astype("float32")
    beta = rng.normal(0, 0.45, size=k).astype("float32")
    sigma_gamma = rng.uniform(0.15, 0.35, size=k).astype("float32")
    alpha_g = rng.normal(0, np.float32(0.8), size=n_groups).astype("float32")
    gamma = rng.normal(0, sigma_gamma, size=(n_groups, k)).astype("float32")
    eta = -1 + alpha_g[group] + (x * (beta + gamma[group])).sum(1)
    y = rng.binomial(1, 1 / (1 + np.exp(-eta)))
    found = rows.simulate(n, n_groups, k)
    assert (found.rows["group"] == group).all()
    assert (found.rows.filter(like="x").to_numpy() == x).all()
    assert (found.rows["y"] == y).all()
    true = found.truth.set_index("parameter")["value"].astype("float32")
    assert (true.filter(like="beta").to_numpy() == beta).all()
    assert (true.filter(like="sigma_gamma").to_numpy() == sigma_gamma).all()
    assert true[["alpha", "sigma_alpha"]].to_list() == [-1, np.float32(0.8)]


def test_twice_as_many_rows_are_other_rows_not_more_of_them(rows, few):
    # All groups are drawn before the covariates: sizes are part of what is reproducible.
    other = rows.simulate(4000, 200)
    assert not (other.rows["x0"].to_numpy()[:2000] == few.rows["x0"].to_numpy()).all()


def test_the_table_has_the_types_and_columns_that_the_study_names(few):
    assert list(few.rows) == ["group", *(f"x{i}" for i in range(20)), "y"]
    assert set(few.rows.dtypes.astype(str)) == {"int32", "float32", "int8"}


@pytest.mark.slow
def test_at_full_size_the_truth_is_that_of_the_checkout_and_36_percent_are_ones(rows):
    found = rows.simulate()
    assert len(found.rows) == 1_000_000
    assert found.rows["y"].mean() == pytest.approx(0.359275, abs=1e-9)
    stored = pd.read_csv(STUDY / "truth.csv", dtype=str)
    pd.testing.assert_frame_equal(stored, found.truth.astype(str))
    # The published posterior means of beta[0], ..., beta[3] lie within three of their sds, some .006.
    first = stored["value"].astype(float)[1:5]
    assert np.allclose(first, [-0.275, 0.630, -0.358, 0.359], atol=0.018)


def test_the_model_has_the_logits_of_the_source(few):
    given = few.rows.iloc[:50]
    x = jnp.asarray(given.filter(like="x").to_numpy())
    group = jnp.asarray(given["group"].to_numpy())
    seeded = handlers.seed(study_files.load("logistic_groups", "model").model, jax.random.key(0))
    trace = handlers.trace(seeded).get_trace(x, group, 200)
    value = {name: site["value"] for name, site in trace.items()}
    alpha_g = value["sigma_alpha"] * value["z_alpha"]
    slopes = value["beta"] + value["sigma_gamma"] * value["z_gamma"]
    eta = value["alpha"] + alpha_g[group] + (x * slopes[group]).sum(axis=1)
    rounding = 40 * np.finfo("float32").eps * float(jnp.abs(eta).max())
    assert jnp.abs(trace["y"]["fn"].logits - eta).max() < rounding
