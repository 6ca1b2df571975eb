"""Where chains start: near the posterior and wider than it, or where a user's function says."""

import dataclasses
import re
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
import small_studies
from jax.flatten_util import ravel_pytree

from scalecheck.errors import StudyError
from scalecheck.fitting import sample_batch
from scalecheck.fitting.starts import find_starts, pathfinder
from scalecheck.model import batches

N_ROWS = 200  # of each of two subsets

START = """
TRACED = []

def start(y, key):
    TRACED.append(y.shape)
    return {"mu": y.mean() + jax.random.normal(key)}
"""


def make(path, source=small_studies.CONJUGATE, sizes=(N_ROWS, N_ROWS), start="prior", **settings):
    rng = np.random.default_rng(1)
    n_rows = sum(sizes)
    table = pd.DataFrame({"y": 0.4 + rng.standard_normal(n_rows), "x": 1.0})
    return small_studies.make(
        path,
        table,
        "\nimport jax\n" + source,
        subsets={"count": len(sizes), "size": sizes[0]},
        sampler={"start": start},
        **settings,
    )


def find(small, n_chains, start, *names):
    """Batch of some fits, and the starts of their chains."""
    tasks = small.tasks(*names)
    (batch,) = batches.read_batches(small.folder, tasks, "y", small.study.model, "float32")
    keys = jnp.stack([sample_batch.fit_key(1, name) for name in names])
    settings = dataclasses.replace(small.study.sampler, start=start, chains=n_chains)
    return batch, find_starts.find_starts(batch, settings, keys)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return make(tmp_path_factory.mktemp("plain"), small_studies.CONJUGATE + START)


# ---- approximations


def newton(key, energy, z, wider):
    """A draw of the normal at the mode that Newton's method finds, `wider` times as wide."""
    flat, unravel = ravel_pytree(z)
    of_flat = lambda flat: energy(unravel(flat))  # noqa: E731
    for _ in range(3):
        hessian = jax.hessian(of_flat)(flat)
        flat -= jnp.linalg.solve(hessian, jax.grad(of_flat)(flat))
    noise = jax.random.normal(key, flat.shape)
    return unravel(flat + wider * jnp.linalg.solve(jnp.linalg.cholesky(hessian).T, noise))


@pytest.fixture(params=["newton", "pathfinder"])
def approximation(request, monkeypatch):
    """Pathfinder, where it is installed; and what needs no BlackJAX in its place."""
    if request.param == "newton":
        monkeypatch.setattr(pathfinder, "load_pathfinder", lambda: newton)
    else:
        pytest.importorskip("blackjax", reason="the extra pathfinder")


@pytest.mark.parametrize("names", [("subset-01", "subset-02"), ("subset-02",)])
def test_starts_have_the_mean_of_the_posterior_and_twice_its_sd(plain, approximation, names):
    """Alone, a fit is padded to more rows than it has: these must not narrow the approximation."""
    n_chains = 200
    batch, found = find(plain, n_chains, "pathfinder", *names)
    for mu, own in zip(np.asarray(found["mu"]), batch.own, strict=True):
        mean, sd = own["y"].sum() / (N_ROWS + 1), (N_ROWS + 1) ** -0.5
        low, median, high = np.quantile(mu, [0.25, 0.5, 0.75])
        # Standard errors of quantiles of normal draws; a path that fails may end far out.
        assert abs(median - mean) < 4 * 1.25 * 2 * sd / n_chains**0.5
        assert abs((high - low) / 1.349 / (2 * sd) - 1) < 4 * 1.17 / n_chains**0.5


def test_each_chain_has_an_approximation_of_its_own(tmp_path, approximation):
    """Two modes: one approximation for all chains would hide one of them from R-hat."""
    two = """
    def model(x, y=None):
        mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
        with numpyro.plate("rows", x.shape[0]):
            numpyro.sample("y", dist.Normal(jnp.abs(mu) - 2.0, 1.0), obs=y)
    """
    small = make(tmp_path, textwrap.dedent(two))
    _, found = find(small, 40, "pathfinder", "subset-01")
    share = float((found["mu"] > 0).mean())
    assert 0.5 - 4 * 0.5 / 40**0.5 < share < 0.5 + 4 * 0.5 / 40**0.5
    assert (np.abs(np.abs(found["mu"]) - 2.4) < 1).all()


@pytest.mark.long
def test_an_approximation_covers_every_site_of_a_model(everything):
    pytest.importorskip("blackjax", reason="the extra pathfinder")
    (batch,) = batches.read_batches(
        everything.folder, everything.tasks("subset-01"), "y", everything.study.model, "float32"
    )
    settings = dataclasses.replace(everything.study.sampler, start="pathfinder")
    found = find_starts.find_starts(batch, settings, sample_batch.fit_key(1, "subset-01")[None])
    by_prior = dataclasses.replace(settings, start="prior")
    expected = find_starts.find_starts(batch, by_prior, sample_batch.fit_key(1, "subset-01")[None])
    shapes = {name: values.shape for name, values in expected.items()}
    assert {name: values.shape for name, values in found.items()} == shapes
    assert {values.dtype for values in found.values()} == {jnp.dtype("float32")}


def test_pathfinder_asks_for_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(pathfinder.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(StudyError, match=r"sampler.start is pathfinder, which needs BlackJAX: ins"):
        make(tmp_path, start="pathfinder")


# ---- a user's function


def test_a_function_gives_starts_from_the_rows_of_the_fit_alone(plain):
    n_chains = 100
    for names in [("subset-01", "subset-02"), ("subset-02",)]:  # alone it is padded
        batch, found = find(plain, n_chains, "function:start", *names)
        for mu, own in zip(np.asarray(found["mu"]), batch.own, strict=True):
            assert abs(mu.mean() - own["y"].mean()) < 4 / n_chains**0.5
            assert abs(mu.std() - 1) < 4 / (2 * n_chains) ** 0.5


def test_fits_of_a_shape_share_one_program(plain):
    find(plain, 4, "function:start", "subset-01", "subset-02")
    assert sys.modules["scalecheck_user_model"].TRACED == [(N_ROWS,)]


def test_a_function_takes_counts_codes_and_matrices(tmp_path):
    source = small_studies.EVERYTHING + (
        """
def start(x, n_group, n_patient, patient, key):
    width = x.shape[1]
    return {"mu": 0.0, "rate": 1.0, "share": jnp.ones(3) / 3, "beta": jnp.zeros(width),
            "effect": jnp.zeros(n_group), "base": jnp.zeros(n_patient).at[patient].set(0.5)}
"""
    )
    rng = np.random.default_rng(4)
    table = pd.DataFrame(
        {
            "y": rng.standard_normal(90),
            "x1": 1.0,
            "x2": 2.0,
            "group": ["a", "b", "c"] * 30,
            "patient": [f"p{code}" for code in np.arange(90) // 9],
        }
    )
    small = small_studies.make(
        tmp_path,
        table,
        source,
        data={"unit": "patient"},
        model={"arguments": {"x": ["x1", "x2"]}},
        sampler={"start": "function:start"},
        subsets={"count": 1, "size": 40},
    )
    _, found = find(small, 2, "function:start", "subset-01")
    np.testing.assert_allclose(found["base"], 0.5)
    np.testing.assert_allclose(found["rate"], -np.log(2), rtol=1e-5)  # 1 of (0, 3)
    assert found["effect"].shape == (1, 2, 3)


FUNCTIONS = {
    "missing": ("def begin(key): return {'mu': 0.0}", "must be a function of this file, got start"),
    "no key": ("def start(y): return {'mu': y.mean()}", "must take the argument key, a random key"),
    "argument": (
        "def start(yy, key): return {'mu': 0.0}",
        "takes yy, which is no argument of the model, did you mean y\\?",
    ),
    "list": (
        "def start(key): return [0.0]",
        "must return a dictionary of latent sites, got list",
    ),
    "no site": (
        "def start(key): return {}",
        "must give a value of every latent site, but gives none of mu",
    ),
    "site": (
        "def start(key): return {'nu': 0.0}",
        "gives nu, which is no latent site of the model",
    ),
    "shape": (
        "def start(y, key): return {'mu': y}",
        r"must give mu in its shape \(\), got \(400,\)",
    ),
    "nothing": (
        "def start(key): return {'mu': None}",
        "must give mu as real numbers, got NoneType",
    ),
    "text": (
        "def start(key): return {'mu': 'a'}",
        "must give mu as real numbers, got str",
    ),
    "complex": (
        "def start(key): return {'mu': 1j}",
        "must give mu as real numbers, got complex numbers",
    ),
    "no name": (
        "def start(key): return {0: 1.0}",
        "gives 0, which is no latent site of the model",
    ),
    "raises": (
        "def start(key): return {'mu': 1 / 0}",
        "raises ZeroDivisionError: division by zero",
    ),
}


@pytest.mark.parametrize(("source", "words"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_a_wrong_function_is_refused_before_any_fit(tmp_path, source, words):
    with pytest.raises(StudyError) as caught:
        make(tmp_path, small_studies.CONJUGATE + source, start="function:start")
    (line,) = str(caught.value).splitlines()
    assert "model.py" in line
    assert "sampler.start" in line
    assert re.search(words, line)


def test_a_function_without_a_finite_start_is_to_blame_with_the_site(tmp_path):
    source = small_studies.CONJUGATE + "def start(key): return {'mu': jnp.nan}"
    small = make(tmp_path, source, start="function:start")
    words = (
        "subset-01: no start by sampler.start function:start has a finite log density: the site mu"
    )
    with pytest.raises(StudyError, match=words):
        find(small, 2, "function:start", "subset-01")


def test_chains_that_start_from_a_function_reach_the_posterior(plain):
    (task,) = plain.tasks("subset-01")
    (batch,) = batches.read_batches(plain.folder, [task], "y", plain.study.model, "float32")
    settings = dataclasses.replace(plain.study.sampler, start="function:start", draws=400)
    fitted = sample_batch.fit_batch(batch, settings, 1, lambda line: None)
    mu = np.asarray(fitted.draws.z[0]["mu"])
    mean, sd = batch.own[0]["y"].sum() / (N_ROWS + 1), (N_ROWS + 1) ** -0.5
    # An effective draw in four at least.
    assert abs(mu.mean() - mean) < 4 * sd / (mu.size / 4) ** 0.5
