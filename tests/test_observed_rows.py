"""True models of censored and masked outcomes, whose new rows must not surprise; and wrong ones, whose must."""

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import survival
from scipy import stats

from scalecheck.checks.moments import Prior
from scalecheck.checks.scores import unordered
from scalecheck.evaluation import observed_rows
from scalecheck.evaluation.likelihood import Likelihood
from scalecheck.evaluation.row_scores import row_scores
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine.fitted_rows import largest_increment
from scalecheck.examine.run_deviant_units import describe_units
from scalecheck.examine.run_form import run_form
from scalecheck.examine.run_heterogeneity import run_heterogeneity
from scalecheck.examine.run_surprise import surprise_step
from scalecheck.model.binding import Argument, Model
from scalecheck.results.study_fits import StudyFits
from scalecheck.study.plan import PlannedFit, Slice
from scalecheck.study.settings import DataSettings, IncrementSettings


@pytest.fixture(scope="module", autouse=True)
def double():
    """As `examine` asks."""
    with jax.enable_x64(True):
        yield


def p_values(likelihood, simulate, n, seeds):
    """Surprise of the second half of each data set of 2 n rows."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng([7, seed])
        step = survival.step_of(likelihood, simulate(rng, 2 * n), n, rng, seed)
        found.append(surprise_step(step[0], survival.SETTINGS, *step[1:], 1.0)[0])
    assert all("were drawn within their bounds; lost tells which" in one.message for one in found)
    return np.array([one.p for one in found])


@pytest.fixture(scope="module")
def survivors():
    return survival.likelihood_of(survival.weibull)


MECHANISMS = {
    "at random": survival.censored_at_random,
    "by covariate": survival.censored_by_covariate,
    "by entry": survival.censored_by_entry,
}


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_a_true_model_of_censored_lives_is_not_called_wrong(survivors, mechanism):
    """Whatever censors, as long as it is independent of the life given the covariate."""
    p = p_values(survivors, MECHANISMS[mechanism], 125, 40)
    assert (p < 0.05).sum() <= stats.binom(40, 0.05).ppf(0.999)
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_a_true_model_of_a_detection_limit_is_not_called_wrong():
    p = p_values(survival.likelihood_of(survival.assay), survival.below_detection, 125, 40)
    assert (p < 0.05).sum() <= stats.binom(40, 0.05).ppf(0.999)
    assert stats.kstest(p, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("seeds", "fewest"), [(10, 8), pytest.param(50, 45, marks=pytest.mark.long)]
)
def test_a_wrong_hazard_is_found_in_nine_of_ten_data_sets(seeds, fewest):
    """An exponential model of Weibull lives, 30 % of them censored, after 500 rows and in 500."""
    likelihood = survival.likelihood_of(survival.exponential)
    p = p_values(likelihood, survival.censored_at_random, 500, seeds)
    assert (p < 0.05 / 7).sum() >= fewest  # strong among seven families


def test_an_axis_that_tells_which_rows_are_censored_is_left_out(survivors):
    rng = np.random.default_rng(1)
    data = survival.censored_at_random(rng, 250)
    study_data, before, after = survival.step_of(survivors, data, 125, rng)
    kept = study_data.read

    def read(slices, names):
        found = kept(slices, survival.Censored._fields)
        found["ended"] = np.where(found["lost"] > 0, 2.0, 1.0 + (found["time"] > 100))
        return {name: found[name] for name in names}

    settings = DataSettings("d.csv", "time", None, None, None, (), ("ended", "lost"), "error")
    labels = {**survivors.labels, "ended": None}
    likelihood = Likelihood(survivors.model, labels, None, None, survivors.few)
    likelihood._programs.update(survivors._programs)
    study_data = StudyData(likelihood, read, study_data.prior, 1)
    finding, table, _ = surprise_step(study_data, settings, before, after, 1.0)
    assert finding.message.endswith("lost, ended tell which, and no statistic takes it")
    assert finding.p > 0.01
    assert not table["statistic"].str.contains("lost|ended").any()


def test_levels_that_tell_which_rows_are_censored_are_not_compared(survivors):
    rng = np.random.default_rng(2)
    data = survival.censored_at_random(rng, 250)
    order = np.argsort(data.lost, kind="stable")
    data = survival.Censored(*(column[order] for column in data))
    study_data, _, after = survival.step_of(survivors, data, 125, rng)

    slices = (Slice("random", 0, 250),)
    task = PlannedFit("increment-01", "increment", "", "", 250, 250, slices)
    study = StudyFits([task], {}, {task.fit: after._replace(task=task)})
    settings = DataSettings("d.csv", "time", None, None, None, (), ("lost",), "error")
    increments = IncrementSettings(100, 2.0, None, "random", "never", False, 0)
    seen = largest_increment(study_data, study, settings)
    (finding,) = run_heterogeneity(study_data, study, seen, seen, settings, increments).findings
    assert finding.p is None
    assert finding.message.startswith("lost tells which outcomes are censored")


def rows_of(study_data, fit):
    return largest_increment(
        study_data, StudyFits([fit.task], {}, {fit.task.fit: fit}), survival.SETTINGS
    )


def test_the_effect_of_a_covariate_on_censored_lives_keeps_its_form(survivors):
    """The column of flags is no covariate: which rows are censored depends on their outcomes."""
    p = []
    for seed in range(40):
        rng = np.random.default_rng([8, seed])
        data = survival.censored_at_random(rng, 250)
        study_data, _, after = survival.step_of(survivors, data, 125, rng, seed)
        found = run_form(study_data, rows_of(study_data, after))
        (finding,) = found.findings
        assert finding.p is not None
        assert found.tables["form"]["term"].str.contains("x").all()
        p.append(finding.p)
    assert (np.array(p) < 0.05).sum() <= 2 + 3 * np.sqrt(40 * 0.05 * 0.95)


def test_a_bend_of_censored_lives_is_found(survivors):
    rng = np.random.default_rng(9)
    data = survival.censored_at_random(rng, 1_000)
    bent = data._replace(time=data.time * np.exp(0.35 * (data.x**2 - 1)))
    study_data, _, after = survival.step_of(survivors, bent, 500, rng)
    (finding,) = run_form(study_data, rows_of(study_data, after)).findings
    assert finding.p < 1e-3
    assert (finding.axis, finding.kind, finding.fit) == ("x", "misfit", "increment-02")


def test_a_column_tells_where_every_level_is_censored_or_none_is():
    censored = np.array([True, True, False, False, False, True])
    assert observed_rows.tells(np.array([2, 2, 0, 0, 1, 2]), censored)
    assert not observed_rows.tells(np.array([2, 2, 0, 0, 2, 2]), censored)
    assert not observed_rows.tells(np.arange(6), censored)
    assert not observed_rows.tells(np.array([0, 0, 1, 1, 1, 0]), np.zeros(6, bool))


def test_a_censored_outcome_cannot_be_simulated(survivors):
    assert survivors.no_simulations().startswith("the outcome of the site T is censored")
    assert survivors.no_predictions() is None
    assert survivors.censoring_columns == ("lost",)


def clinics(lost, clinic, n_clinic, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 1))
    with numpyro.plate("clinics", n_clinic):
        u = numpyro.sample("u", dist.Normal(0, 2))
    with numpyro.plate("rows", lost.shape[0]):
        value = dist.Normal(mean + u[clinic], 1)
        numpyro.sample("y", dist.RightCensoredDistribution(value, lost), obs=y)


def gibbs(rng, clinic, lost, y, n_draws):
    """Draw the mean and the effects of clinics, and censored values given them, in turn: after 100 such rounds."""
    n = np.bincount(clinic)
    means, effects, value = [], [], y.copy()
    mean, u = 0.0, np.zeros(len(n))
    for _ in range(100 + n_draws):
        # Of a sum over clinics the effects are integrated out: their mean has variance 4 + 1 / n.
        weight = 1 / (4 + 1 / n)
        precision = 1 + weight.sum()
        centre = (weight * np.bincount(clinic, value) / n).sum() / precision
        mean = rng.normal(centre, precision**-0.5)
        variance = 1 / (n + 1 / 4)
        u = rng.normal(variance * np.bincount(clinic, value - mean), np.sqrt(variance))
        at = mean + u[clinic]
        drawn = stats.truncnorm.rvs(y - at, np.inf, loc=at, random_state=rng)
        value = np.where(lost > 0, drawn, y)
        means.append(mean)
        effects.append(u)
    return np.array(means[100:])[:, None], np.array(effects[100:])[None]


def test_a_true_model_of_units_is_not_called_wrong_and_needs_their_draws():
    """Rows of a clinic stand together, and a clinic of high values has more of them censored."""
    arguments = {name: Argument((name,), matrix=False) for name in ("lost", "clinic", "y")}
    bound = Model(clinics, "model.py", "y", arguments, {"n_clinic": "clinic"}, n_rows=False)
    few = {"lost": np.zeros(2), "clinic": np.zeros(2, int), "y": np.zeros(2)}
    labels = {"lost": None, "y": None, "clinic": [f"c{code}" for code in range(40)]}
    likelihood = Likelihood(bound, labels, "clinic", None, few)
    settings = DataSettings("d.csv", "y", None, None, "clinic", (), (), "error")
    clinic = np.repeat(np.arange(40), 5)
    p = []
    for seed in range(30):
        rng = np.random.default_rng([8, seed])
        value = rng.normal() + rng.normal(0, 2, 40)[clinic] + rng.standard_normal(200)
        limit = rng.normal(1, 1, 200)
        lost, y = (value > limit).astype(float), np.minimum(value, limit)
        found = {"lost": lost, "clinic": clinic, "y": y}

        def read(slices, names, found=found):
            return {n: np.concatenate([found[n][s.start : s.stop] for s in slices]) for n in names}

        fits = []
        for i, n in ((1, 100), (2, 200)):
            z, u = gibbs(rng, clinic[:n], lost[:n], y[:n], 300)
            u = np.pad(u, ((0, 0), (0, 0), (0, 3)))  # its batch had three units more
            fits.append(survival.fit_of(f"increment-0{i}", n, z, u=u))
        study_data = StudyData(likelihood, read, Prior(np.zeros(1), np.eye(1)), seed)
        p.append(surprise_step(study_data, settings, *fits, 1.0)[0].p)
    assert (np.array(p) < 0.05).sum() <= stats.binom(30, 0.05).ppf(0.999)
    assert np.mean(p) > 0.5 - 4 / np.sqrt(12 * 30)
    table = describe_units(study_data, StudyFits([], {}, {fit.task.fit: fit for fit in fits}))
    assert len(table) == 40
    assert (table["q"] > 0.05).all()
    completed = table.set_index("unit")["observed"]
    seen = np.bincount(clinic, y) / 5
    where_lost = np.bincount(clinic, lost) > 0
    assert all((completed[f"c{k}"] > seen[k] + 1e-9) == where_lost[k] for k in range(40))
    without = survival.fit_of("increment-02", 200, z)
    finding = surprise_step(study_data, settings, fits[0], without, 1.0).finding
    assert finding.p is None
    assert finding.message.endswith("draws that were not kept: add u to sampler.keep")


def masked(seen, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 3))
    with numpyro.plate("rows", seen.shape[0]):
        numpyro.sample("Y", dist.Normal(mean, 1).mask(seen > 0.5), obs=y)


def masked_by_a_parameter(seen, y=None):
    mean = numpyro.sample("mean", dist.Normal(0, 3))
    with numpyro.plate("rows", seen.shape[0]):
        numpyro.sample("Y", dist.Normal(mean, 1).mask(seen > mean), obs=y)


def likelihood_of(function):
    arguments = {name: Argument((name,), matrix=False) for name in ("seen", "y")}
    few = {"seen": np.ones(2), "y": np.zeros(2)}
    bound = Model(function, "model.py", "y", arguments, {}, n_rows=False)
    return Likelihood(bound, dict.fromkeys(arguments), None, None, few)


@pytest.fixture(scope="module")
def with_mask():
    return likelihood_of(masked)


def step_of_masked(likelihood, seen, y, axes=()):
    def read(slices, names):
        found = {"seen": seen, "y": y}
        return {n: np.concatenate([found[n][s.start : s.stop] for s in slices]) for n in names}

    rng = np.random.default_rng(3)
    n_seen = seen[:100].sum()
    mean = y[:100][seen[:100] > 0].sum() / (n_seen + 1 / 9)
    z = rng.normal(mean, n_seen**-0.5, (500, 1))
    fits = survival.fit_of("increment-01", 100, z), survival.fit_of("increment-02", len(y), z)
    settings = DataSettings("d.csv", "y", None, None, None, (), axes, "error")
    return surprise_step(
        StudyData(likelihood, read, Prior(np.zeros(1), np.eye(1)), 1), settings, *fits, 1.0
    )[:2]


def test_what_stands_in_masked_rows_does_not_matter(with_mask):
    rng = np.random.default_rng(4)
    seen = (rng.random(250) > 0.2).astype(float)
    y = rng.normal(4, 1, 250)
    found = [
        step_of_masked(with_mask, seen, np.where(seen > 0, y, other), ("seen",))
        for other in (0.0, -999.0, np.nan)
    ]
    finding = found[0][0]
    assert finding.p > 0.05
    assert finding.message.endswith(
        f"; {int((1 - seen[100:]).sum())} rows are masked and take no part"
    )
    for other, table in found[1:]:
        assert other == finding
        assert table.equals(found[0][1])


def test_a_shift_of_the_rows_that_are_not_masked_is_found(with_mask):
    rng = np.random.default_rng(5)
    seen = (rng.random(250) > 0.2).astype(float)
    y = np.where(seen > 0, rng.normal(4, 1, 250), 0.0)
    y[100:] += 0.9 * seen[100:]
    assert step_of_masked(with_mask, seen, y)[0].p < 0.001


def test_where_hardly_a_row_is_left_nothing_is_compared(with_mask):
    seen = np.ones(250)
    seen[101:] = 0
    finding, table = step_of_masked(with_mask, seen, np.zeros(250))
    assert finding.p is None
    assert "at least 2 new rows that the model does not mask, got 1" in finding.message
    assert table.empty


def test_masked_rows_have_no_score(with_mask):
    values = {"seen": np.array([1.0, 0, 1, 0]), "y": np.array([1.0, -999, 2, np.nan])}
    levels = unordered(("a", "b"), np.array([0, 0, 1, 1]))
    (found,) = row_scores(with_mask, values, [levels], np.array([0.5]))
    assert found.score[:, 0].tolist() == [0.5, 0, 1.5, 0]
    assert found.information[:, 0, 0].tolist() == [1, 1]


def test_a_mask_that_depends_on_parameters_gives_no_prediction():
    reason = likelihood_of(masked_by_a_parameter).no_new_rows()
    assert reason == "which rows of the site Y are masked or censored depends on parameters"
