"""The approximation: what is fitted, when it has converged, and what is made of it."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import small_studies
from recorded import recorded

from scalecheck.errors import StudyError
from scalecheck.files import checksums, formats, posterior_file
from scalecheck.fitting import fit_job
from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.pipeline import approximate as approximate_program
from scalecheck.report import approximation_section as page
from scalecheck.study.settings import ApproximationSettings, parse_sections
from scalecheck.variational import approximation, guides, optimise, target, vsbc_fits
from scalecheck.variational.svi_programs import SviProblem, SviPrograms

KEY = jax.random.PRNGKey(5)
COVARIANCE = jnp.array([[1.0, 0.9], [0.9, 1.0]])
MEAN = jnp.array([0.5, -1.0])
MEAN_FIELD = ApproximationSettings("always", "mean_field", "auto", None, 20_000, 0)


def silent(line):
    pass


# ---- what is fitted


@functools.cache
def fitted(name):
    """A family fitted to a normal with correlation .9, both of its dimensions shared by all rows."""
    guide = guides.guide_of(name, jnp.zeros(2), 2)

    def model(arrays):
        parts = [
            numpyro.sample(part, dist.Normal(jnp.zeros(size)).to_event(1).mask(False))
            for part, size in guide.sites.items()
        ]
        log_density = dist.MultivariateNormal(MEAN, COVARIANCE).log_prob(jnp.concatenate(parts))
        numpyro.factor("log_density", log_density)

    problem = SviProblem(guide, model, {"y": np.zeros(1, "float32")}, 1, 2)
    programs = SviPrograms(problem)
    found = optimise.maximise(problem, programs, 20_000, KEY, silent)
    return problem, programs, found


OTHERS = [pytest.param(name, marks=pytest.mark.long) for name in ("low_rank", "flow")]


@pytest.mark.parametrize(
    ("name", "sd"),
    [
        ("mean_field", np.sqrt(1 - 0.81)),
        pytest.param("low_rank", 1.0, marks=pytest.mark.long),
        pytest.param("flow", 1.0, marks=pytest.mark.long),
    ],
)
def test_a_family_finds_its_best_member(name, sd):
    problem, _, found = fitted(name)
    assert found.converged
    draws = np.asarray(problem.guide.draw(found.params, KEY, 4000))
    apart = (draws.mean(axis=0) - MEAN) / sd
    assert np.abs(apart).max() < optimise.TOLERANCE + 4 / np.sqrt(4000)
    log_ratio = np.log(draws.std(axis=0) / sd)
    assert np.abs(log_ratio).max() < optimise.TOLERANCE + 4 / np.sqrt(8000)


@pytest.mark.parametrize("name", ["mean_field", *OTHERS])
def test_the_density_of_the_shared_parameters_is_that_of_their_draws(name):
    problem, _, found = fitted(name)
    # The mean of p / q over draws from q is one for any normalised p that q covers.
    draws = problem.guide.draw(found.params, KEY, 4000)
    log_q = problem.guide.log_density_shared(found.params, draws)
    narrow = dist.MultivariateNormal(
        MEAN, 0.1 * (COVARIANCE if name != "mean_field" else jnp.eye(2))
    )
    ratio = np.exp(np.asarray(narrow.log_prob(draws) - log_q))
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / np.sqrt(len(ratio))


@pytest.mark.parametrize("name", ["mean_field", *OTHERS])
def test_draws_that_are_made_some_at_a_time_are_the_same(name):
    problem, _, found = fitted(name)
    draws = problem.guide.draw(found.params, KEY, 50)
    last = problem.guide.draw_of(lambda flat: flat[1:], found.params, KEY, 50, 7)
    assert last == pytest.approx(np.asarray(draws)[:, 1:], rel=1e-5)


def test_of_a_million_parameters_only_some_draws_are_in_memory():
    d = 10**6
    guide = guides.guide_of("mean_field", jnp.zeros(d), 3)
    params = {
        f"{what}_{part}": jax.ShapeDtypeStruct((size,), "float32")
        for part, size in guide.sites.items()
        for what in ("mean", "sd")
    }

    def first(params):
        return guide.draw_of(lambda flat: flat[:3], params, KEY, 1000, 4)

    used = jax.jit(first).lower(params).compile().memory_analysis()
    assert used.temp_size_in_bytes < 100 * 4 * d  # a tenth of all draws


def test_the_flow_follows_a_correlation():
    problem, _, found = fitted("flow")
    draws = np.asarray(problem.guide.draw(found.params, KEY, 4000))
    assert abs(np.arctanh(np.corrcoef(draws.T)[0, 1]) - np.arctanh(0.9)) < 0.15


class StopAfter(Checkpointer):
    """A checkpointer whose job is told to end after some windows."""

    left = 3

    def keep(self, take):
        self.left -= 1
        self._is_told_to_end = self.left <= 0
        super().keep(take)


def test_a_killed_fit_goes_on_with_the_same_bits(tmp_path):
    problem, programs, found = fitted("mean_field")
    with pytest.raises(SystemExit):
        checkpointer = StopAfter(tmp_path / "kept", "same", 1e9, silent)
        optimise.maximise(problem, programs, 20_000, KEY, silent, checkpointer)
    checkpointer = Checkpointer(tmp_path / "kept", "same", 1e9, silent)
    again = optimise.maximise(problem, programs, 20_000, KEY, silent, checkpointer)
    assert again.rounds == found.rounds
    jax.tree.map(np.testing.assert_array_equal, again.params, found.params)


def test_a_fit_that_is_out_of_steps_has_not_converged_and_says_so():
    problem, programs, _ = fitted("mean_field")
    found = optimise.maximise(problem, programs, 400, KEY, silent)
    assert not found.converged
    assert "400 steps" in found.reason


def test_a_bound_that_is_no_number_ends_a_fit_at_its_last_finite_place():
    guide = guides.guide_of("mean_field", jnp.zeros(2), 2)

    def model(arrays):
        z = numpyro.sample("shared", dist.Normal(jnp.zeros(2)).to_event(1).mask(False))
        numpyro.factor("log_density", jnp.where(z[0] > 5.0, jnp.nan, 10 * z[0]))

    problem = SviProblem(guide, model, {"y": np.zeros(1, "float32")}, 1, 2)
    found = optimise.maximise(problem, SviPrograms(problem), 20_000, KEY, silent)
    assert not found.converged
    assert f"no finite number after {found.steps} steps" in found.reason
    assert found.steps >= optimise.WINDOW
    assert np.isfinite(problem.guide.draw(found.params, KEY, 10)).all()


# ---- rows


SUM_OF_ROWS = """
def model(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu * x.sum() / 100, 1.0), obs=y)
"""


@pytest.fixture(scope="module")
def rows(conjugate):
    return conjugate.whole()


@pytest.mark.parametrize("size", [None, 50], ids=["all rows", "minibatches"])
def test_the_posterior_of_a_normal_mean_is_found(rows, size):
    y = rows.values[0]["y"]
    exact, sd = y.sum() / (len(y) + 1), (len(y) + 1) ** -0.5
    settings = dataclasses.replace(MEAN_FIELD, batch=size)
    found = approximation.approximate(rows, settings, KEY, silent)
    assert found.found.converged
    assert abs(found.shared.mean() - exact) < (optimise.TOLERANCE + 4 / np.sqrt(1000)) * sd
    assert abs(np.log(found.shared.std() / sd)) < optimise.TOLERANCE + 4 / np.sqrt(2000)


def test_killed_simulated_data_sets_go_on_where_they_were(rows, tmp_path):
    settings = dataclasses.replace(MEAN_FIELD, simulate=5)
    with pytest.raises(SystemExit):
        checkpointer = StopAfter(tmp_path / "kept", "same", 1e9, silent)
        vsbc_fits.simulate_approximations(rows, settings, KEY, silent, checkpointer)
    said = []
    checkpointer = Checkpointer(tmp_path / "kept", "same", 1e9, said.append)
    again = vsbc_fits.simulate_approximations(rows, settings, KEY, silent, checkpointer)
    assert "goes on from its checkpoint" in said[0]
    whole = vsbc_fits.simulate_approximations(rows, settings, KEY, silent)
    assert again.n_data_sets == whole.n_data_sets == 5
    np.testing.assert_array_equal(again.mean, whole.mean)


# The log density of the units is in the thousands, beside which what is wrong with the rows is little.
SUM_BESIDE_UNITS = """
def model(x, unit, n_unit, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("units", n_unit):
        own = numpyro.sample("own", dist.Normal(0.0, 1e-18))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu + own[unit] + x.sum() / 10_000, 1.0), obs=y)
"""


@pytest.mark.parametrize("source", [SUM_OF_ROWS, SUM_BESIDE_UNITS], ids=["alone", "beside units"])
def test_a_model_whose_rows_are_not_apart_is_refused_minibatches(tmp_path, source, monkeypatch):
    small_studies.take_any_model(monkeypatch)
    n = 3000
    table = pd.DataFrame({"x": np.linspace(0, 3, n), "y": np.linspace(-1, 1, n) ** 2})
    table["unit"] = [f"unit-{number % 100}" for number in range(n)]
    small = small_studies.make(tmp_path, table, source, data={"unit": "unit"})
    batch = small.whole()
    layout = target.layout_of(batch)
    at = jnp.zeros(layout.size).at[0].set(1.0)
    with pytest.raises(StudyError, match=r"approximation.batch is 50, .* \(all rows\)"):
        target.check_minibatches(batch, layout, at, 50)


# ---- the job


@pytest.mark.parametrize("asked", ["mean_field", "low_rank", "flow"])
def test_a_method_that_is_asked_for_is_taken(rows, asked):
    assert approximate_program.method_of(asked, "auto", rows).name == asked


def test_a_model_without_units_is_approximated_by_independent_normals(rows):
    assert approximate_program.method_of("auto", "auto", rows) == ("mean_field", "")


def settled(conjugate, approximation, **settings):
    """The job of the conjugate study with other settings; those of the approximation beside its own."""
    sections = json.loads(conjugate.study.sections()) | settings
    sections["approximation"] |= approximation
    raw = json.dumps(sections)
    return fit_job.Job(
        conjugate.folder, parse_sections(raw), sections, small_studies.DEVICE, (0, 0), silent
    )


@pytest.fixture(scope="module")
def written(conjugate):
    asked = {"when": "always", "steps": 20_000, "simulate": 12}
    approximate_program.write_approximation(settled(conjugate, asked))
    return formats.read_json(conjugate.folder.approximation)


@pytest.mark.long
def test_an_exact_approximation_is_believable(written):
    assert written["verdict"] == "believable", written["reasons"]
    assert (written["method"], written["settings"]["approximation"]["method"]) == (
        "mean_field",
        "auto",
    )
    assert written["converged"]
    assert [one["rows"] for one in written["increments"]] == [8, 64, 214]
    assert all(one["khat"] <= 0.62 for one in written["increments"])
    assert written["symmetry"]["n_data_sets"] == 12


def test_draws_of_the_approximation_are_an_arviz_tree(conjugate, written):
    tree = posterior_file.read_posterior(conjugate.folder.approximate_posterior)
    assert tree["posterior"]["mu"].dims == ("chain", "draw")
    z = tree["unconstrained_posterior"]["z"].to_numpy()
    assert z.mean() == pytest.approx(written["mean"][0], abs=1e-6)
    assert tree["posterior"]["mu"].to_numpy() == pytest.approx(z[..., 0], abs=1e-6)
    assert not conjugate.folder.approximating("").exists()


def test_the_page_shows_every_increment_and_parameter(written):
    section = page.section(written, {})
    assert [row.cells[0] for row in section.increments.rows] == ["8 rows", "64 rows", "214 rows"]
    assert [row.cells[0] for row in section.parameters.rows] == ["mu"]
    assert section.development is not None
    assert section.shrinkage is None  # no units
    assert "all 214 rows" in section.sentence


KNOWN = """
def model(x, y=None):
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
"""


def test_a_model_without_latent_sites_has_no_approximation(tmp_path):
    table = pd.DataFrame({"x": np.ones(120), "y": np.linspace(-1, 1, 120)})
    small = small_studies.make(tmp_path, table, KNOWN)
    checksums.write_record(small.folder, recorded("increment-01", status="skipped"))
    small.folder.approximate_posterior.write_text("of other settings")
    approximate_program.write_approximation(settled(small, {"when": "always"}))
    found = formats.read_json(small.folder.approximation)
    assert found == {"asked": False, "reason": "not approximated: the model has no latent site"}
    assert not small.folder.approximate_posterior.exists()


@pytest.mark.parametrize(
    ("records_", "seconds", "asked"),
    [
        (
            [recorded(status="skipped", reason="budget.seconds is 5: the increments so far")],
            5.0,
            True,
        ),
        ([recorded(status="skipped", reason="increment-02 was found to break")], 5.0, False),
        ([], 1e9, False),
    ],
)
def test_auto_approximates_where_the_budget_is_exceeded(conjugate, records_, seconds, asked):
    budget = {"seconds": seconds, "price_per_hour": None}
    found = approximate_program.reason_against(
        settled(conjugate, {"when": "auto"}, budget=budget), records_
    )
    assert (found == "") == asked
