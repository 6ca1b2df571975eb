"""The rows whose scores are asked, and the estimate at which they are."""

import dataclasses

import jax
import numpy as np
import pytest

from scalecheck.data import store
from scalecheck.examine.fitted_rows import all_rows, largest_increment
from scalecheck.model.coupling import Coupling
from scalecheck.results import study_fits


@pytest.fixture(scope="module", autouse=True)
def double():
    """As `examine` does."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def early(conjugate):
    """The conjugate study as if its increments had ended at 64 of 214 rows."""
    study = study_fits.read_study_fits(conjugate.folder, "arrival")
    return study._replace(done={n: fit for n, fit in study.done.items() if n != "increment-03"})


def rows_of(conjugate, study, evidence=None):
    evidence = evidence or conjugate.evidence()
    data = conjugate.study.data
    largest = largest_increment(evidence, study, data)
    return largest, all_rows(evidence, study, data, largest)


def test_random_subsets_add_the_rows_that_no_increment_has(conjugate, early):
    largest, every = rows_of(conjugate, early)
    assert largest.names == ["increment-02"]
    assert every.names == ["increment-02", "subset-01", "subset-02", "subset-03"]
    observations = every.values[store.OBSERVATION]
    assert len(np.unique(observations)) == len(observations)
    slices = [part for name in every.names for part in early.done[name].task.slices]
    seen = conjugate.evidence().read(slices, [store.OBSERVATION])[store.OBSERVATION]
    assert set(observations) == set(seen)
    # Those of the increment come first, in its order.
    np.testing.assert_array_equal(every.values["y"][:64], largest.values["y"])
    assert set(np.unique(every.values["group"])) == {0, 1, 2}


def test_the_estimate_is_that_of_the_fits_together(conjugate, early):
    """Of normal means, whose posteriors have a precision of n + 1."""
    _, every = rows_of(conjugate, early)
    values = [conjugate.values(name, "y")["y"] for name in every.names]
    precision = sum(len(y) + 1 for y in values)
    draws = every.fits[0].z.size
    assert every.pooled.covariance[0, 0] == pytest.approx(1 / precision, rel=8 / draws**0.5)
    expected = sum(y.sum() for y in values) / precision
    assert every.pooled.mean[0, 0] == pytest.approx(expected, abs=0.4 / precision**0.5)


def test_subsets_whose_rows_an_increment_has_add_nothing(conjugate):
    study = study_fits.read_study_fits(conjugate.folder, "arrival")
    largest, every = rows_of(conjugate, study)
    assert every is largest
    assert largest.names == ["increment-03"]


def test_rows_that_depend_on_each_other_are_those_of_one_fit(conjugate, early):
    evidence = conjugate.evidence()
    ordered = dataclasses.replace(evidence.likelihood, coupling=Coupling("forward"))
    evidence = dataclasses.replace(evidence, likelihood=ordered)
    largest, every = rows_of(conjugate, early, evidence)
    assert every is largest


def test_without_an_increment_there_are_no_rows(conjugate, early):
    nothing = early._replace(done={"subset-01": early.done["subset-01"]})
    assert rows_of(conjugate, nothing) == (None, None)
