"""Heterogeneity of whole studies whose model has latent sites: draws are exact, or those of a sampled fit."""

import dataclasses
import functools

import intercepts
import jax
import numpy as np
import pandas as pd
import pytest
import small_studies
from scipy import stats

from scalecheck.checks.moments import Prior
from scalecheck.evaluation.study_data import StudyData
from scalecheck.evaluation.unit_scores import no_unit_scores
from scalecheck.examine.fitted_rows import largest_increment
from scalecheck.examine.run_deviant_units import describe_units
from scalecheck.examine.run_heterogeneity import run_heterogeneity
from scalecheck.results import study_fits
from scalecheck.study.plan import Slice
from scalecheck.study.settings import DataSettings, IncrementSettings

N_UNITS, N_ROWS, N_LEVELS = 80, 8, 4
AXES = {"region": False, "period": True}  # whether it crosses units


@pytest.fixture(autouse=True)
def double():
    """As `examine` does."""
    with jax.enable_x64(True):
        yield


def level_of(axis):
    if AXES[axis]:
        return np.tile(np.arange(N_ROWS) * N_LEVELS // N_ROWS, N_UNITS)
    return np.repeat(np.arange(N_UNITS) % N_LEVELS, N_ROWS)


def study(function, rng, *, by_region=0.0, by_period=0.0, late=0.0, deviant=0.0):
    """A study of one increment."""
    slope = 0.5 + by_region * (level_of("region")[::N_ROWS] == 1)
    slope = slope + late * (np.arange(N_UNITS) >= N_UNITS // 2)
    u = rng.standard_normal(N_UNITS)
    u[7] += deviant
    data = intercepts.simulate(rng, N_UNITS, N_ROWS, intercept=u, slope=slope)
    period = level_of("period").reshape(data.y.shape)
    data = data._replace(y=data.y + by_period * (period == 1))
    theta, _ = intercepts.around(rng, data, 400)
    draws = intercepts.fit(rng, data, theta, standardised=function is intercepts.not_centred)

    def read(slices, columns):
        known = data.values() | {axis: level_of(axis) for axis in AXES}
        return {name: known[name] for name in columns}

    evidence = StudyData(likelihood_of(function), read, Prior(theta[0], np.eye(4)), 1)
    return evidence, study_fits.StudyFits([draws.task], {}, {draws.task.fit: draws})


@functools.cache
def likelihood_of(function):
    """A model, compiled once: its programs take any data of this shape."""
    data = intercepts.simulate(np.random.default_rng(0), N_UNITS, N_ROWS)
    found = intercepts.likelihood(function, data)
    levels = {axis: [f"{axis} {k}" for k in range(N_LEVELS)] for axis in AXES}
    return dataclasses.replace(found, labels={**found.labels, **levels})


def check(evidence, fits):
    data = DataSettings("", "y", {}, None, "clinic", (), tuple(AXES), "error")
    increments = IncrementSettings(100, 2.0, None, "arrival", "never", False, 0)
    seen = largest_increment(evidence, fits, data)
    found = run_heterogeneity(evidence, fits, seen, seen, data, increments)
    return {finding.axis: finding for finding in found.findings}, found.tables["heterogeneity"]


FUNCTIONS = pytest.mark.parametrize("function", [intercepts.centred, intercepts.not_centred])


@FUNCTIONS
def test_nothing_is_found_where_nothing_changes(function):
    found, table = check(*study(function, np.random.default_rng(1)))
    assert set(found) == {"region", "period", "arrival"}
    assert all(finding.p > 0.05 for finding in found.values())
    assert set(table["axis"]) == set(found)
    assert "indicative" not in found["region"].message
    assert len(table) == 4 * (4 + 4 + 8)
    assert found["arrival"].level.startswith("rows ")
    # Blocks in time are of whole units.
    assert (table.loc[table["axis"] == "arrival", "rows"] == N_ROWS * N_UNITS / 8).all()


def test_one_step_estimates_are_on_the_scale_of_the_model():
    _, table = check(*study(intercepts.centred, np.random.default_rng(1)))
    margin = stats.norm.ppf(0.945) * table["one_step_sd"]
    is_scale = table["parameter"].isin(["tau", "sigma"])
    assert 0 < is_scale.sum() < len(table)
    for name, shift in (("mean", 0.0), ("low", -margin), ("high", margin)):
        z = table["pooled_mean"] + table["one_step"] + shift
        np.testing.assert_allclose(table[f"one_step_{name}"], np.where(is_scale, np.exp(z), z))


@FUNCTIONS
@pytest.mark.parametrize(
    ("changes", "axis", "level", "parameter"),
    [
        ({"by_region": 1.0}, "region", "region 1", "beta"),
        ({"by_period": 1.0}, "period", "period 1", "mu"),
        ({"late": 1.0}, "arrival", None, "beta"),
    ],
)
def test_what_changes_is_named_however_the_model_is_written(
    function, changes, axis, level, parameter
):
    found, table = check(*study(function, np.random.default_rng(2), **changes))
    assert found[axis].p < 1e-3
    assert found[axis].parameter == parameter
    assert found[axis].level == (level or found[axis].level)
    assert found[axis].kind == "heterogeneous"
    others = [finding.p for name, finding in found.items() if name != axis]
    assert min(others) > found[axis].p
    shares = table[table["axis"] == axis].drop_duplicates("level")["share"]
    assert shares.sum() == pytest.approx(1)


def test_draws_that_were_not_stored_are_asked_for():
    evidence, fits = study(intercepts.centred, np.random.default_rng(3))
    for fit in fits.done.values():
        fit.tree["posterior"] = fit.tree["posterior"].to_dataset().drop_vars("u")
    found, table = check(evidence, fits)
    for finding in found.values():
        assert finding.p is None
        assert finding.message.endswith("name it in sampler.keep")
    assert table.empty


@FUNCTIONS
def test_a_deviant_unit_leads_the_table_and_its_own_draws_do_not_excuse_it(function):
    evidence, fits = study(function, np.random.default_rng(4), deviant=8.0)
    table = describe_units(evidence, fits)
    assert table.loc[0, "unit"] == "c7"
    assert table.loc[0, "q"] < 0.05
    assert len(table) == N_UNITS
    assert (table["rows"] == N_ROWS).all()
    values = evidence.read([Slice("arrival", 0, N_UNITS * N_ROWS)], ["y", "clinic"])
    mean = values["y"][values["clinic"] == 7].mean()
    assert table.loc[0, "observed"] == pytest.approx(mean)
    assert table.loc[0, "high"] < mean
    # The others follow the model, whose variance the deviant one has widened.
    assert (table["q"] < 0.05).sum() == 1


def test_without_units_or_predictions_no_unit_is_described():
    evidence, fits = study(intercepts.centred, np.random.default_rng(5))
    assert describe_units(evidence, fits._replace(done={})).empty


MODEL = """
def model(x, patient, n_patient, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1))
    with numpyro.plate("patients", n_patient):
        u = numpyro.sample("u", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu + tau * u[patient], 1.0), obs=y)
"""


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    """A study on disk with one increment, of units whose mean changes along an axis between them."""
    rng = np.random.default_rng(6)
    patient = np.repeat(rng.permutation(60), 5)
    site = patient % 3
    y = 2.0 * (site == 2) + rng.standard_normal(60)[patient] + rng.standard_normal(300)
    table = pd.DataFrame(
        {
            "y": y,
            "x": 1.0,
            "patient": [f"p{k}" for k in patient],
            "site": np.array(["a", "b", "c"])[site],
        }
    )
    with jax.enable_x64(False):
        small = small_studies.make(
            tmp_path_factory.mktemp("sampled"),
            table,
            MODEL,
            data={"unit": "patient", "axes": ["site"]},
            subsets={"count": 1, "size": 100},
            increments={"start": 300, "end": 300, "order": "random"},
            sampler={"chains": 4, "warmup": 250, "draws": 250},
        )
        (fit,) = small.fit("increment-01")
    return small, fit


def test_stored_draws_belong_to_the_units_that_they_are_labelled_with(sampled):
    """And the change of the mean is found, from the file to the finding."""
    small, fit = sampled
    evidence, settings = small.evidence(), small.study
    fits = study_fits.StudyFits(small.tasks("increment-01"), {}, {fit.task.fit: fit})
    seen = largest_increment(evidence, fits, settings.data)
    found = run_heterogeneity(evidence, fits, seen, seen, settings.data, settings.increments)
    (finding,) = found.findings
    assert finding.p < 0.01
    assert finding.parameter == "mu"
    assert finding.level == "c"
    values = small.values("increment-01", "y", "patient")
    means = pd.Series(values["y"]).groupby(values["patient"]).mean()
    labels = np.array(evidence.likelihood.labels["patient"])
    own = fit.tree["posterior"]["u"].mean(("chain", "draw")).to_series()
    assert np.corrcoef(own[labels[means.index]], means)[0, 1] > 0.95
    table = describe_units(evidence, fits)
    assert len(table) == 60
    assert set(table["unit"]) == set(labels)


def test_crossed_groups_say_what_stands_in_the_way(everything):
    """Group effects and patients' at once: neither patients nor rows are independent."""
    likelihood = everything.evidence().likelihood
    others = tuple(site.name for site in likelihood.compared if site.name != "effect")
    assert no_unit_scores(likelihood) is None
    reason = no_unit_scores(dataclasses.replace(likelihood, compare=others))
    assert reason.startswith("the latent site effect is indexed by group but data.unit is patient")
