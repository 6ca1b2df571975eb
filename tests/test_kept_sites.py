"""Sites that are not kept: held only where needed, stored as moments, with labels and without padding."""

import dataclasses
import functools

import numpy as np
import pytest
import xarray as xr
from small_studies import make, write_increment
from test_fit import ROW_LATENTS, table

from scalecheck.diagnostics import array_stats
from scalecheck.files import formats, posterior_file
from scalecheck.fitting import fit_record, kept_sites, sample_batch, site_moments
from scalecheck.fitting.starts.warm_start import warm_start_of
from scalecheck.model.reparam import coordinates_of
from scalecheck.sampler.snapshot import to_arrays

COMPARED = ("beta", "effect", "mu", "rate", "share")


@pytest.mark.parametrize(
    ("keep", "held"),
    [
        (None, None),
        (("effect", "base", "scale"), None),
        (("effect", "scale"), ("beta", "effect", "mu", "rate", "share")),
        (("scale",), COMPARED),
        (("mean",), ("base", "beta", "effect", "mu", "rate", "share")),
    ],
)
def test_what_kept_sites_are_computed_from_is_held(rich, keep, held):
    batch = rich.fitted.batch
    streams = kept_sites.streams_of(batch, coordinates_of(batch.function, {}), keep)
    assert (streams and tuple(streams.held)) == held


@pytest.fixture(scope="module")
def fitted(rich):
    """The batch of `rich` once more, with the same draws, of which fewer are kept."""
    settings = dataclasses.replace(rich.small.study.sampler, keep=("effect",))
    return sample_batch.fit_batch(
        rich.fitted.batch, settings, rich.small.study.seed, lambda line: None
    )


@pytest.fixture(scope="module")
def pairs(rich, fitted):
    """Of each fit: the posterior with all sites, and the groups where some are reduced."""
    every = ("effect", "base", "scale")
    return [
        (
            fit_record.datasets(rich.fitted, number, every)["posterior"],
            posterior_file.as_tree(fit_record.datasets(fitted, number, ("effect",))),
        )
        for number in range(len(fitted.batch.tasks))
    ]


def test_kept_sites_are_stored_with_the_same_bits(pairs):
    for whole, tree in pairs:
        assert set(tree["posterior"].data_vars) == {*COMPARED, "effect"}
        for name, values in tree["posterior"].data_vars.items():
            np.testing.assert_array_equal(values, whole.variables[name][1])


def statistic_of(variable, statistic):
    return variable.sel(statistic=statistic).to_numpy()


def test_of_other_sites_the_file_has_moments_on_the_scale_of_the_model(pairs):
    for whole, tree in pairs:
        found = tree["posterior_moments"].to_dataset()
        assert set(found.data_vars) == {"base", "scale"}  # a site of rows is in neither
        assert found["base"].dims == ("statistic", "patient")
        assert found["patient"].to_numpy().tolist() == list(whole.coords["patient"])
        for name in found.data_vars:
            draws = whole.variables[name][1].astype("float64")
            get = functools.partial(statistic_of, found[name])
            np.testing.assert_allclose(get("mean"), draws.mean(axis=(0, 1)), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(get("sd"), draws.std(axis=(0, 1)), rtol=0.02)
            for name_of, p in (("low", 0.055), ("median", 0.5), ("high", 0.945)):
                share = (draws <= get(name_of)).mean(axis=(0, 1))
                assert np.abs(share - p).max() < 0.1  # 50 draws of a chain
            rhat = array_stats.rhat(
                np.moveaxis(draws.reshape(*draws.shape[:2], -1), -1, 0),
                method="identity",
                chain_axis=1,
                draw_axis=2,
            )
            np.testing.assert_allclose(np.ravel(get("rhat")), rhat, rtol=1e-3)


def test_the_record_says_how_well_chains_agree_in_them(rich, fitted, pairs):
    for number, (_, tree) in enumerate(pairs):
        record = fit_record.record(fitted, number, rich.small.study.sampler, {}, {}, (0.0, 0.0))
        rhat = tree["posterior_moments"].to_dataset().sel(statistic="rhat")
        assert record.moments["rhat"] == pytest.approx(
            {name: float(rhat[name].max()) for name in ("base", "scale")}
        )
        every = np.concatenate([np.ravel(rhat[name]) for name in ("base", "scale")])
        assert record.moments["scalars"] == len(every)
        assert record.moments["above"] == (every > 1.01).sum()
    assert (
        fit_record.record(rich.fitted, 0, rich.small.study.sampler, {}, {}, (0.0, 0.0)).moments
        is None
    )


def test_a_chain_that_has_not_met_the_others_is_seen_in_a_site_that_is_not_kept(fitted):
    found = fitted.draws.reduced[0]
    mean = found.mean["base"].copy()
    mean[1] += 5
    apart = found._replace(mean={**found.mean, "base": mean})
    draws = fitted.draws._replace(reduced=[apart, *fitted.draws.reduced[1:]])
    warmup = draws.windows[-1].stop
    seen = site_moments.convergence(fitted._replace(draws=draws), 0, warmup)
    assert seen["rhat"]["base"] > 2
    assert seen["rhat"]["scale"] < 1.5


def test_a_warm_start_gets_what_it_would_get_of_draws(rich, fitted):
    whole, part = (warm_start_of(80, one.draws) for one in (rich.fitted, fitted))
    found, expected = to_arrays(part), to_arrays(whole)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-4)


def of_rows(path, **sampler):
    """A study of one increment, whose latent sites of rows are reduced by default."""
    return make(
        path,
        table(),
        ROW_LATENTS,
        subsets={"count": 0},
        increments={"start": 50, "end": 50},
        sampler=sampler,
    )


@pytest.mark.long
@pytest.mark.parametrize("engine", ["numpyro", "lanes"])
def test_latent_sites_of_rows_are_reduced_by_default(tmp_path, engine):
    small = of_rows(tmp_path, engine=engine)
    (result,) = small.fit("increment-01")
    found = xr.open_datatree(small.folder.posterior("increment-01"))
    assert list(found["posterior"].data_vars) == ["mu"]
    z = found["posterior_moments"]["z"]
    assert z.dims == ("statistic", "row")
    rows = small.values("increment-01", "y")
    # Given mu, z has the mean (y - mu) / 2.
    expected = (rows["y"] - result.z.mean()) / 2
    assert np.corrcoef(z.sel(statistic="mean"), expected)[0, 1] > 0.99
    assert formats.read_json(small.folder.record("increment-01"))["moments"]["scalars"] == 50


@pytest.mark.parametrize("engine", [pytest.param("numpyro", marks=pytest.mark.long), "lanes"])
@pytest.mark.parametrize("most", [20, pytest.param(2000, marks=pytest.mark.long)])
def test_a_fit_that_is_ended_without_draws_has_no_moments(tmp_path, engine, most):
    """Capped before its first warmup window, and after it."""
    small = of_rows(tmp_path, engine=engine, max_gradients=most)
    lines = []
    write_increment(small.assigned(lines.append), "increment-01")
    record = formats.read_json(small.folder.record("increment-01"))
    assert record["status"] == "stopped"
    assert record["moments"] is None
    assert not small.folder.posterior("increment-01").exists()
    assert any("reached sampler.max_gradients" in line for line in lines)
