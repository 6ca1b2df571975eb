"""Rows of a batch: those of a unit lie together, in whatever order the plan has them."""

import functools

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from scalecheck.fitting import compilations
from scalecheck.model import batches
from scalecheck.model.binding import Argument, Model
from scalecheck.model.rows import Rows
from scalecheck.study.plan import PlannedFit


def read(small, *fits):
    (batch,) = batches.read_batches(
        small.folder, small.tasks(*fits), "y", small.study.model, "float32"
    )
    return batch


def test_rows_are_sorted_by_unit_in_every_kind_of_fit(everything):
    batch = read(everything, "subset-01", "level-group-01", "increment-01")
    assert len(batch.own) == 3
    for own in batch.own:
        assert (np.diff(own["patient"]) >= 0).all()
        assert own["patient"][0] == 0


# ---- padding

N_ROWS = 300
Y = np.random.default_rng(3).standard_normal(N_ROWS)
ARRIVAL = np.arange(N_ROWS)


@functools.cache
def model_of(statistic):
    """A regression that moves its covariate by a statistic of all rows."""

    def model(x, y=None):
        slope = numpyro.sample("slope", dist.Normal(0, 1))
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.Normal(slope * (x - statistic(x)), 1), obs=y)

    return model


def batches_of(statistic, *covariates):
    arguments = {name: Argument((name,), matrix=False) for name in ("x", "y")}
    bound = Model(model_of(statistic), "model.py", "y", arguments, {}, n_rows=False)
    values = [{"x": np.asarray(x, dtype=float), "y": Y[: len(x)]} for x in covariates]
    tasks = [PlannedFit("", "increment", "", "", len(x), len(x), ()) for x in covariates]
    return batches.make_batches(bound, tasks, values, dict.fromkeys("xy"), None, None, "float32")


def sizes(statistic, *covariates):
    return [batch.arrays["x"].shape[1] for batch in batches_of(statistic, *covariates)]


HIDDEN = {
    "sorted by arrival": ARRIVAL >= 150,
    "rare": ARRIVAL == 217,
    "last row": ARRIVAL == N_ROWS - 1,
    "all but the last row": ARRIVAL < N_ROWS - 1,
}


@pytest.mark.parametrize("x", HIDDEN.values(), ids=HIDDEN)
def test_no_row_is_padded_where_the_model_takes_a_mean_of_whatever_column(x):
    assert sizes(jnp.mean, x) == [N_ROWS]


def test_no_row_is_padded_where_one_of_the_fits_shows_that_the_model_takes_a_sum():
    still, moved = np.zeros(N_ROWS), np.arange(N_ROWS) < 20
    assert sizes(jnp.sum, still[:200], moved) == [200, N_ROWS]


def test_no_row_is_padded_where_the_model_takes_the_last_row_but_one():
    assert sizes(lambda x: x[-2], ARRIVAL / N_ROWS) == [N_ROWS]


@pytest.mark.parametrize("statistic", [jnp.max, lambda x: x[-1], lambda x: 0 * x[0]])
def test_statistics_that_a_repeated_row_does_not_change_are_padded(statistic):
    assert sizes(statistic, ARRIVAL / N_ROWS) == [1024]


def test_a_row_without_a_density_does_not_keep_a_fit_from_being_padded():
    assert sizes(lambda x: jnp.where(x > 0, jnp.inf, 0), ARRIVAL == 217) == [1024]


def test_rows_tried_are_as_many_in_all_fits_and_spread_over_each():
    for n_rows in (1, 5, 16, N_ROWS):
        chosen = batches._few_rows(Rows({"x": np.arange(n_rows)}, {}))
        assert len(chosen) == 16
        assert (chosen[0], chosen[-1]) == (0, n_rows - 1)
        assert len(np.unique(chosen)) == min(n_rows, 16)


def test_padding_is_tried_by_one_program_whatever_the_fits():
    def draw(*n_rows):
        return [np.random.default_rng(n).standard_normal(n) for n in n_rows]

    before = compilations.so_far()
    batches_of(jnp.sum, *draw(40, 300))
    after = compilations.so_far()
    batches_of(jnp.sum, *draw(7, 50, 280, 290))
    assert after.since(before).programs <= 3
    assert compilations.so_far().since(after).programs == 0
