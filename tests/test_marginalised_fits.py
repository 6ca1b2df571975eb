"""Fits whose units are integrated out: against exact posteriors, killed, not believed, and refused."""

import dataclasses
import functools

import jax
import numpy as np
import pandas as pd
import pytest
import small_studies
from arviz_stats.base import array_stats
from random_effects import FAMILIES, GRID
from scipy.special import softmax

from scalecheck import diagnostics
from scalecheck.errors import StudyError
from scalecheck.fitting import fit_job, fit_record, run_fits, sample_batch
from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.laplace import integral_audit
from scalecheck.laplace.integral_audit import IntegralAudit
from scalecheck.laplace.marginal_density import Integrated, MarginalDensity
from scalecheck.laplace.population import PopulationMode
from scalecheck.model.rows import local_codes
from scalecheck.results import study_fits

LOGISTIC = FAMILIES["logistic"]
MODEL = """
def model(clinic, n_clinic, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    tau = numpyro.sample("tau", dist.HalfNormal(1.5))
    with numpyro.plate("clinics", n_clinic):
        own = numpyro.sample("own", dist.Normal(mu, tau))
    with numpyro.plate("rows", clinic.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=own[clinic]), obs=y)
"""
SUBSETS = ("subset-01", "subset-02")


def table(sizes=(2, 4, 6), tau=1.0):
    values, _ = LOGISTIC.simulate(np.random.default_rng(4), np.resize(sizes, 60), 0.3, tau)
    return pd.DataFrame(
        {"y": values["y"].astype(int), "clinic": [f"c{code:02d}" for code in values["unit"]]}
    )


def make(path, model=MODEL, rows=None, **sampler):
    settings = {"chains": 4, "warmup": 100, "draws": 150, "marginalise": "units"}
    return small_studies.make(
        path,
        table() if rows is None else rows,
        model,
        data={"unit": "clinic"},
        subsets={"count": 2, "size": 90},
        sampler=settings | sampler,
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two subsets of some 22 clinics, whose own intercepts are not kept."""
    return make(tmp_path_factory.mktemp("marginalised"), keep=["mu", "tau"])


@pytest.fixture(scope="module")
def lines():
    return []


@pytest.fixture(scope="module")
def batch(small):
    (both,) = fit_job.read_batch(small.job(), small.tasks(*SUBSETS))
    return both


@pytest.fixture(scope="module")
def fits(small, batch, lines):
    """The fits as their program makes them, of one function with those that tests make: programs are shared."""
    with jax.enable_x64(False), pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_fits, "read_batch", lambda job, tasks: [batch])
        small_studies.fit_program.write_fits(small.assigned(lines.append), SUBSETS)
    return {name: small.read(name) for name in SUBSETS}


def rows_of(small, name):
    """Rows of a fit, units numbered as there."""
    values = small.values(name, "y", "clinic")
    return {"y": values["y"], "unit": local_codes(values["clinic"])[0]}


@pytest.mark.parametrize("name", SUBSETS)
def test_what_units_share_has_the_exact_posterior(small, fits, name):
    z = fits[name].z.astype("float64")
    sd = z.std(axis=(0, 1))
    mean, exact_sd = LOGISTIC.posterior(rows_of(small, name), z.mean(axis=(0, 1)), np.diag(sd))
    for i in range(2):
        own = z[..., i]
        mcse = functools.partial(array_stats.mcse, own, chain_axis=0, draw_axis=1)
        assert abs(own.mean() - mean[i]) < 4 * mcse(method="mean")
        assert abs(own.std() - exact_sd[i]) < 4 * mcse(method="sd")


def quadrature(mu, tau, values):
    """Mean and sd `(unit,)` of the units' own intercepts given what they share."""
    points = mu + tau * GRID
    weight = softmax(LOGISTIC.log_joint(np.array([mu, np.log(tau)]), values), axis=1)
    mean = weight @ points
    return mean, np.sqrt((weight * (points - mean[:, None]) ** 2).sum(axis=1))


def quadrature_of(z, values):
    return np.array([quadrature(mu, np.exp(log_tau), values) for mu, log_tau in z])


def test_each_draw_of_a_unit_is_one_given_what_units_share(small, batch, again):
    """Standardised by their exact moments given the draw of the population, draws have mean 0 and variance 1."""
    for i, name in enumerate(SUBSETS):
        z = np.asarray(batch.vector.pack(again.draws.z[i], 2)).reshape(-1, 2)
        values = rows_of(small, name)
        n_units = values["unit"].max() + 1
        own = again.draws.z[i]["own"].reshape(len(z), -1)[:, :n_units]
        each = slice(None, None, 5)
        mean, sd = quadrature_of(z[each].astype("float64"), values).swapaxes(0, 1)
        off = (own[each] - mean) / sd
        # Of all units together, and of each; draws are independent given the population.
        assert abs(off.mean()) < 4 / np.sqrt(off.size)
        assert abs((off**2).mean() - 1) < 4 * np.sqrt(2 / off.size)
        assert np.abs(off.mean(axis=0)).max() < 4.5 / np.sqrt(len(off))


@pytest.mark.parametrize("name", SUBSETS)
def test_units_that_are_not_kept_have_exact_moments(small, fits, name):
    z = fits[name].z.reshape(-1, 2).astype("float64")
    means, sds = quadrature_of(z[::4], rows_of(small, name)).swapaxes(0, 1)
    mean = means.mean(axis=0)
    sd = np.sqrt((sds**2).mean(axis=0) + means.var(axis=0))
    stored = fits[name].tree["posterior_moments"]["own"]
    own = {key: stored.sel(statistic=key).to_numpy() for key in ("mean", "sd", "rhat")}
    assert "own" not in fits[name].tree["posterior"]
    assert len(mean) == len(own["mean"])
    # What the population adds is the same on both sides, but for three quarters of its draws.
    assert np.abs((own["mean"] - mean) / sd).max() < 4.5 / np.sqrt(len(z) / 4)
    assert np.abs(np.log(own["sd"] / sd)).max() < 4.5 / np.sqrt(len(z) / 4)
    assert own["rhat"].max() < 1.02


def test_the_record_says_how_well_integrals_are_known(small, fits, lines):
    for name in SUBSETS:
        record = small.read_record(name)
        assert record.usable
        assert record.integrals.reason == ""
        # Over sets of random numbers the gradient at the mode has an sd of .03, in posterior sds. Two sets differ here.
        assert 0 < record.integrals.shift < 3 * np.sqrt(2) * 0.03
        assert 0 < record.integrals.log_sd < 0.05
        assert 0.99 < record.integrals.effective <= 1
        assert 8 < record.integrals.fewest <= 64
        assert (record.integrals.lost, record.integrals.missed) == (0, 0)
        # Of what is left when units are integrated out.
        assert np.array(record.windows[-1].inverse_mass_matrix).shape == (4, 2)
        assert record.seconds_per_gradient > 0
        assert record.gradients.total > 4 * 250
        (line,) = [line for line in lines if line.startswith(f"{name}: units integrated out")]
        assert line.endswith("of the draws effective)")


@pytest.fixture(scope="module")
def kept():
    """Lines of a fit that was killed and went on."""
    return []


@pytest.fixture(scope="module")
def again(small, batch, kept, tmp_path_factory):
    """The same fits with all sites kept: killed after three blocks, and gone on with."""
    job, path = small.job(), tmp_path_factory.mktemp("killed") / "kept"
    settings = dataclasses.replace(job.study.sampler, keep=None)

    def fit(on_block, every):
        keeper = Checkpointer(path, "fits", every, kept.append)
        return sample_batch.fit_batch(
            batch, settings, job.study.seed, kept.append, on_block, keeper
        )

    left = iter(range(3))
    with jax.enable_x64(False):
        with pytest.raises(StopIteration):
            fit(lambda told: next(left), every=0.0)
        return fit(lambda told: None, every=1e9)


def test_a_killed_fit_ends_with_the_same_bits(batch, fits, again, kept):
    assert [line for line in kept if line.endswith("goes on from its checkpoint")]
    # The modes are read, not found again.
    assert len([line for line in kept if "mode of the first of 1 blocks" in line]) == 2
    for i, name in enumerate(SUBSETS):
        z = np.asarray(batch.vector.pack(again.draws.z[i], 2))
        np.testing.assert_array_equal(z, fits[name].z)
        moments = fits[name].tree["posterior_moments"]["own"].sel(statistic="mean")
        own = again.draws.z[i]["own"].mean(axis=(0, 1))[: len(moments)]
        np.testing.assert_allclose(own, moments, rtol=1e-4, atol=1e-5)


def test_units_without_rows_are_drawn_from_their_prior(small, again):
    """The smaller subset has latent values of as many units as the larger one."""
    counts = [len(np.unique(rows_of(small, name)["unit"])) for name in SUBSETS]
    few = int(np.argmin(counts))
    assert counts[few] < max(counts)
    draws = again.draws.z[few]
    z = (draws["own"][..., counts[few]] - draws["mu"]) / np.exp(draws["tau"])
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(np.log(z.std())) < 4 / np.sqrt(2 * z.size)


def test_a_fit_that_is_ended_in_warmup_has_no_draws(small, batch):
    job = small.job()
    settings = dataclasses.replace(job.study.sampler, max_gradients=200)
    fitted = sample_batch.fit_batch(batch, settings, job.study.seed, job.log)
    assert [one.fit for one in fitted.draws.stopped] == [0, 1]
    assert fitted.draws.audits == [None, None]
    assert fitted.draws.z[0]["tau"].shape == (4, 0)
    assert np.isnan(fitted.seconds_per_gradient).all()
    record = fit_record.record(fitted, 0, settings, {}, {}, (0.0, 0.0))
    assert (record.status, record.integrals, record.usable) == ("stopped", None, False)


GOOD = IntegralAudit(0.1, 0.05, 0.99, 40.0, 0, 0, is_lost=False, is_missed=False)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({}, ""),
        ({"shift": 0.4}, "a mean moves by 0.40 posterior sds"),
        ({"log_sd": 0.4}, "an sd by a factor of 1.49"),
        ({"effective": 0.2}, "and 20% of the draws are effective"),
        ({"shift": float("nan")}, "a mean moves by nan posterior sds"),
        ({"lost": 3, "is_lost": True}, "without a mode around which to integrate: 3"),
        (
            {"missed": 1200, "is_missed": True},
            "another mode that their integrals leave out: 1,200",
        ),
    ],
)
def test_a_fit_whose_integrals_are_not_known_cannot_be_used(small, again, fits, changed, reason):
    audit = GOOD._replace(**changed)
    assert reason in audit.reason
    assert bool(audit.reason) == bool(reason)
    draws = again.draws._replace(audits=[audit, audit])
    record = fit_record.record(
        again._replace(draws=draws), 0, small.study.sampler, {}, {}, (0.0, 0.0)
    )
    assert record.usable == (not reason)
    assert record.integrals.reason == audit.reason
    fit = fits["subset-01"]
    health = study_fits.health_of(
        dataclasses.replace(fit.record, integrals=record.integrals), fit.tree
    )
    assert health.usable == (not reason)
    if reason:
        assert health.cause == "integrals"
        assert health.reason == f"{audit.reason}: leave sampler.marginalise out"


def test_integrals_that_are_no_number_are_not_known(monkeypatch, batch):
    monkeypatch.setattr(
        integral_audit,
        "_integrate",
        lambda marginal, mode, thetas, again: Integrated(
            thetas[:, 0], np.full(len(thetas), np.nan), np.ones(1), np.zeros(1)
        ),
    )
    thetas = np.random.default_rng(0).standard_normal((400, 2))
    mode = PopulationMode(np.zeros(2), np.eye(2), 0.0, 0.0, np.full(2, np.inf))
    audit = integral_audit.audit_integrals(MarginalDensity(batch), mode, thetas)
    assert "0% of the draws are effective" in audit.reason


COUPLED = MODEL.replace("logits=own[clinic]", "logits=own[clinic] - own.mean()")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            small_studies.CONJUGATE.replace("(x,", "(clinic,").replace("x.", "clinic."),
            "the model has no latent sites of units",
        ),
        (COUPLED, "its density is no sum over the levels of clinic"),
    ],
)
def test_a_model_whose_units_cannot_be_integrated_out_is_refused(tmp_path, model, reason):
    small = make(tmp_path, model)
    (batch,) = fit_job.read_batch(small.job(), small.tasks("subset-01"))
    with pytest.raises(StudyError) as error:
        sample_batch.forecast_memory(batch, small.study.sampler)
    assert str(error.value) == (
        f"{small.study.model.file}: sampler.marginalise is units, but {reason}: leave the key out"
    )


@pytest.mark.long
def test_a_narrow_population_that_is_written_centred_converges(tmp_path):
    """Sampled together, chains diverge in the funnel and do not meet; with units integrated out there is none."""
    small = make(tmp_path, rows=table(sizes=[3], tau=0.15), warmup=500, draws=500)
    (batch,) = fit_job.read_batch(small.job(), small.tasks(*SUBSETS))
    usable, diverging = {}, {}
    for way in (None, "units"):
        settings = dataclasses.replace(small.study.sampler, marginalise=way)
        fitted = sample_batch.fit_batch(batch, settings, 1, lambda line: None)
        z = [fit_record.packed(fitted, number) for number in range(2)]
        usable[way] = [diagnostics.usable(one) for one in z]
        diverging[way] = [int(one.diverging[:, 500:].sum()) for one in fitted.draws.iterations]
    assert usable == {None: [False, False], "units": [True, True]}
    assert min(diverging[None]) > 10
    assert diverging["units"] == [0, 0]
