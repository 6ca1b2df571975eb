"""Predictions of models whose posterior and predictive distributions are known exactly."""

import dataclasses

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray as xr
from recorded import recorded
from scipy import stats

from scalecheck.checks import replicate_statistics, surprise
from scalecheck.checks.moments import Prior
from scalecheck.checks.statistic_design import Design
from scalecheck.diagnostics import Health
from scalecheck.evaluation import predictive
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.replicates import ParameterDraws, draw_replicates, random_keys
from scalecheck.evaluation.row_blocks import ROWS_AT_ONCE, blocks_of
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine import run_surprise
from scalecheck.model.binding import Argument, Model
from scalecheck.results.study_fits import FitResult
from scalecheck.study.plan import PlannedFit, Slice
from scalecheck.study.settings import DataSettings

N = 60
NOTHING = DataSettings("data.csv", "y", None, None, None, (), (), "error")


def mean_of_normals(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)


def logistic(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 2).expand([2]).to_event(1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(logits=b[0] + b[1] * x), obs=y)


def fair(x, y=None):
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(1 / 3), obs=y)


def clinics(x, clinic, n_clinic, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("clinics", n_clinic):
        u = numpyro.sample("u", dist.Normal(0, 2))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu + u[clinic], 1), obs=y)


LABELS = {"x": None, "y": None, "clinic": [f"c{code}" for code in range(30)]}


def likelihood_of(function, unit=None):
    names = ("x", "clinic", "y") if function is clinics else ("x", "y")
    counts = {"n_clinic": "clinic"} if function is clinics else {}
    arguments = {name: Argument((name,), matrix=False) for name in names}
    bound = Model(function, "model.py", "y", arguments, counts, n_rows=False)
    few = {name: np.zeros(2, int) if LABELS[name] else np.zeros(2) for name in names}
    return Likelihood(bound, LABELS, unit, None, few)


@pytest.fixture(scope="module", autouse=True)
def double():
    """As `examine` asks."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def normal():
    return likelihood_of(mean_of_normals)


def plain(n=N):
    return Design((), (), True, np.ones(n, bool), np.ones(n, bool))


def posterior_of_mean(y, rng, n_draws=2000):
    return ParameterDraws(
        rng.normal(y.sum() / (len(y) + 1), (len(y) + 1) ** -0.5, (n_draws, 1)), {}
    )


def simulated(likelihood, rows, draws, n, seed=1):
    keys = random_keys(np.random.default_rng(seed), n)
    return draw_replicates(likelihood, blocks_of(likelihood, rows), draws, keys)


def test_replicates_have_the_predictive_distribution(normal):
    """A draw of the posterior and then a row: normal, with variance 1 + 1 / (n + 1), rows correlated by the draw."""
    rng = np.random.default_rng(1)
    y = rng.standard_normal(20)
    rows = normal.rows({"x": np.ones(40), "y": np.zeros(40)})
    found = simulated(normal, rows, posterior_of_mean(y, rng, 1000), 1000)
    mean, variance = y.sum() / 21, 1 / 21
    predictive_cdf = stats.norm(mean, np.sqrt(1 + variance)).cdf
    assert min(stats.kstest(found[:, i], predictive_cdf).pvalue for i in range(40)) > 1e-4
    of_rows = stats.norm(mean, np.sqrt(variance + 1 / 40))
    assert stats.kstest(found.mean(axis=1), of_rows.cdf).pvalue > 1e-3


def measured(likelihood, values, draws, seed=1):
    """Statistics of the observed and its replicates, by name."""
    rng = np.random.default_rng(seed)
    prediction = predictive.predict_block(likelihood, likelihood.rows(values), draws, plain(), rng)
    names = [statistic.name for statistic in prediction.statistics]
    return dict(zip(names, prediction.observed(rng).T, strict=True)), prediction


def test_log_scores_are_at_the_posterior_mean(normal):
    rng = np.random.default_rng(2)
    y = rng.standard_normal(N)
    draws = ParameterDraws(rng.normal(0.3, 0.1, (500, 1)), {})
    found, _ = measured(normal, {"x": np.ones(N), "y": y}, draws)
    expected = stats.norm.logpdf(y, draws.z.mean()).mean()
    assert found["log score"][0] == pytest.approx(expected, rel=1e-9)
    assert found["log score"].shape == (1 + surprise.REPLICATES,)


def test_gradients_are_measured_by_the_information_of_rows_and_by_what_is_left_open():
    """Of a logistic regression: score (y - p) x, information p (1 - p) x x'."""
    rng = np.random.default_rng(3)
    x, b = rng.standard_normal(N), np.array([0.3, -0.8])
    covariance = np.array([[0.05, 0.01], [0.01, 0.04]])
    draws = ParameterDraws(rng.multivariate_normal(b, covariance, 4000), {})
    design = np.stack([np.ones(N), x], axis=1)
    y = (rng.random(N) < 1 / (1 + np.exp(-design @ b))).astype(float)
    found, prediction = measured(likelihood_of(logistic), {"x": x, "y": y}, draws)
    p = 1 / (1 + np.exp(-design @ draws.z.mean(axis=0)))
    score = (y - p)[:, None] * design
    information = (design * (p * (1 - p))[:, None]).T @ design
    root = prediction.scoring.root
    # The information is estimated from a few replicates.
    np.testing.assert_allclose(root.T @ information @ root / N, np.eye(2), atol=0.2)
    dispersion = np.einsum("ni,ij,nj->", score, root @ root.T, score) / N
    assert found["score dispersion"][0] == pytest.approx(dispersion, rel=1e-9)
    total = score.sum(axis=0)
    spread = information + information @ np.cov(draws.z.T) @ information
    exact = total @ np.linalg.solve(spread, total)
    assert found["sum of scores"][0] == pytest.approx(exact, rel=0.3)
    assert found["sum of scores"].mean() == pytest.approx(2, rel=0.25)
    assert found["score dispersion"].mean() == pytest.approx(2, rel=0.1)


def fit_of(name, n_rows, z, hidden=None):
    """A fit with these draws `(draw, d)`, and those of hidden sites `(1, draw, ...)`."""
    dims = ("chain", "draw", "a")
    groups = {
        "posterior": {k: (dims, v) for k, v in (hidden or {}).items()},
        "unconstrained_posterior": {"z": (dims, np.asarray(z)[None])},
    }
    tree = xr.DataTree.from_dict({k: xr.Dataset(group) for k, group in groups.items()})
    task = PlannedFit(name, "increment", "", "", n_rows, 0, (Slice("arrival", 0, n_rows),))
    return FitResult(task, recorded(task.fit), tree, Health(1.0, 1000.0, 1.0, ""))


def evidence_of(likelihood, values, seed=1):
    def read(slices, names):
        return {n: np.concatenate([values[n][s.start : s.stop] for s in slices]) for n in names}

    return StudyData(likelihood, read, Prior(np.zeros(1), np.eye(1)), seed)


def step(likelihood, outcome, before, *, hidden=None, seed=1, columns=()):
    """Judge the last rows of an outcome by the posterior `(draw, d)` of the first ones."""
    n = len(outcome)
    evidence = evidence_of(likelihood, {"x": np.ones(n), "y": outcome, **dict(columns)}, seed)
    fits = fit_of("increment-01", n - N, before, hidden), fit_of("increment-02", n, before)
    return run_surprise.surprise_step(evidence, NOTHING, *fits, 1.0)[:2]


@pytest.mark.long
def test_p_values_of_exact_posteriors_are_uniform(normal, monkeypatch):
    """On average over the prior, without any asymptotics."""
    monkeypatch.setattr(surprise, "MORE", 1000)
    p = []
    for seed in range(150):
        rng = np.random.default_rng([4, seed])
        y = rng.standard_normal() + rng.standard_normal(20 + N)
        draws = posterior_of_mean(y[:20], rng)
        p.append(step(normal, y, draws.z, seed=seed)[0].p)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert np.mean(np.array(p) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 / 150)


def test_a_shift_reaches_a_p_below_what_the_first_replicates_allow(normal):
    rng = np.random.default_rng(5)
    y = rng.standard_normal(200 + N)
    y[200:] += 1.2
    finding, table = step(normal, y, posterior_of_mean(y[:200], rng).z)
    assert finding.p == 1 / (1 + surprise.MORE)
    assert (finding.kind, finding.axis) == ("heterogeneous", "arrival")
    assert table["leading"].sum() == 1
    assert finding.message.startswith("rows 201 to 260 ")


def test_the_same_seed_gives_the_same_finding(normal):
    rng = np.random.default_rng(6)
    y = rng.standard_normal(20 + N)
    draws = posterior_of_mean(y[:20], rng).z
    first, again, other = (step(normal, y, draws, seed=seed)[1] for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_a_model_without_parameters_is_judged_on_all_rows():
    likelihood = likelihood_of(fair)
    rng = np.random.default_rng(7)
    for share, is_seen in ((1 / 3, False), (0.6, True)):
        finding, table = step(
            likelihood, rng.binomial(1, share, 30 + N).astype(float), np.zeros((4, 0))
        )
        assert finding.message.startswith("rows 1 to 90 ")
        assert finding.fits == ("increment-02",)
        assert (finding.p < 0.002) == is_seen
        assert not table["statistic"].str.contains("score dispersion").any()
    assert (finding.kind, finding.axis) == ("misfit", None)


def by_clinic(rng, n_clinics, n_rows, first=0):
    clinic = np.repeat(np.arange(n_clinics), n_rows) + first
    u = rng.normal(0, 2, n_clinics)
    return clinic, u, u[clinic - first] + rng.standard_normal(len(clinic))


def test_new_units_are_drawn_from_their_conditional_prior():
    """Rows of a unit share its latent, whose variance is 4."""
    likelihood = likelihood_of(clinics, unit="clinic")
    rng = np.random.default_rng(8)
    clinic, _, y = by_clinic(rng, 15, 4)
    rows = likelihood.rows({"x": np.ones(N), "clinic": clinic, "y": y})
    found = simulated(likelihood, rows, ParameterDraws(np.zeros((1000, 1)), {}), 1000)
    of_units = found.reshape(1000, 15, 4)
    assert of_units.mean(axis=2).var() == pytest.approx(4 + 1 / 4, rel=0.05)
    assert of_units.var(axis=2, ddof=1).mean() == pytest.approx(1, rel=0.05)


def test_log_scores_average_over_what_is_hidden():
    """A row of an unknown unit is normal with variance 5."""
    likelihood = likelihood_of(clinics, unit="clinic")
    rng = np.random.default_rng(9)
    clinic, _, y = by_clinic(rng, 15, 4)
    values = {"x": np.ones(N), "clinic": clinic, "y": y}
    found, _ = measured(likelihood, values, ParameterDraws(np.zeros((100, 1)), {}))
    exact = stats.norm.logpdf(y, 0, np.sqrt(5)).mean()
    assert found["log score"][0] == pytest.approx(exact, abs=0.4)
    assert "sum of scores" not in found


def test_groups_that_earlier_rows_share_have_their_posterior():
    likelihood = likelihood_of(clinics)
    rng = np.random.default_rng(10)
    u = rng.normal(0, 2, 30)
    clinic = rng.integers(30, size=100 + N)
    y = u[clinic] + rng.standard_normal(100 + N)
    columns = {"clinic": clinic}
    known = rng.normal(u, 0.01, (1, 500, 30))
    draws = rng.normal(0, 0.01, (500, 1))
    finding, _ = step(likelihood, y, draws, hidden={"u": known}, columns=columns)
    assert finding.p > 0.01
    finding, _ = step(likelihood, y, draws, hidden={"u": known[..., ::-1]}, columns=columns)
    assert finding.p < 0.001
    finding, table = step(likelihood, y, draws, columns=columns)
    assert finding.p is None
    assert finding.message == "the draws of u were not kept: add it to sampler.keep"
    assert table.empty


def test_blocks_of_units_are_padded_and_what_pads_changes_nothing():
    """Whole units make blocks unequal, and each size would be compiled."""
    likelihood = likelihood_of(clinics, unit="clinic")
    rng = np.random.default_rng(11)
    clinic, _, y = by_clinic(rng, 9, 7)
    values = {"x": np.ones(len(y)), "clinic": clinic, "y": y}
    fit = fit_of("increment-01", 10, np.zeros((100, 1)))
    block = run_surprise.NewBlock(values, np.ones(len(y), bool), (), True, "")
    prediction = run_surprise._predict(likelihood, NOTHING, block, fit, rng)
    assert prediction.outcome.shape == (64,)
    assert prediction.blocks.counts == {"n_clinic": 10}
    z = jax.jit(replicate_statistics.z_scores)(
        prediction.references[0], prediction.outcome[:, None]
    )
    mean = [statistic.what for statistic in prediction.statistics].index("mean")
    assert prediction.observed(rng)[0, mean] == pytest.approx(float(z[:63].mean()), rel=1e-9)
    sizes = [run_surprise._round_up(n) for n in (1, 7, 8, 9, 65, 80, 81, 1000)]
    assert sizes == [1, 7, 8, 10, 80, 80, 96, 1024]


def test_a_replicate_depends_on_its_parameters_and_its_key_alone(normal):
    """Whatever is drawn beside it, and however many rows are asked about at a time."""
    rng = np.random.default_rng(14)
    for likelihood in (normal, likelihood_of(logistic)):
        n = 2 * ROWS_AT_ONCE + 3
        rows = likelihood.rows({"x": rng.standard_normal(n), "y": np.zeros(n)})
        blocks = blocks_of(likelihood, rows)
        assert [block.is_row.sum() for block in blocks.blocks] == [ROWS_AT_ONCE, ROWS_AT_ONCE, 3]
        draws = ParameterDraws(rng.standard_normal((200, len(likelihood.vector.names))), {})
        keys = random_keys(rng, 200)
        found = draw_replicates(likelihood, blocks, draws, keys)
        chosen = np.array([170, 3, 99])
        again = draw_replicates(likelihood, blocks, draws.take(chosen), keys[chosen])
        np.testing.assert_array_equal(again, found[chosen])
        first = blocks_of(
            likelihood, rows._replace(arrays={k: v[:50] for k, v in rows.arrays.items()})
        )
        some = draw_replicates(likelihood, first, draws.take(chosen), keys[chosen])
        np.testing.assert_array_equal(some, found[chosen, :50])
        assert not np.array_equal(found[:, :3], found[:, -3:])


def test_large_blocks_are_thinned_in_runs_of_neighbours(monkeypatch):
    monkeypatch.setattr(run_surprise.surprise, "MOST_PREDICTED", 500)
    chosen, follows = run_surprise._thinned(1234, np.random.default_rng(12))
    assert len(chosen) == 500
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(follows[1:], np.diff(chosen) == 1)
    assert 1 <= (~follows).sum() <= 5
    whole, follows = run_surprise._thinned(500, np.random.default_rng(12))
    np.testing.assert_array_equal(whole, np.arange(500))


def test_one_new_row_is_too_few(normal):
    evidence = evidence_of(normal, {})
    fits = [fit_of(f"increment-0{i}", 99 + i, np.zeros((9, 1))) for i in (1, 2)]
    finding, table, members = run_surprise.surprise_step(evidence, NOTHING, *fits, 0.5)
    assert finding.p is None
    assert "at least 2 new rows, got 1" in finding.message
    assert table.empty
    assert members is None


def test_columns_of_the_model_and_axes_become_covariates_and_groups():
    labels = {**LABELS, "year": None, "sex": ["f", "m"]}
    likelihood = dataclasses.replace(likelihood_of(clinics, unit="clinic"), labels=labels)
    data = DataSettings("data.csv", "y", None, None, "clinic", (), ("year", "sex", "x"), "error")
    rng = np.random.default_rng(13)
    values = {
        "x": rng.random(N),
        "y": rng.random(N),
        "clinic": rng.integers(30, size=N),
        "year": rng.integers(2000, 2030, size=N),
        "sex": rng.integers(2, size=N),
    }
    covariates, groups = run_surprise._columns(likelihood, data, values)
    assert [(c.name, c.used) for c in covariates] == [("x", True), ("year", False)]
    assert [(c.name, c.used) for c in groups] == [("clinic", True), ("sex", False), ("year", False)]
    assert len(np.unique(groups[-1].values)) == run_surprise.BINS
