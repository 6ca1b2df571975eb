"""Draws of our blocks against those of `numpyro.infer.MCMC`, bit for bit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from arviz_stats.base import array_stats
from numpyro.infer import MCMC, NUTS
from numpyro.infer.util import ParamInfo

from scalecheck import sampler
from scalecheck.model import density
from scalecheck.sampler.schedule import blocks

pytestmark = pytest.mark.long

N_FITS, N_CHAINS, N_ROWS = 3, 2, 30
WARMUP, DRAWS = 130, 300
SETTINGS = sampler.Settings(WARMUP, 0.8, 10, ())
METRICS = {"diagonal": (), "dense": (("a", "b", "sigma"),), "block": (("a", "b"),)}


def model(x, y=None):
    a = numpyro.sample("a", dist.Normal(0.0, 3.0))
    b = numpyro.sample("b", dist.Normal(0.0, 3.0))
    sigma = numpyro.sample("sigma", dist.HalfNormal(2.0))
    numpyro.sample("y", dist.Normal(a + b * x, sigma), obs=y)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(1)
    x = 2 + rng.standard_normal((N_FITS, N_ROWS))  # off centre: a and b are correlated
    y = 1 + np.arange(N_FITS)[:, None] * x + rng.standard_normal(x.shape)
    return {"x": x.astype("float32"), "y": y.astype("float32")}


@pytest.fixture(scope="module")
def starts():
    rng = np.random.default_rng(2)
    draw = lambda: jnp.asarray(rng.uniform(-1, 1, (N_FITS, N_CHAINS)), "float32")  # noqa: E731
    return {"a": draw(), "b": draw(), "sigma": draw()}


@pytest.fixture(scope="module")
def keys():
    return jax.random.split(jax.random.PRNGKey(7), N_FITS)


@pytest.fixture(scope="module")
def sampled(arrays, starts, keys):
    """Sample some of the fits, by arguments."""

    @functools.cache
    def of(metric="diagonal", which=None, block=50, fits_at_once=1):
        part = slice(None) if which is None else slice(which, which + 1)
        take = lambda values: {name: value[part] for name, value in values.items()}  # noqa: E731
        return sampler.sample_numpyro(
            density.potential(model),
            take(arrays),
            take(starts),
            SETTINGS._replace(dense=METRICS[metric]),
            key=keys[part],
            draws=DRAWS,
            block=block,
            fits_at_once=fits_at_once,
        )

    return of


def numpyro_mcmc(metric="diagonal"):
    dense = {"diagonal": False, "dense": True, "block": [("a", "b")]}[metric]
    return MCMC(
        NUTS(model, dense_mass=dense),
        num_warmup=WARMUP,
        num_samples=DRAWS,
        num_chains=N_CHAINS,
        chain_method="vectorized",
        progress_bar=False,
    )


FIELDS = {
    "num_steps": "n_steps",
    "accept_prob": "acceptance_rate",
    "energy": "energy",
    "potential_energy": "potential_energy",
    "diverging": "diverging",
    "adapt_state.step_size": "step_size",
}


def of_fit(fit, arrays, starts):
    """Arguments of `MCMC.run` for one fit.

    MCMC evaluates the density at the starts operation by operation, outside of any program, and the
    last bit of that depends on it; so the compiled values are given to it with the starts.
    """
    data = {name: values[fit] for name, values in arrays.items()}
    z = {name: values[fit] for name, values in starts.items()}
    energy = lambda z, data: density.potential(model)(**data)(z)  # noqa: E731
    at_start = jax.jit(jax.vmap(jax.value_and_grad(energy), (0, None)))
    return {**data, "init_params": ParamInfo(z, *at_start(z, data)), "extra_fields": tuple(FIELDS)}


def assert_same_bits(ours, mcmc, fit, part):
    """Statistics of iterations `part` of one fit are those of the last run of `mcmc`."""
    seen = mcmc.get_extra_fields(group_by_chain=True)
    for theirs, name in FIELDS.items():
        mine = getattr(ours.iterations[fit], name)[:, part]
        np.testing.assert_array_equal(mine, np.asarray(seen[theirs]), err_msg=name)


@pytest.mark.parametrize(("metric", "fit"), [("diagonal", 0), ("dense", 1), ("block", 2)])
def test_every_fit_of_a_batch_has_the_bits_of_mcmc_run(arrays, starts, keys, sampled, metric, fit):
    mcmc = numpyro_mcmc(metric)
    mcmc.run(keys[fit], **of_fit(fit, arrays, starts))
    ours = sampled(metric)
    assert_same_bits(ours, mcmc, fit, slice(WARMUP, None))
    draws = mcmc.get_samples(group_by_chain=True)
    for name in ("a", "b"):
        np.testing.assert_array_equal(ours.z[fit][name], np.asarray(draws[name]), err_msg=name)
    np.testing.assert_array_equal(jnp.exp(ours.z[fit]["sigma"]), np.asarray(draws["sigma"]))


def test_warmup_has_the_bits_of_mcmc_warmup_and_so_has_the_metric(arrays, starts, keys, sampled):
    mcmc = numpyro_mcmc()
    mcmc.warmup(keys[1], **of_fit(1, arrays, starts), collect_warmup=True)
    ours = sampled()
    assert_same_bits(ours, mcmc, 1, slice(None, WARMUP))
    (metric,) = mcmc.post_warmup_state.adapt_state.inverse_mass_matrix.values()
    np.testing.assert_array_equal(ours.windows[-1].inverse_mass_matrix[1], np.asarray(metric))


@pytest.mark.parametrize("metric", ["dense", "block"])
def test_the_diagonal_of_a_dense_metric_is_recorded_for_every_parameter(sampled, metric):
    found = sampled(metric).windows[-1].inverse_mass_matrix
    assert found.shape == (N_FITS, N_CHAINS, 3)
    draws = sampled(metric).z
    variance = [[z[name].var(axis=1) for name in ("a", "b", "sigma")] for z in draws]
    ratio = found / np.moveaxis(variance, 1, 2)
    assert ((ratio > 0.2) & (ratio < 5)).all()


def assert_same_draws(one, other, n_draws=DRAWS):
    """Two samples of one fit, as `(z, iterations)`, agree bit for bit in their first draws."""
    for name, draws in one[0].items():
        np.testing.assert_array_equal(draws[:, :n_draws], other[0][name][:, :n_draws])
    n_iterations = WARMUP + n_draws
    for mine, yours in zip(jax.tree.leaves(one[1]), jax.tree.leaves(other[1]), strict=True):
        np.testing.assert_array_equal(mine[:, :n_iterations], yours[:, :n_iterations])


def of(draws, fit):
    return draws.z[fit], draws.iterations[fit]


def test_neither_the_batch_nor_the_size_of_blocks_changes_a_bit(sampled):
    assert_same_draws(of(sampled(which=2, block=17), 0), of(sampled(), 2))


@pytest.fixture(scope="module")
def continued(arrays, starts, keys):
    """Sample a third of the draws, and the rest only of one fit; with what was told after each block."""
    told = []
    draws = sampler.sample_numpyro(
        density.potential(model),
        arrays,
        starts,
        SETTINGS,
        key=keys,
        draws=DRAWS // 3,
        most_draws=DRAWS,
        enough=lambda fit, z: fit != 1,
        block=70,
        fits_at_once=1,
        on_block=told.append,
    )
    return draws, told


def test_a_fit_that_goes_on_has_the_bits_of_a_longer_one(continued, sampled):
    ours, _ = continued
    assert [z["a"].shape for z in ours.z] == [(2, DRAWS // 3), (2, DRAWS), (2, DRAWS // 3)]
    assert [i.n_steps.shape[1] - WARMUP for i in ours.iterations] == [100, 300, 100]
    assert_same_draws(of(ours, 1), of(sampled(), 1))
    assert_same_draws(of(ours, 2), of(sampled(), 2), DRAWS // 3)


def test_progress_is_told_after_every_block(continued):
    _, told = continued
    first = blocks(WARMUP, DRAWS // 3, 70)
    for block, fits in zip(first, told, strict=False):
        assert [one.fit for one in fits] == [0, 1, 2]
        assert all((one.iterations == block.stop).all() for one in fits)
    assert [one.fit for fits in told[len(first) :] for one in fits] == [1] * (
        len(told) - len(first)
    )
    assert told[-1][0].total == WARMUP + DRAWS


def test_fits_that_advance_together_have_the_same_posterior(sampled):
    one, together = sampled(), sampled(fits_at_once=None)
    for fit in range(N_FITS):
        for name in one.z[fit]:
            draws = [sample.z[fit][name].astype(float) for sample in (one, together)]
            errors = [array_stats.mcse(each, chain_axis=0, draw_axis=1) for each in draws]
            gap = draws[0].mean() - draws[1].mean()
            assert abs(gap) < 4 * np.hypot(*errors), (name, fit)


def test_the_shapes_of_draws_are_as_documented(sampled):
    ours = sampled()
    for z, iterations in zip(ours.z, ours.iterations, strict=True):
        shapes = {name: draws.shape for name, draws in z.items()}
        assert shapes == dict.fromkeys(("a", "b", "sigma"), (N_CHAINS, DRAWS))
        assert iterations.z is None
        assert iterations.n_steps.shape == (N_CHAINS, WARMUP + DRAWS)
    assert ours.windows[-1].stop == WARMUP
    for window in ours.windows:
        assert window.step_size.shape == (N_FITS, N_CHAINS)
        assert ((window.acceptance_rate > 0) & (window.acceptance_rate <= 1)).all()


def test_acceptance_of_a_window_is_the_mean_over_its_own_iterations(sampled):
    ours = sampled()
    starts = [0, *(window.stop for window in ours.windows[:-1])]
    for start, window in zip(starts, ours.windows, strict=True):
        rates = [
            one.acceptance_rate[:, start : window.stop].mean(axis=1) for one in ours.iterations
        ]
        np.testing.assert_allclose(window.acceptance_rate, rates, rtol=1e-5)


@pytest.mark.parametrize(
    ("warmup", "draws", "size"),
    [(500, 500, 50), (1000, 10, 70), (20, 5, 3), (10, 0, 100), (0, 7, 2)],
)
def test_blocks_tile_the_run_and_end_where_windows_end(warmup, draws, size):
    from numpyro.infer.hmc_util import build_adaptation_schedule

    plan = blocks(warmup, draws, size)
    assert plan[0].start == 0
    assert plan[-1].stop == warmup + draws
    assert all(a.stop == b.start for a, b in zip(plan[:-1], plan[1:], strict=True))
    assert all(0 < part.stop - part.start <= size for part in plan)
    assert all(part.warmup == (part.stop <= warmup) for part in plan)
    assert not any(part.start < warmup < part.stop for part in plan)
    ends = [window.end + 1 for window in build_adaptation_schedule(warmup)] if warmup else []
    assert [part.stop for part in plan if part.window is not None] == ends
    assert [part.window for part in plan if part.window is not None] == list(range(len(ends)))
