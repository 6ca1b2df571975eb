"""The search for remedies: what is proposed, which fit is searched, and that it finds what helps."""

import dataclasses
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

from scalecheck.errors import StudyError
from scalecheck.remedies import (
    block_metric,
    choose_fit,
    models_without_data,
    neutra,
    problem,
    propose,
    search,
)
from scalecheck.remedies.candidate import Candidate, combined

GEOMETRY = Path(__file__).parent / "benchmarks/geometry/targets.py"


# ---- what is proposed


def test_correlated_sites_share_a_block_and_others_none():
    where = [("x", slice(0, 2)), ("y", slice(2, 3)), ("z", slice(3, 4)), ("u", slice(4, 6))]
    strong = np.zeros((6, 6), bool)
    strong[0, 3] = strong[3, 0] = True
    assert block_metric.blocks_of(where, strong) == [["x", "z"]]
    strong[4, 5] = strong[5, 4] = True
    assert block_metric.blocks_of(where, strong) == [["x", "z"], ["u"]]


def pair():
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(x, 0.2))
    numpyro.sample("apart", dist.Normal(0.0, 1.0).expand([4]))


@pytest.mark.parametrize("is_walk", [False, True])
def test_correlations_are_those_of_the_posterior_though_chains_hardly_moved(is_walk):
    """Random walks of 500 steps correlate strongly by chance; curvature does not."""
    one = problem.problem_of_batch(
        models_without_data.batch_without_data(pair, "pair"),
        models_without_data.default_sampler(10),
        0,
        100,
    )
    rng = np.random.default_rng(2)
    z = rng.standard_normal((4, 500, 6))
    z[..., 1] = z[..., 0] + 0.2 * z[..., 1]
    if is_walk:
        z = rng.standard_normal((4, 500, 6)).cumsum(axis=1)
        assert (np.abs(np.corrcoef(z.reshape(-1, 6), rowvar=False)) > 0.5).sum() > 6
    strong = block_metric.correlated(one, z.astype("float32"))
    assert [tuple(pair) for pair in np.argwhere(strong)] == [(0, 1), (1, 0)]


def funnel():
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    numpyro.sample("few", dist.Normal(mu, tau).expand([4]))
    many = numpyro.sample("many", dist.Normal(mu, tau).expand([4]))
    numpyro.sample("obs", dist.Normal(many, 1e-3), obs=np.array([0.3, 1.2, -0.6, 0.1]))


@pytest.fixture(scope="module")
def of_funnel():
    one = models_without_data.batch_without_data(funnel, "funnel")
    return problem.problem_of_batch(one, models_without_data.default_sampler(10), 0, 100)


def test_sites_are_recentred_whose_location_or_scale_depends_on_others(of_funnel):
    assert propose.recentrable(of_funnel) == ["few", "many"]


def test_the_centredness_is_learnt_from_draws(of_funnel):
    """A site that the data leave alone is best not centred; one that they fix, centred."""
    rng = np.random.default_rng(3)
    shape = (4, 500)
    mu, tau = 0.3 + 0.2 * rng.standard_normal(shape), np.exp(0.4 * rng.standard_normal(shape))
    few = mu[..., None] + tau[..., None] * rng.standard_normal((*shape, 4))
    many = np.array([0.3, 1.2, -0.6, 0.1]) + 1e-3 * rng.standard_normal((*shape, 4))
    sites = {"mu": mu, "tau": np.log(tau), "few": few, "many": many}
    z = np.asarray(
        of_funnel.vector.pack({n: np.asarray(v, "float32") for n, v in sites.items()}, 2)
    )
    assert propose.learn_centredness(of_funnel, z) == {"few": 0.0, "many": 1.0}
    # A scale of 0: not centred, the coordinates of that draw are not finite.
    sites["tau"][0, 0] = -1000.0
    z = np.asarray(
        of_funnel.vector.pack({n: np.asarray(v, "float32") for n, v in sites.items()}, 2)
    )
    assert propose.learn_centredness(of_funnel, z) == {"few": 1.0, "many": 1.0}


def test_a_candidate_says_the_lines_of_its_study_file():
    settings = dataclasses.replace(models_without_data.default_sampler(10), reparam={"theta": 0.5})
    one = Candidate("reparam", {"reparam": {"betas": 0.0}})
    both = combined(one, Candidate("metric", {"metric": [["x1", "x2"]]}))
    assert both.name == "reparam: {betas: 0}, metric: [[x1, x2]]"
    expected = "sampler:\n  reparam: {theta: 0.5, betas: 0}\n  metric: [[x1, x2]]"
    assert both.lines(settings) == expected
    assert Candidate("as it is", {}).lines(settings) == ""


# ---- which fit


FITS = [
    {
        "fit": "subset-01",
        "kind": "subset",
        "status": "done",
        "usable": True,
        "rows": 100,
        "reason": "",
    },
    {
        "fit": "increment-01",
        "kind": "increment",
        "status": "done",
        "usable": True,
        "rows": 50,
        "reason": "",
    },
    {
        "fit": "increment-02",
        "kind": "increment",
        "status": "done",
        "usable": True,
        "rows": 200,
        "reason": "",
    },
]


def finding(family, fit, p):
    return {"family": family, "fit": fit, "p": p, "message": f"{family} speaks of {fit}"}


@pytest.mark.parametrize(
    ("findings", "unusable", "always", "expected"),
    [
        ([], None, False, ""),
        ([], None, True, "increment-01"),
        ([finding("agreement", "subset-01", 1e-9)], None, False, ""),
        ([finding("scaling", "increment-02", 0.2)], None, False, ""),
        ([finding("scaling", "increment-02", 1e-3)], None, False, "increment-02"),
        (
            [finding("scaling", "increment-02", 1e-3), finding("effort", "subset-01", 0.01)],
            None,
            True,
            "subset-01",
        ),
        ([], "increment-02", False, "increment-02"),
        ([finding("adaptation", "increment-02", float("nan"))], None, False, ""),
    ],
)
def test_the_smallest_fit_is_searched_that_shows_the_trouble(findings, unusable, always, expected):
    fits = [one | {"usable": one["fit"] != unusable} for one in FITS]
    found = choose_fit.choose_fit(findings, fits, 0.05, always=always)
    assert found.fit == expected
    assert found.reason


# ---- searches


def target(name, depth, gradients):
    return models_without_data.problem_of_target(
        f"{GEOMETRY}:{name}", models_without_data.default_sampler(depth), gradients
    )


@pytest.mark.long
def test_the_search_finds_the_dense_metric_of_two_dimensions():
    found = search.search_remedies(target("two_dimensional", 3, 8_000), lambda line: None)
    assert found.best is not None
    assert found.best.changes["metric"] == "dense"
    assert "  metric: dense" in found.lines
    table = found.table.set_index("candidate")
    assert table["gain_low"][found.best.name] > 1.5
    assert not (table["status"] == "differs").any()


def test_the_block_of_the_sites_that_are_correlated_is_proposed():
    """By the curvature of the energy, from chains that say nothing."""
    one = target("partially_correlated", 3, 100)
    z = np.random.default_rng(1).standard_normal((4, 100, 104)).cumsum(axis=1).astype("float32")
    proposed = [candidate.changes for candidate in propose.candidates_from_draws(one, z)]
    assert proposed == [{"metric": [["x1", "x2"]]}]


# ---- what cannot be sampled


def of_model(model, gradients):
    return problem.problem_of_batch(
        models_without_data.batch_without_data(model, "t.py: m"),
        models_without_data.default_sampler(10),
        0,
        gradients,
    )


def test_a_single_scalar_gets_no_flow(monkeypatch):
    """NumPyro has none, and would raise; nothing converges with so few gradients."""
    monkeypatch.setattr(search.propose, "first_candidates", lambda one, first: [])

    def model():
        numpyro.sample("x", dist.Cauchy(0.0, 1.0))

    found = search.search_remedies(of_model(model, 20), lambda line: None)
    assert found.table["candidate"].to_list() == ["as it is"]
    assert found.best is None


def test_a_flow_is_counted_in_all_latent_scalars_not_in_those_that_are_compared():
    """A site of many scalars may not be compared, and would be in the flow."""

    def model():
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
        numpyro.sample("many", dist.Normal(mu, 1.0).expand([2500]).to_event(1))

    one = of_model(model, 20)
    assert len(one.vector.names) == 1
    assert one.n_scalars == 2501 > neutra.MOST_SCALARS


def no_density():
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("y", -jnp.inf * (1 + x**2))


def test_a_model_without_a_start_is_told_by_the_site_that_is_to_blame():
    found = search.search_remedies(of_model(no_density, 20), lambda line: None)
    assert set(found.table["status"]) == {"no draws"}
    (line,) = search.advice(found)
    assert line.startswith(
        "No candidate could be sampled: t.py: m: no start has a finite log density"
    )
    assert "the site y is to blame" in line


# ---- bad input


def discrete():
    numpyro.sample("z", dist.Bernoulli(0.5))


def test_a_discrete_latent_site_is_refused_in_one_line():
    with pytest.raises(StudyError, match="t.py: m: the latent site z is discrete, which NUTS"):
        of_model(discrete, 20)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("targets.py", "--target must be FILE:FUNCTION, got targets.py"),
        (f"{GEOMETRY}:two_dimension", "--target must be a function of this file"),
        (f"{GEOMETRY}:_data", "the model raises TypeError"),
    ],
)
def test_what_is_no_target_is_refused_in_one_line(given, words):
    with pytest.raises(StudyError, match=re.escape(words)) as caught:
        models_without_data.problem_of_target(given, models_without_data.default_sampler(10), 100)
    assert "\n" not in str(caught.value)
