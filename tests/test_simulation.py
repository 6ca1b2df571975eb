"""Whole plans on many data sets in memory, beside what the programs do on disk."""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_studies

sys.path.insert(0, str(Path(__file__).parent / "calibration"))

from in_memory import from_table, prior_of
from test_fit import ROW_LATENTS
from test_no_parameters import KNOWN

from scalecheck.data import store
from scalecheck.data.table import Column
from scalecheck.evaluation.study_data import open_likelihood
from scalecheck.files import formats
from scalecheck.results.study_fits import read_study_fits
from scalecheck.simulation import simulated_checks, simulated_fits
from scalecheck.simulation.data_sets import DataSet

KINDS = ("subset", "increment")


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """A prepared study with whole units and an axis, and its table in memory."""
    rng = np.random.default_rng(5)
    table = pd.DataFrame(
        {
            "y": rng.standard_normal(120),
            "x": 1.0,
            "place": rng.choice(["a", "b"], 120),
            "unit": [f"u{code:02d}" for code in rng.integers(20, size=120)],
        }
    )
    small = small_studies.make(
        tmp_path_factory.mktemp("grouped"),
        table,
        data={"axes": ["place"], "unit": "unit"},
        subsets={"count": 2, "size": 30, "levels": 2},
        increments={"start": 30, "factor": 2, "end": "all"},
    )
    labels = store.read_meta(small.folder.data).labels
    columns = {
        name: Column(
            np.array([labels[name].index(v) for v in table[name]])
            if labels[name]
            else table[name].to_numpy(),
            tuple(labels[name]) if labels[name] else None,
        )
        for name in table
    }
    return small, from_table(small.study, columns, small.study.seed, KINDS)


def test_a_plan_in_memory_reads_the_rows_that_the_store_gives(grouped):
    small, data_set = grouped
    assert data_set.tasks == tuple(small.tasks(*(task.fit for task in data_set.tasks)))
    for task in data_set.tasks:
        names = ["y", "place", "unit", store.OBSERVATION, store.FILE_ROW]
        on_disk = store.read_rows(small.folder.data, task.slices, names)
        in_memory = data_set.read(task.slices, names)
        for name in names:
            np.testing.assert_allclose(in_memory[name], on_disk[name], rtol=1e-6)


def test_levels_are_planned_but_not_fitted(grouped):
    _, data_set = grouped
    assert {task.kind for task in data_set.tasks} == {"subset", "level", "increment"}
    assert {task.kind for task in data_set.fitted} == set(KINDS)


@pytest.fixture(scope="module")
def repeated(conjugate):
    """The conjugate study, and the same with all outcomes moved up by one, fitted together in memory."""
    study = conjugate.study
    likelihood = open_likelihood(conjugate.folder, study.model, study.data.outcome)
    tasks = tuple(read_study_fits(conjugate.folder, study.increments.order).tasks)

    def shifted(shift):
        def read(slices, columns):
            found = store.read_rows(conjugate.folder.data, slices, tuple(columns))
            return {k: v + shift if k == "y" else v for k, v in found.items()}

        return read

    sets = [DataSet(tasks, KINDS, shifted(shift), seed) for seed, shift in enumerate((0.0, 1.0))]
    prior = prior_of(likelihood, 1)
    settings = dataclasses.replace(
        study, increments=dataclasses.replace(study.increments, stop="never")
    )
    return sets, simulated_checks.run_studies(settings, likelihood, prior, sets, lambda line: None)


@pytest.mark.long
def test_fits_of_all_data_sets_have_their_own_posteriors(repeated):
    sets, outcomes = repeated
    for data_set, outcome in zip(sets, outcomes, strict=True):
        assert set(outcome.fits.done) == {task.fit for task in data_set.fitted}
        for task in data_set.fitted:
            y = data_set.read(task.slices, ["y"])["y"]
            fit = outcome.fits.done[task.fit]
            sd = 1 / np.sqrt(len(y) + 1)
            error = 4 * sd / np.sqrt(fit.health.ess)
            assert fit.z.mean() == pytest.approx(y.sum() / (len(y) + 1), abs=error)


@pytest.mark.long
def test_increments_start_warm_in_memory_and_the_last_is_audited(repeated, conjugate):
    """Each from what the one before left to its own data set, which a cold start of the same rows confirms."""
    sets, _ = repeated
    study = conjugate.study
    sampler = dataclasses.replace(study.sampler, engine="lanes", chains=4)
    warm = dataclasses.replace(study.increments, stop="never", warm=True, cold_audit=1)
    likelihood = open_likelihood(conjugate.folder, study.model, study.data.outcome)
    increments = [one._replace(kinds=("increment",)) for one in sets]
    fitting = simulated_fits.Fitting(sampler, likelihood, increments, lambda line: None)
    fitted = simulated_fits.fit_plans(fitting, warm, share=True)
    for data_set, fits in zip(increments, fitted, strict=True):
        cold, *others = [fits.done[task.fit] for task in data_set.fitted]
        assert cold.record.warmup == sampler.warmup
        assert cold.record.audit is None
        assert others
        for fit in others:
            y = data_set.read(fit.task.slices, ["y"])["y"]
            error = 4 / np.sqrt((len(y) + 1) * fit.health.ess)
            assert fit.record.warmup == round(0.1 * sampler.warmup)
            assert fit.z.mean() == pytest.approx(y.sum() / (len(y) + 1), abs=error)
            assert abs(fit.record.audit.gap) < 5


def increments_in_memory(path, source, **settings):
    """Fit the increments of a study of 320 outcomes near 3, without writing anything; give its fits."""
    y = 3 + np.random.default_rng(6).standard_normal(320)
    table = pd.DataFrame({"y": y, "x": 1.0})
    small = small_studies.make(path, table, source, subsets={"count": 0}, **settings)
    names = [row.fit for row in formats.read_plan(small.folder.plan)]

    def read(slices, columns):
        return store.read_rows(small.folder.data, slices, tuple(columns))

    likelihood = open_likelihood(small.folder, small.study.model, small.study.data.outcome)
    one = DataSet(tuple(small.tasks(*names)), ("increment",), read, 1)
    fitting = simulated_fits.Fitting(small.study.sampler, likelihood, [one], lambda line: None)
    return small, simulated_fits.fit_plans(fitting, small.study.increments)[0]


def test_a_model_without_parameters_is_not_chained_nor_audited(tmp_path):
    increments = {"start": 20, "end": "all", "stop": "never", "warm": True}
    small, fits = increments_in_memory(tmp_path, KNOWN, increments=increments)
    assert small.study.increments.cold_audit < len(fits.done) == 5
    assert not any(record.audit for record in fits.recorded.values())


@pytest.mark.parametrize(
    ("keep", "kept"), [pytest.param(None, ["mu"], marks=pytest.mark.long), (["z"], ["mu", "z"])]
)
def test_hidden_sites_are_there_where_the_study_keeps_them(tmp_path, keep, kept):
    small, fits = increments_in_memory(
        tmp_path,
        ROW_LATENTS,
        increments={"start": 20, "end": 20},
        sampler={"keep": keep},
    )
    found = fits.done["increment-01"].tree["posterior"].to_dataset()
    assert list(found.data_vars) == kept
    if keep:
        assert found["z"].std() > 0.5  # a priori 1, given an outcome .7


@pytest.mark.long
def test_findings_are_those_of_the_families_that_ran_on_disk(conjugate, repeated):
    _, outcomes = repeated
    families = {finding.family for outcome in outcomes for finding in outcome.found.findings}
    assert {"agreement", "heterogeneity", "drift", "surprise"} <= families
    assert all(not outcome.unusable for outcome in outcomes)


@pytest.mark.long
def test_a_data_set_far_from_the_prior_moves_all_fits_alike_and_raises_no_alarm(repeated):
    """Shifting every outcome changes nothing that is compared between fits, but for the prior's pull."""
    _, (plain, shifted) = repeated
    for one, other in zip(plain.found.findings, shifted.found.findings, strict=True):
        if one.family == "heterogeneity":
            assert other.p == pytest.approx(one.p, abs=0.1)
