"""`sampler.reparam`: sites sampled less centred, with everything that leaves the sampler as the model has it."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import small_studies
import xarray as xr
from arviz_stats.base import array_stats
from jax.flatten_util import ravel_pytree
from numpyro import handlers
from numpyro.distributions.transforms import AffineTransform
from numpyro.infer.reparam import LocScaleReparam, TransformReparam
from numpyro.infer.util import potential_energy
from small_studies import write_increment

from scalecheck.errors import StudyError
from scalecheck.fitting import kept_sites
from scalecheck.model import density
from scalecheck.model import reparam as reparam_module
from scalecheck.model.reparam import coordinates_of

ARRAYS = {"y": jnp.array([0.3, -0.4, 1.2])}


def nested(y=None):
    """Every kind of site that can be recentred, some of which depend on others that can."""
    mu = numpyro.sample("mu", dist.Normal(0.5, 2.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    scale = numpyro.sample("scale", dist.HalfCauchy(tau))
    width = numpyro.sample("width", dist.LogNormal(mu, tau))
    with numpyro.plate("groups", 3):
        inner = numpyro.sample("inner", dist.Normal(mu, tau))
        outer = numpyro.sample("outer", dist.StudentT(3.0, inner, width))
    beta = numpyro.sample("beta", dist.Normal(mu, scale).expand([2]).to_event(1))
    moved = dist.TransformedDistribution(
        dist.StudentT(4.0, 0.5, jnp.ones(2)), AffineTransform(mu, -width)
    )
    gamma = numpyro.sample("gamma", moved.to_event(1))
    with numpyro.plate("rows", 3):
        numpyro.sample("y", dist.Normal(outer + beta.sum() + gamma[0], scale), obs=y)


RECENTRED = ("mu", "scale", "width", "inner", "outer", "beta", "gamma")


@pytest.fixture(scope="module")
def z():
    shapes = density.unconstrained(nested, ARRAYS)
    key = jax.random.key(1)
    return {
        name: jax.random.normal(jax.random.fold_in(key, i), one.shape)
        for i, (name, one) in enumerate(shapes.items())
    }


@pytest.mark.parametrize("c", [0.0, 0.3, 0.9])
def test_the_density_is_that_of_the_model_in_other_coordinates(z, c):
    """What is added to the energy is the logarithm of the Jacobian, here computed as a matrix."""
    moved = coordinates_of(nested, dict.fromkeys(RECENTRED, c))

    @jax.jit
    def there_and_back(z):
        w = moved.from_model(z, ARRAYS)
        flat, unravel = ravel_pytree(w)
        jacobian = jax.jacobian(lambda x: ravel_pytree(moved.to_model(unravel(x), ARRAYS))[0])(flat)
        expected = density.potential(nested)(**ARRAYS)(z) - jnp.linalg.slogdet(jacobian)[1]
        return moved.to_model(w, ARRAYS), moved.potential(**ARRAYS)(w), expected

    back, found, expected = there_and_back(z)
    for name, values in back.items():
        np.testing.assert_allclose(values, z[name], rtol=1e-5, atol=1e-5)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_a_normal_site_is_recentred_as_numpyro_does_it(z):
    moved = coordinates_of(nested, {"inner": 0.3})
    theirs = handlers.reparam(nested, config={"inner": LocScaleReparam(centered=0.3)})

    @jax.jit
    def both(z):
        w = moved.from_model(z, ARRAYS)
        renamed = {"inner_decentered" if name == "inner" else name: x for name, x in w.items()}
        return moved.potential(**ARRAYS)(w), potential_energy(theirs, (), ARRAYS, renamed)

    found, expected = both(z)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def test_an_affine_transform_is_taken_out_as_numpyro_does_it(z):
    moved = coordinates_of(nested, {"gamma": 0.0})
    theirs = handlers.reparam(nested, config={"gamma": TransformReparam()})

    @jax.jit
    def both(z):
        w = moved.from_model(z, ARRAYS)
        # NumPyro leaves the base as it is, a StudentT about 0.5 here, and the sign of the factor: ours begin at 0,
        # upright.
        renamed = {"gamma_base" if name == "gamma" else name: x for name, x in w.items()}
        renamed["gamma_base"] = 0.5 - w["gamma"]
        return moved.potential(**ARRAYS)(w), potential_energy(theirs, (), ARRAYS, renamed)

    found, expected = both(z)
    assert float(found) == pytest.approx(float(expected), rel=1e-6)


def by_hand(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("groups", 3):
        theta = mu + tau * numpyro.sample("theta", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def centred(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("groups", 3):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


def test_a_centredness_of_0_is_the_model_written_not_centred_by_hand():
    w = {"mu": jnp.array(0.4), "tau": jnp.array(-1.3), "theta": jnp.array([0.3, -2.0, 0.7])}
    pair = coordinates_of(centred, {"theta": 0.0}).potential, density.potential(by_hand)
    (one, slope), (other, other_slope) = (
        jax.jit(jax.value_and_grad(each(**ARRAYS)))(w) for each in pair
    )
    assert float(one) == pytest.approx(float(other), rel=1e-6)
    for name, values in slope.items():
        np.testing.assert_allclose(values, other_slope[name], rtol=1e-5)


def test_a_centredness_of_1_leaves_the_coordinates_alone():
    assert coordinates_of(nested, {"inner": 1.0}) == coordinates_of(nested, {})


# ---- fits

CLINICS = """
def model(x, clinic, n_clinic, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("clinics", n_clinic):
        shift = numpyro.sample("shift", dist.Normal(mu, tau))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(shift[clinic], 2.0), obs=y)
"""


def make(path, **sampler):
    """Two increments of clinics of few rows, which a centred model samples badly."""
    rng = np.random.default_rng(5)
    clinic = np.repeat(np.arange(24), 5)
    y = 0.3 + 0.7 * rng.standard_normal(24)[clinic] + 2 * rng.standard_normal(120)
    table = pd.DataFrame({"y": y, "x": 1.0, "clinic": [f"c{code:02d}" for code in clinic]})
    return small_studies.make(
        path,
        table,
        CLINICS,
        data={"unit": "clinic"},
        subsets={"count": 0},
        increments={"start": 60, "end": 120, "stop": "never", "cold_audit": 1},
        sampler={"chains": 4, "warmup": 300, "draws": 400, **sampler},
    )


@pytest.fixture(scope="module")
def less_centred(tmp_path_factory):
    """The first increment, not centred."""
    small = make(tmp_path_factory.mktemp("reparam"), reparam={"shift": 0})
    write_increment(small.assigned(), "increment-01")
    return small


def mcse(values, method="mean"):
    return float(array_stats.mcse(values, method=method, chain_axis=0, draw_axis=1))


def posterior_of(small, name):
    return xr.open_datatree(small.folder.posterior(name))["posterior"].to_dataset()


def assert_same(one, other):
    """Means and sds of every scalar agree to four Monte Carlo errors (of 14 scalars, twice)."""
    for name in ("mu", "tau", "shift"):
        a, b = (
            np.asarray(each[name], "float64").reshape(*each[name].shape[:2], -1)
            for each in (one, other)
        )
        for i in range(a.shape[-1]):
            for method, get in (("mean", np.mean), ("sd", np.std)):
                error = np.hypot(mcse(a[..., i], method), mcse(b[..., i], method))
                assert abs(get(a[..., i]) - get(b[..., i])) < 4 * error, (name, i, method)


@pytest.mark.long
@pytest.mark.parametrize(
    "sampler",
    [
        {"engine": "lanes"},
        {"engine": "lanes", "reparam": {"shift": 0}, "metric": [["mu", "tau"]]},
        {"engine": "numpyro", "reparam": {"shift": 0.5}},
    ],
)
def test_the_posterior_is_the_same_however_it_was_sampled(less_centred, tmp_path, sampler):
    other = make(tmp_path, **sampler)
    write_increment(other.assigned(), "increment-01")
    assert_same(*(posterior_of(small, "increment-01") for small in (less_centred, other)))


@pytest.mark.long
def test_a_warm_increment_ends_where_a_cold_one_does(less_centred):
    """The second increment starts warm, and is sampled cold as well."""
    write_increment(less_centred.assigned(), "increment-02")
    record = less_centred.read("increment-02").record
    assert (record.warmup, record.usable) == (30, True)
    assert record.audit.p > 1e-3


def test_what_is_stored_is_the_site_of_the_model_and_what_is_left_that_of_the_sampler(less_centred):
    stored = posterior_of(less_centred, "increment-01")
    assert set(stored.data_vars) == {"mu", "tau", "shift"}
    left = np.load(less_centred.folder.left("increment-01"))
    last = {name: stored[name].to_numpy()[:, -1] for name in stored.data_vars}
    w = (last["shift"] - last["mu"][:, None]) / last["tau"][:, None]
    np.testing.assert_allclose(left["last:shift"], w, rtol=1e-3, atol=1e-4)


def test_a_kept_site_holds_what_its_value_depends_on(less_centred):
    ((batch,), sampler) = _batch(less_centred), less_centred.study.sampler
    for reparam, held in (({}, ("mu", "tau")), ({"mu": 0.0}, ("mu", "tau"))):
        streams = kept_sites.streams_of(batch, coordinates_of(batch.function, reparam), ("mu",))
        assert tuple(streams.held) == held
    sampler = dataclasses.replace(sampler, keep=("mu",))
    moved = coordinates_of(batch.function, sampler.reparam)
    assert kept_sites.streams_of(batch, moved, ("shift",)) is None


def _batch(small):
    from scalecheck.model import batches

    return batches.read_batches(
        small.folder, small.tasks("increment-01"), "y", small.study.model, "float32"
    )


# ---- bad input


@pytest.mark.parametrize(
    ("reparam", "words"),
    [
        ({"shifted": 0}, "which is no latent site of"),
        ({"tau2": 0}, "did you mean tau?"),
        ({"y": 0}, "which is observed: only latent sites"),
    ],
)
def test_a_site_that_cannot_be_recentred_is_refused_in_one_line(tmp_path, reparam, words):
    with pytest.raises(StudyError, match=re.escape(words)) as caught:
        make(tmp_path, reparam=reparam)
    assert str(caught.value).startswith("sampler.reparam names ")
    assert "\n" not in str(caught.value)


def test_a_distribution_without_location_and_scale_is_named():
    def model(y=None):
        numpyro.sample("rate", dist.Gamma(2.0, 1.0))
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)

    words = "sampler.reparam names rate of model.py, which is a Gamma"
    with pytest.raises(StudyError, match=words):
        reparam_module.check_reparam("model.py", model, ARRAYS, {"rate": 0.0})


def test_centredness_outside_of_0_to_1_is_refused(tmp_path):
    with pytest.raises(StudyError, match=r"sampler\.reparam\.shift must be at most 1, got 1\.5"):
        make(tmp_path, reparam={"shift": 1.5})
