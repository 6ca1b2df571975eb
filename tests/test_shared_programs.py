"""Fits of a study share what is compiled for them."""

import dataclasses

import jax
import numpy as np
import pandas as pd
import pytest
import small_studies

from scalecheck.fitting import compilations, sample_batch
from scalecheck.model.batches import read_batches
from scalecheck.model.rows import SHARED_SIZES, shared_size

# Keys, candidates, evaluation, placing, blocks, and the draws on the model's scale.
OF_A_STUDY, OF_A_SIZE = 3, 4


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    rng = np.random.default_rng(2)
    table = pd.DataFrame({"x": rng.standard_normal(2000), "y": rng.standard_normal(2000)})
    return small_studies.make(
        tmp_path_factory.mktemp("shared"),
        table,
        small_studies.CONJUGATE.replace("Normal(mu,", "Normal(mu * x,"),
        subsets={"count": 3, "size": 150},
        increments={"start": 100, "end": 800},
        sampler={"chains": 2, "warmup": 60, "draws": 40},
    )


def batches_of(small, *names):
    study = small.study
    return read_batches(
        small.folder, small.tasks(*names), "y", study.model, study.sampler.precision
    )


def fit(small, *names, seed=1, **settings):
    sampler = dataclasses.replace(small.study.sampler, **settings)
    return [
        sample_batch.fit_batch(batch, sampler, seed, lambda line: None)
        for batch in batches_of(small, *names)
    ]


@pytest.fixture(scope="module")
def fitted(small):
    return fit(small, "subset-01", "subset-02", "subset-03")


@pytest.mark.parametrize("n_rows", [1, 256, 257, 5000, 16384, 16385, 10**6])
def test_the_size_of_a_fit_follows_from_its_rows_alone_and_holds_them(n_rows):
    size = shared_size(n_rows)
    assert size >= n_rows
    assert size in SHARED_SIZES or size == n_rows > SHARED_SIZES[-1]
    assert shared_size(size) == size


def test_fits_of_one_size_compile_once(small, fitted):
    (one,) = fitted
    assert 1 <= one.compiled.programs <= OF_A_STUDY + OF_A_SIZE
    before = compilations.so_far()
    fit(small, "increment-01", "increment-02")
    assert compilations.so_far().since(before).programs == 0


def test_another_seed_and_another_warmup_compile_nothing(small, fitted):
    before = compilations.so_far()
    fit(small, "subset-01", seed=2)
    fit(small, "subset-01", warmup=20, target_accept=0.9)
    assert compilations.so_far().since(before).programs == 0


def test_fits_of_another_size_compile_only_what_depends_on_rows(small, fitted):
    before = compilations.so_far()
    fit(small, "increment-03", "increment-04")
    assert 1 <= compilations.so_far().since(before).programs <= OF_A_SIZE


def test_a_fit_has_the_same_bits_whichever_others_are_fitted_with_it(small, fitted):
    (together,) = fitted
    (alone,) = fit(small, "subset-02")
    for one, other in (
        (alone.draws.z[0], together.draws.z[1]),
        (alone.draws.iterations[0], together.draws.iterations[1]),
    ):
        jax.tree.map(np.testing.assert_array_equal, one, other)
