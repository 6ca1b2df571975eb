"""What would make a fit fail or lie is found before it, and named."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import small_studies

from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.files.formats import read_json
from scalecheck.fitting import sample_batch
from scalecheck.fitting.starts import find_starts
from scalecheck.model import batches
from scalecheck.pipeline import check_rows

N_ROWS = 40


def table(**columns):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"x": rng.standard_normal(N_ROWS), "y": rng.standard_normal(N_ROWS)})
    return frame.assign(**columns)


def make(path, frame, source=small_studies.CONJUGATE, **settings):
    settings = {
        "subsets": {"count": 1, "size": 20},
        "increments": {"start": 20, "end": 20},
    } | settings
    return small_studies.make(path, frame, source, **settings)


COUNTS = """
def model(x, y=None):
    rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Poisson(rate), obs=y)
"""
COUNTED = COUNTS.replace("model(x,", "model(n_rows,").replace("x.shape[0]", "n_rows")
BINARY = COUNTS.replace("dist.Poisson(rate)", "dist.Bernoulli(logits=rate * x)")


@pytest.mark.parametrize(
    ("source", "value"), [(COUNTS, -1.0), (COUNTS, 0.5), (COUNTED, -1.0), (BINARY, 2.0)]
)
def test_an_outcome_out_of_support_is_named_with_its_row(tmp_path, source, value):
    y = np.arange(N_ROWS) % 2.0
    y[16] = value
    words = (
        f"data.csv: row 17 has y = {value:g}, which is outside the support of the observed site y"
    )
    with pytest.raises(StudyError, match=words):
        make(tmp_path, table(y=y), source)


def test_what_was_learned_about_the_model_is_recorded(tmp_path):
    small = make(tmp_path, table(y=np.arange(N_ROWS) % 2.0), BINARY)
    found = read_json(small.folder.model)
    assert found["compared"] == ["rate"]
    assert found["by_row"]
    assert found["covariates"] == ["x"]
    assert [(site["name"], site["kind"]) for site in found["sites"]] == [
        ("rate", "latent"),
        ("y", "observed"),
    ]
    # log Gamma(2, 1) has the mean digamma(2) and the variance trigamma(2).
    assert found["prior"]["mean"][0] == pytest.approx(1 - np.euler_gamma, abs=0.03)
    assert found["prior"]["covariance"][0][0] == pytest.approx(np.pi**2 / 6 - 1, abs=0.05)


@pytest.mark.parametrize("column", ["x", "y"])
def test_a_column_that_float32_flattens_is_refused(tmp_path, column):
    frame = table()
    frame[column] += 1e8
    words = f"column {column} loses its precision in float32: .*: subtract 1e\\+08, or use"
    with pytest.raises(StudyError, match=words):
        make(tmp_path, frame)


def test_float64_takes_such_a_column(tmp_path):
    make(tmp_path, table(y=table()["y"] + 1e8), sampler={"precision": "float64"})


def test_a_value_too_large_for_float32_is_refused(tmp_path):
    words = "column y, row 3 holds 1e\\+39, too large for sampler.precision"
    with pytest.raises(StudyError, match=words):
        make(tmp_path, table(y=[0.0, 0.0, 1e39] + [0.0] * (N_ROWS - 3)))


GRADES = np.arange(N_ROWS) % 3.0
CATEGORICAL = """
def model(n_rows, y=None):
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    with numpyro.plate("rows", n_rows):
        numpyro.sample("y", dist.Categorical(probs=share), obs=y)
"""
ORDERED = """
def model(x, y=None):
    beta = numpyro.sample("beta", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.OrderedLogistic(beta * x, jnp.array([-1.0, 1.0])), obs=y)
"""
FROM_ONE = CATEGORICAL.replace("obs=y", "obs=None if y is None else y - 1")
TRIALS = """
def model(trials, y=None):
    chance = numpyro.sample("chance", dist.Beta(2.0, 2.0))
    with numpyro.plate("rows", trials.shape[0]):
        numpyro.sample("y", dist.Binomial(trials, chance), obs=y)
"""
BETA_BINOMIAL = TRIALS.replace("Binomial(trials, chance)", "BetaBinomial(chance, 2.0, trials)")
OVERFLOW = """
def model(x, y=None):
    beta = numpyro.sample("beta", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Poisson(jnp.exp(beta * x)), obs=y)
"""


@pytest.mark.parametrize(
    ("source", "columns"),
    [
        (CATEGORICAL, {"y": GRADES}),
        (FROM_ONE, {"y": GRADES + 1}),
        (ORDERED, {"y": GRADES}),
        (TRIALS, {"y": GRADES, "trials": 3.0}),
        (BETA_BINOMIAL, {"y": GRADES, "trials": 3.0}),
    ],
)
def test_numbers_do_where_a_distribution_takes_integers_alone(tmp_path, source, columns):
    make(tmp_path, table(**columns), source)


def test_a_prior_that_is_wild_at_some_rows_is_not_refused(tmp_path):
    """At nearly every draw `exp(1e4 beta)` is 0 or infinite."""
    make(tmp_path, table(x=np.linspace(9e3, 1.1e4, N_ROWS), y=np.arange(N_ROWS) % 3.0), OVERFLOW)


@pytest.mark.parametrize(
    ("distribution", "placeholder", "settings"),
    [
        ("LogNormal(a, 1.0)", 0.0, {}),
        ("Beta(2.0 + jnp.exp(a), 2.0)", -999.0, {}),
        ("Beta(2.0 + jnp.exp(a), 2.0)", 0.0, {"precision": "float64"}),
        ("Categorical(logits=jnp.array([0.0, 1.0, 2.0]) * a)", -999.0, {}),
    ],
)
def test_placeholders_of_masked_rows_are_not_refused(tmp_path, distribution, placeholder, settings):
    source = f"""
    def model(seen, y=None):
        a = numpyro.sample("a", dist.Normal(0, 1))
        with numpyro.plate("rows", seen.shape[0]):
            numpyro.sample("y", dist.{distribution}.mask(seen > 0.5), obs=y)
    """
    seen = np.arange(N_ROWS) % 4 > 0
    value = 1.0 if "Categorical" in distribution else 0.5
    frame = table(y=np.where(seen, value, placeholder), seen=seen.astype(int))
    make(tmp_path, frame, source, sampler=settings)


def test_a_row_beside_masked_ones_is_refused(tmp_path):
    source = """
    def model(seen, y=None):
        a = numpyro.sample("a", dist.Gamma(2.0, 1.0))
        with numpyro.plate("rows", seen.shape[0]):
            numpyro.sample("y", dist.Gamma(a, 1.0).mask(seen > 0.5), obs=y)
    """
    seen = np.arange(N_ROWS) % 4 > 0
    y = np.where(seen, 0.5, 0.0)
    y[[6, 11]] = 0.0
    words = "row 7 has y = 0, which is outside .*: it takes the numbers above 0 .and 1 more row.$"
    with pytest.raises(StudyError, match=words):
        make(tmp_path, table(y=y, seen=seen.astype(int)), source)


def test_a_mask_that_leaves_nothing_out_may_lie_over_everything(tmp_path):
    source = """
    def model(x, y=None):
        with numpyro.handlers.mask(mask=jnp.array(True)):
            b = numpyro.sample("b", dist.Normal(0, 1))
            with numpyro.plate("rows", x.shape[0]):
                numpyro.sample("y", dist.Normal(b * x, 1), obs=y)
    """
    make(tmp_path, table(), source)


UNDERFLOW = """
from jax.scipy.special import ndtr

def model(x, y=None):
    scale = numpyro.sample("scale", dist.Uniform(0.9, 1.1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Bernoulli(probs=2 * ndtr(x / scale) - 1), obs=y)
"""


def test_a_likelihood_that_only_float64_can_hold_is_refused_with_its_row(tmp_path):
    """A miss at 6 sds has a probability of 2e-9; in float32 it is that of the clipped one, 1e-7."""
    x, y = np.full(N_ROWS, 0.5), np.ones(N_ROWS)
    x[7], y[7] = 6.0, 0.0
    words = (
        "row 8: float32 loses the log likelihood of the site y: -1[0-9.]+ where float64 gives -[12]"
    )
    with pytest.raises(StudyError, match=words):
        make(tmp_path, table(x=x, y=y), UNDERFLOW)
    y[7] = 1.0
    make(tmp_path / "fine", table(x=x, y=y), UNDERFLOW)


UNPLATED = """
def model(n_rows, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(mu, 1), obs=y)
"""
SHAPE_OF_OUTCOME = """
def model(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Normal(mu, 1), obs=y)
"""


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            UNPLATED,
            r"the site y must have one value per row when y is None.* the shape \(\): put it",
        ),
        (
            SHAPE_OF_OUTCOME,
            "line 8: the model raises TypeError: .* when y is None, as it is when it",
        ),
    ],
)
def test_a_model_that_cannot_predict_is_refused(tmp_path, source, words):
    with pytest.raises(StudyError, match=words):
        make(tmp_path, table(), source)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"metric": [["mu", "mus"]]},
            "sampler.metric names mus, which is no latent site of .*model.py, did you",
        ),
        (
            {"keep": ["mus"]},
            "sampler.keep names mus, which is no site of .*model.py, did you mean mu",
        ),
    ],
)
def test_settings_that_name_no_site_are_refused(tmp_path, settings, words):
    with pytest.raises(StudyError, match=words):
        make(tmp_path, table(), sampler=settings)


def test_a_column_of_levels_is_not_called_as_the_dimensions_of_draws(tmp_path):
    source = """
    def model(x, draw, n_draw, y=None):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        effect = numpyro.sample("effect", dist.Normal(0.0, 1.0).expand([n_draw]))
        numpyro.sample("y", dist.Normal(mu + effect[draw], 1.0), obs=y)
    """
    with pytest.raises(StudyError, match="draw index the site effect, but posterior.nc has a dim"):
        make(tmp_path, table(draw=["a", "b"] * (N_ROWS // 2)), source)


def test_a_model_with_nothing_to_compare_is_refused(tmp_path):
    source = """
    def model(x, y=None):
        with numpyro.plate("rows", x.shape[0]):
            z = numpyro.sample("z", dist.Normal(0, 1))
            numpyro.sample("y", dist.Normal(z, 1), obs=y)
    """
    with pytest.raises(StudyError, match="no latent site can be compared across fits"):
        make(tmp_path, table(), source)


def test_units_beyond_count_do_not_enter_the_prior(tmp_path):
    """The prior is drawn 20,000 times: with every unit of the data it would fill the memory."""
    source = """
    def model(patient, n_patient, y=None):
        if n_patient > 2 and patient.shape[0] == 2:
            raise ValueError("all units are here")
        mu = numpyro.sample("mu", dist.Normal(0, 1))
        with numpyro.plate("patients", n_patient):
            z = numpyro.sample("z", dist.Normal(0, 1))
        with numpyro.plate("rows", patient.shape[0]):
            numpyro.sample("y", dist.Normal(mu + z[patient], 1), obs=y)
    """
    frame = table(patient=[f"p{i // 2}" for i in range(N_ROWS)])
    make(tmp_path, frame, source, data={"unit": "patient"})


# ---- starts


def starts_of(small, settings=None):
    batch = batches.read_batches(
        small.folder, small.tasks("subset-01"), "y", small.study.model, "float32"
    )[0]
    keys = sample_batch.fit_key(1, "subset-01")[None]
    return batch, find_starts.find_starts(batch, settings or small.study.sampler, keys)


def test_starts_are_finite_draws_from_the_prior(tmp_path):
    small = make(tmp_path, table(y=np.arange(N_ROWS) % 2.0), BINARY)
    batch, starts = starts_of(small)
    assert starts["rate"].shape == (1, 2)
    uniform = dataclasses.replace(small.study.sampler, start="uniform", chains=50)
    _, starts = starts_of(small, uniform)
    assert starts["rate"].shape == (1, 50)
    assert (np.abs(starts["rate"]) < 2).all()


BROKEN = """
def model(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal({mean}, 1), obs=y)
"""


@pytest.mark.parametrize(
    ("mean", "words"),
    [
        (
            "mu + jnp.log(x)",
            "no start has a finite log density: the site y is to blame at row {row}$",
        ),
        (
            "jnp.sqrt((mu * (x > 0)) ** 2)",
            "no start has a finite gradient: the site y is to blame at row {row}, in the direction of mu$",
        ),
    ],
)
def test_a_row_without_a_finite_density_or_gradient_is_named(tmp_path, mean, words, monkeypatch):
    """Every row of the file passes the preflight at other values, so that only a start shows it."""
    x = np.full(N_ROWS, 1.0)
    x[::3] = -1.0  # so that one lies in the subset
    monkeypatch.setattr(check_rows, "check_rows", lambda *arguments: None)
    small = make(tmp_path, table(x=x), BROKEN.replace("{mean}", mean))
    (task,) = small.tasks("subset-01")
    rows = store.read_rows(small.folder.data, task.slices, ["x", store.FILE_ROW])
    bad = rows[store.FILE_ROW][rows["x"] < 0][:3]
    with pytest.raises(
        StudyError, match="subset-01: " + words.format(row=", ".join(map(str, bad)))
    ):
        starts_of(small)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("numpyro.factor('penalty', jnp.log(-jnp.abs(mu)))", "the site penalty is to blame"),
        ("numpyro.sample('s', dist.Normal(mu, mu - 9.0))", "the site s is to blame"),
    ],
)
def test_a_site_without_a_finite_density_is_named(tmp_path, line, words, monkeypatch):
    monkeypatch.setattr(check_rows, "check_rows", lambda *arguments: None)
    source = small_studies.CONJUGATE.replace("    with", f"    {line}\n    with")
    small = make(tmp_path, table(), source)
    with pytest.raises(StudyError, match=f"no start has a finite log density: {words}"):
        starts_of(small)
