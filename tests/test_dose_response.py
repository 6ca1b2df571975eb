"""The dose-response study: the table that its program writes, and its model on published curves."""

import os
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import small_studies
import study_files
from scipy.optimize import curve_fit

from scalecheck.files.true_values import read_truth
from scalecheck.study.settings import ApproximationSettings
from scalecheck.variational import approximation

CHECKOUT = Path(__file__).parents[1]
FOLDER = CHECKOUT / "config" / "studies" / "dose_response"
# Tables of the R package drc (GPL), which are not ours to hand on: beside the checkout or not at all.
DRC = Path(os.environ.get("DRC_DATA", CHECKOUT.parent / "shared/data/cases/drc"))
WHITE_MUSTARD = DRC / "S.alba.csv"


@pytest.fixture(scope="module")
def rows():
    """Give the program that writes the table, as a module."""
    return study_files.load("dose_response", "rows")


def test_the_table_has_the_rows_and_compounds_asked_for(rows):
    table = rows.table(4_000, 30)
    assert len(table) == 4_000
    sizes = table["compound"].value_counts()
    assert len(sizes) == 30
    assert sizes.max() / sizes.min() < 200 / 60 * 1.1
    assert not table.isna().any().any()
    pd.testing.assert_frame_equal(table, rows.table(4_000, 30))


def test_wells_scatter_around_their_curves_by_the_noise(rows):
    rng = np.random.default_rng(rows.SEED)
    curve = rows.curves(rng, 30)  # the first thing that the program draws
    table = rows.table(4_000, 30)
    of_row = table["compound"].str[-4:].astype(int).to_numpy() - 1
    expected = rows.response({n: v[of_row] for n, v in curve.items()}, table["log_dose"].to_numpy())
    z = (table["response"] - expected) / rows.NOISE
    assert abs(z.mean()) < 4 / np.sqrt(len(z))
    assert abs(z.std() - 1) < 4 / np.sqrt(2 * len(z))


def test_the_truth_is_what_the_program_draws_from(rows):
    expected = {"noise": rows.NOISE}
    for name, (mean, sd) in rows.TRUTH.items():
        expected |= {f"mean_{name}": mean, f"sd_{name}": sd}
    assert read_truth(FOLDER / "truth.csv") == expected


def least_squares(log_dose, response):
    """The log EC50 of one curve without any population, and its standard error."""

    def logistic(x, bottom, top, log_ec50, slope):
        return bottom + (top - bottom) / (1 + 10 ** (-slope * (x - log_ec50)))

    found, covariance = curve_fit(logistic, log_dose, response, [0.0, 1.0, 0.0, 1.0])
    return found[2], np.sqrt(covariance[2, 2])


@pytest.mark.long
@pytest.mark.skipif(
    not WHITE_MUSTARD.exists(), reason="needs the table S.alba of the R package drc"
)
def test_the_model_finds_the_ec50_of_two_herbicides(tmp_path):
    raw = pd.read_csv(WHITE_MUSTARD)
    table = pd.DataFrame(
        {
            "compound": raw["Herbicide"],
            # Of no dose the logarithm is far below that of any other; doses in units of 40 g/ha.
            "log_dose": np.log10(raw["Dose"].replace(0, 1e-3) / 40),
            "response": 1 - raw["DryMatter"] / raw["DryMatter"][raw["Dose"] == 0].mean(),
        }
    )
    small = small_studies.make(
        tmp_path,
        table,
        (FOLDER / "model.py").read_text(),
        outcome="response",
        data={"unit": "compound"},
        subsets={"count": 0},
        increments={"start": len(table), "end": "all"},
    )
    settings = ApproximationSettings("always", "mean_field", "auto", None, 20_000, 0)
    found = approximation.approximate(small.whole(), settings, jax.random.PRNGKey(1), print)
    assert found.found.converged
    _, draws, labels = approximation.constrained(found, None)["log_ec50"]
    for name, log_ec50 in zip(labels["compound"], draws.T, strict=True):
        own = table[table["compound"] == name]
        alone, error = least_squares(own["log_dose"], own["response"])
        assert abs(log_ec50.mean() - alone) < 2 * error
