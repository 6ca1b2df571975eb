"""The sites of a model: found without computing, indexed by columns or rows, compared or not."""

import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers

from scalecheck.errors import StudyError
from scalecheck.model import binding, sites
from scalecheck.model.rows import make_rows, pad_rows
from scalecheck.model.sites import Site
from scalecheck.study.settings import ModelSettings

LABELS = {"y": None, "x": None, "group": ["a", "b", "c"], "year": ["2018", "2019"]}
N_ROWS = 7
IMPORTS = """
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
"""


def bound_rows(tmp_path, source, outcome="y"):
    path = tmp_path / "model.py"
    path.write_text(IMPORTS + textwrap.dedent(source), encoding="utf-8")
    settings = ModelSettings(str(path), "model", {}, None)
    bound = binding.bind(binding.load_model(settings), settings, outcome, LABELS, frozenset())
    rng = np.random.default_rng(1)
    values = {
        "y": rng.standard_normal(N_ROWS),
        "x": rng.standard_normal(N_ROWS),
        "group": rng.integers(3, size=N_ROWS),
        "year": rng.integers(2, size=N_ROWS),
    }
    return bound, make_rows(bound, values, LABELS)


def describe(tmp_path, source):
    bound, rows = bound_rows(tmp_path, source)
    return bound, {site.name: site for site in sites.describe_sites(bound, rows)}


EVERYTHING = """
def model(x, group, n_group, n_year, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1).expand([2]))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(4)))
    effect = numpyro.sample("effect", dist.Normal(0, 1).expand([n_group, 3]).to_event(1))
    crossed = numpyro.sample("crossed", dist.Normal(0, 1).expand([n_year, n_group]).to_event(2))
    noise = numpyro.sample("noise", dist.Normal(0, 1).expand([x.shape[0]]))
    mean = numpyro.deterministic("mean", mu[0] + effect[group, 0] + noise)
    numpyro.factor("penalty", -jnp.sum(crossed**2))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mean, 1), obs=y)
"""


def test_every_dimension_is_named_by_the_column_or_the_rows_that_index_it(tmp_path):
    _, found = describe(tmp_path, EVERYTHING)
    assert found == {
        "mu": Site("mu", "latent", (2,), ("mu_dim_0",)),
        "share": Site("share", "latent", (4,), ("share_dim_0",)),
        "effect": Site(
            "effect", "latent", (3, 3), ("group", "effect_dim_1"), ("group",), (("group", 0),)
        ),
        "crossed": Site(
            "crossed",
            "latent",
            (2, 3),
            ("year", "group"),
            ("group", "year"),
            (("group", 1), ("year", 0)),
        ),
        "noise": Site("noise", "latent", (N_ROWS,), ("row",), ("rows",), (("rows", 0),)),
        "mean": Site("mean", "deterministic", (N_ROWS,), ("row",), ("rows",)),
        "penalty": Site("penalty", "factor", (0,), ("penalty_dim_0",)),
        "y": Site("y", "observed", (N_ROWS,), ("row",), ("rows",), (), ("effect", "mu", "noise")),
    }


def test_a_column_may_be_called_row(tmp_path, monkeypatch):
    monkeypatch.setitem(LABELS, "row", ["a", "b", "c"])
    source = EVERYTHING.replace("group, n_group", "group, n_row").replace("n_group", "n_row")
    _, found = describe(tmp_path, source)
    assert found["effect"].indexed_by == ("row",)
    assert found["effect"].dims == ("row", "effect_dim_1")
    assert found["noise"].indexed_by == found["noise"].dims == ("rows",)
    assert found["noise"].shape == (N_ROWS,)


CONTRASTS = """
def model(x, group, n_group, y=None):
    contrast = numpyro.sample("contrast", dist.Normal(0, 1).expand([n_group - 1]))
    correlation = numpyro.sample("correlation", dist.LKJCholesky(n_group))
    effect = numpyro.sample("group", dist.Normal(0, 1).expand([n_group]))
    numpyro.sample("y", dist.Normal(effect[group] + x, 1), obs=y)
"""


def test_labels_are_given_only_where_each_level_has_one_entry_and_the_name_is_free(tmp_path):
    bound, found = describe(tmp_path, CONTRASTS)
    assert found["contrast"] == Site("contrast", "latent", (2,), ("contrast_dim_0",), ("group",))
    assert found["correlation"].dims == ("correlation_dim_0", "correlation_dim_1")
    assert found["group"].dims == ("group_dim_0",)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    raise ValueError('why')", r"line 6: the model raises ValueError: why"),
        ("    jnp.ones(3) + x", r"line 6: the model raises TypeError"),
        ("    numpyro.sample('a', dist.Normal(0, 1))", "no site is observed: give numpyro.sample"),
        (
            "    k = numpyro.sample('k', dist.Poisson(3))\n    numpyro.sample('y', dist.Normal(k, 1), obs=y)",
            "the latent site k is discrete, which NUTS cannot sample",
        ),
    ],
)
def test_a_model_that_cannot_be_fitted_is_refused(tmp_path, body, words):
    bound, rows = bound_rows(tmp_path, f"def model(x, y=None):\n{body}\n")
    with pytest.raises(StudyError, match=words):
        sites.describe_sites(bound, rows)


def test_two_observed_sites_are_refused(tmp_path):
    source = """
    def model(x, y=None):
        numpyro.sample("x", dist.Normal(0, 1), obs=x)
        numpyro.sample("y", dist.Normal(0, 1), obs=y)
    """
    bound, found = describe(tmp_path, source)
    with pytest.raises(StudyError, match="exactly one site must be observed, got x, y"):
        sites.observed_site(bound, list(found.values()))


PLATED = """
def model(x, y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(b * x, 1), obs=y)
"""
UNPLATED = """
def model(y=None):
    b = numpyro.sample("b", dist.Normal(0, 1))
    numpyro.sample("y", dist.Normal(b, 1), obs=y)
"""


@pytest.mark.parametrize("source", [PLATED, UNPLATED])
@pytest.mark.parametrize("b", [-1.5, 0.3])
def test_masked_rows_change_neither_density_nor_gradient(tmp_path, source, b):
    bound, rows = bound_rows(tmp_path, source)
    padded = pad_rows(rows, 2 * N_ROWS)
    function = sites.function_of_arrays(bound, {})

    def energy(b, arrays):
        return -density_of(function, b, arrays)

    own = jax.value_and_grad(energy)(b, rows.arrays)
    whole = jax.value_and_grad(energy)(b, padded)
    np.testing.assert_allclose(whole, own, rtol=2e-6)


def density_of(function, b, arrays):
    from numpyro.infer.util import log_density

    return log_density(function, (), dict(arrays), {"b": b})[0]


def test_the_mask_spares_the_prior(tmp_path):
    bound, rows = bound_rows(tmp_path, PLATED)
    none = {**rows.arrays, "row_mask": np.zeros(N_ROWS, bool)}
    found = density_of(sites.function_of_arrays(bound, {}), 0.7, none)
    assert float(found) == pytest.approx(-0.5 * 0.7**2 - 0.5 * np.log(2 * np.pi), rel=1e-6)


def test_the_mask_takes_whole_rows_of_a_matrix(tmp_path):
    source = """
    def model(x, y=None):
        b = numpyro.sample("b", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(b * jnp.ones(3), 1.0), obs=y)
    """
    bound, rows = bound_rows(tmp_path, source)
    y = np.random.default_rng(2).standard_normal((N_ROWS, 3)).astype("float32")
    function = sites.function_of_arrays(bound, {})
    mask = np.arange(N_ROWS) < 4
    masked = density_of(function, 0.3, {"x": rows.arrays["x"], "y": y, "row_mask": mask})
    own = density_of(function, 0.3, {"x": rows.arrays["x"][:4], "y": y[:4]})
    assert float(masked) == pytest.approx(float(own), rel=1e-6)


def observed_at(tmp_path, source, y, **arrays):
    bound, _ = bound_rows(tmp_path, source)
    function = sites.function_of_arrays(bound, {})
    with_values = handlers.substitute(function, data={"b": jnp.float32(0.3)})
    given = {"x": jnp.linspace(0.1, 2.0, N_ROWS, dtype="float32"), "y": y, **arrays}
    return sites.traced(with_values, given, jax.random.key(0))["y"]


COUNTS = np.array([0, 1, 2, 0, 1, 2, 1], "float32")
DISCRETE = {
    "Bernoulli(logits=b * x)": 1,
    "Poisson(jnp.exp(b * x))": None,
    "Binomial(3, logits=b * x)": None,
    "NegativeBinomial2(jnp.exp(b * x), 2.0)": None,
    "Geometric(logits=b * x)": None,
    "ZeroInflatedPoisson(0.2, jnp.exp(b * x))": None,
}
LOOKED_UP = (
    "Categorical(logits=jnp.stack([0 * x, b + x, b * x], axis=-1))",
    "Categorical(logits=b * jnp.arange(3.0)).expand(x.shape)",
    "OrderedLogistic(b * x, jnp.array([-1.0, 1.0]))",
    "ZeroInflatedDistribution(dist.Categorical(logits=b * jnp.arange(3.0)), gate=0.1)",
)


def discrete(distribution):
    return PLATED.replace("Normal(b * x, 1)", distribution)


@pytest.mark.parametrize("distribution", DISCRETE)
def test_what_takes_floats_is_given_them(tmp_path, distribution):
    y = np.minimum(COUNTS, DISCRETE[distribution] or 9)
    found = observed_at(tmp_path, discrete(distribution), y)
    assert found["value"] is y
    assert "uncast" not in found
    # Integers would be the same here, but for the last bit.
    by_integers = found["fn"].log_prob(y.astype("int32"))
    np.testing.assert_allclose(found["fn"].log_prob(y), by_integers, rtol=1e-6)


@pytest.mark.parametrize("distribution", LOOKED_UP)
@pytest.mark.parametrize("mask", [{}, {"row_mask": np.arange(N_ROWS) < 5}])
def test_what_looks_its_value_up_is_given_integers(tmp_path, distribution, mask):
    found = observed_at(tmp_path, discrete(distribution), COUNTS, **mask)
    exact = observed_at(tmp_path, discrete(distribution), COUNTS.astype("int32"), **mask)
    assert found["value"].dtype == "int32"
    assert found["uncast"] is COUNTS
    np.testing.assert_array_equal(
        found["fn"].log_prob(found["value"]), exact["fn"].log_prob(exact["value"])
    )


@pytest.mark.parametrize(
    "distribution",
    [
        "Binomial(trials, logits=b * x)",
        "BetaBinomial(jnp.exp(b * x), 1.0, trials)",
        "ZeroInflatedDistribution(dist.Binomial(trials, logits=b * x), gate=0.2)",
    ],
)
def test_an_outcome_is_drawn_of_as_many_trials_as_a_column_says(tmp_path, distribution):
    source = discrete(distribution).replace("    b =", "    trials = 3.0 + 0.0 * x\n    b =")
    drawn = observed_at(tmp_path, source, None)["value"]
    assert drawn.shape == (N_ROWS,)
    assert ((drawn >= 0) & (drawn <= 3)).all()
