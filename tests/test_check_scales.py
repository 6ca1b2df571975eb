"""Facts about scales: which columns and parameters are refused, because no warmup would find their metric."""

import numpy as np
import pandas as pd
import pytest
import small_studies

from scalecheck.errors import StudyError

N_ROWS = 400
Z = np.linspace(-1.7, 1.7, N_ROWS)[np.random.default_rng(1).permutation(N_ROWS)]
LINE = """
def model(x, y=None):
    a = numpyro.sample("a", dist.Normal(0.0, {a}))
    b = numpyro.sample("b", dist.Normal(0.0, {b}))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal({mean}, 1.0), obs=y)
"""


def make(path, x, mean="a + b * x", a=1e5, b=1.0, **settings):
    settings |= {"subsets": {"count": 0}, "increments": {"start": 20, "end": 20}}
    source = LINE.replace("{mean}", mean).replace("{a}", str(a)).replace("{b}", str(b))
    return small_studies.make(path, pd.DataFrame({"x": x, "y": Z}), source, **settings)


@pytest.mark.parametrize("a", [10.0, 1e5], ids=["narrow prior", "wide prior"])
def test_a_column_far_from_zero_is_refused_with_what_to_subtract(tmp_path, a):
    words = (
        r"data.csv: column x lies \d+ standard deviations from zero, so that chains hardly move:"
        " subtract 10000 from it, in the file or in the model$"
    )
    with pytest.raises(StudyError, match=words):
        make(tmp_path, Z + 1e4, a=a)


@pytest.mark.parametrize("mean", ["a + b * (x - 10000)", "b * x / 1e4"])
def test_a_column_far_from_zero_does_no_harm_where_the_model_centres_it_or_has_no_intercept(
    tmp_path, mean
):
    make(tmp_path, Z + 1e4, mean)


@pytest.mark.parametrize("a", [10.0, 1e3])
def test_a_year_is_not_refused(tmp_path, a):
    make(tmp_path, 2010 + 5 * Z, a=a)


def test_seconds_that_the_model_centres_leave_a_slope_too_narrow(tmp_path):
    words = (
        r"model.py: the posterior sd of b would be about \de-07, and warmup learns none below"
        r" 0.003: use larger units, days for seconds, for what it multiplies: x \(sd 8.\de\+04\)$"
    )
    with pytest.raises(StudyError, match=words):
        make(tmp_path, 1.6e9 + 8.5e4 * Z, "a + b * (x - 1.6e9)", a=10.0, b=1e-6)


def test_a_slope_per_thousand_is_not_refused(tmp_path):
    make(tmp_path, 1e3 * Z, a=10.0, b=1e-3)


def test_parameters_that_are_all_narrow_have_one_step_size(tmp_path):
    make(tmp_path, 1e6 * Z, "1e6 * a + b * x", a=1e-6, b=1e-6)
