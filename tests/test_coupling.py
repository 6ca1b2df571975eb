"""How rows depend on each other: found from the density of a model on some rows."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import small_studies
from numpyro.contrib.control_flow import scan

from scalecheck.data import store
from scalecheck.examine.run_agreement_and_drift import run_agreement
from scalecheck.files import formats
from scalecheck.model import sites
from scalecheck.model.binding import bind
from scalecheck.model.coupling import read_coupling
from scalecheck.model.find_coupling import find_coupling
from scalecheck.model.roles import compared_sites
from scalecheck.model.rows import make_rows
from scalecheck.results.study_fits import StudyFits
from scalecheck.study.settings import ModelSettings

N_ROWS = 600
RNG = np.random.default_rng(7)
LABELS = {"x": None, "y": None, "hit": None, "t": None, "g": list("abcdefgh"), "p": None}
VALUES = {
    "x": RNG.normal(3, 2, N_ROWS),
    "y": RNG.normal(size=N_ROWS),
    "hit": RNG.integers(2, size=N_ROWS).astype(float),
    "t": np.arange(N_ROWS) / 10,
    "g": RNG.integers(8, size=N_ROWS),
    "p": np.repeat(np.arange(100), 6),
}
LABELS["p"] = [f"p{i}" for i in range(100)]


def coupling(model, values=VALUES, unit=None, outcome="y"):
    bound = bind(model, ModelSettings("model.py", "model", {}, None), outcome, LABELS, frozenset())
    rows = make_rows(bound, values, LABELS)
    found = sites.describe_sites(bound, rows)
    compared = compared_sites(bound, found, unit, None)
    return find_coupling(bound, values, LABELS, unit, found, compared, 1)


def shared():
    return [numpyro.sample(name, dist.Normal(0, 1)) for name in "ab"]


def observe(mean, y):
    s = numpyro.sample("s", dist.HalfNormal(1))
    with numpyro.plate("rows", mean.shape[0]):
        numpyro.sample("Y", dist.Normal(mean, s), obs=y)


# ---- rows that do not depend on each other


def regression(x, y=None):
    a, b = shared()
    observe(a + b * x, y)


def of_n_rows(n_rows, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", n_rows):
        numpyro.sample("Y", dist.Normal(mu, 1), obs=y)


def no_parameters(n_rows, y=None):
    numpyro.sample("Y", dist.Normal(0, 1).expand([n_rows]), obs=y)


def overdispersed(x, y=None):
    a, b = shared()
    with numpyro.plate("each", x.shape[0]):
        e = numpyro.sample("e", dist.Normal(0, 1))
    observe(a + b * x + e, y)


def groups(x, g, n_g, y=None):
    a, b = shared()
    with numpyro.plate("gs", n_g):
        u = numpyro.sample("u", dist.Normal(a, 1))
    observe(u[g] + b * x, y)


def units(x, p, n_p, y=None):
    a, b = shared()
    with numpyro.plate("ps", n_p):
        u = numpyro.sample("u", dist.Normal(0, 1))
    observe(a + u[p] + b * x, y)


def contrasts(x, p, n_p, y=None):
    a, b = shared()
    u = numpyro.sample("u", dist.Normal(0, 1).expand([n_p - 1]).to_event(1))
    observe(a + jnp.append(u, -u.sum())[p] + b * x, y)


def single(x, y=None):
    """A model that computes in float32, whatever it is given."""
    a, b = shared()
    x = x.astype("float32")
    observe((a + b * x).astype("float32"), y)


def marginalised(x, y=None):
    a, b = shared()
    mixture = dist.Categorical(probs=jnp.array([0.3, 0.7]))
    parts = dist.Normal(jnp.stack([a + b * x, -a + b * x], -1), 1)
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("Y", dist.MixtureSameFamily(mixture, parts), obs=y)


def penalised(x, y=None):
    a, b = shared()
    numpyro.factor("penalty", -jnp.sum((b * x) ** 2))
    observe(a + b * x, y)


def of_unit_means(x, p, n_p, y=None):
    """Centred within its unit, which is whole in every fit."""
    a, b = shared()
    means = jax.ops.segment_sum(x, p, n_p) / jax.ops.segment_sum(jnp.ones_like(x), p, n_p)
    observe(a + b * (x - means[p]), y)


# ---- rows that share a density


def process(x, y=None):
    width = numpyro.sample("width", dist.LogNormal(0, 0.3))
    kernel = jnp.exp(-(((x[:, None] - x) / width) ** 2)) + 0.1 * jnp.eye(len(x))
    numpyro.sample("Y", dist.MultivariateNormal(jnp.zeros(len(x)), kernel), obs=y)


def _kernel(x):
    width = numpyro.sample("width", dist.LogNormal(0, 0.3))
    return jnp.exp(-(((x[:, None] - x) / width) ** 2)) + 1e-4 * jnp.eye(len(x))


def latent_process(x, y=None):
    f = numpyro.sample("f", dist.MultivariateNormal(jnp.zeros(len(x)), _kernel(x)))
    observe(f, y)


def noncentred_process(x, y=None):
    root = jnp.linalg.cholesky(_kernel(x))
    observe(root @ numpyro.sample("z", dist.Normal(0, 1).expand([len(x)]).to_event(1)), y)


# ---- rows that continue each other


def lagged(y=None, n_rows=None):
    a, b = shared()
    numpyro.sample("Y", dist.Normal(a + b * y[:-1], 1), obs=y[1:])


def long_lag(y=None, n_rows=None):
    a, b = shared()
    numpyro.sample("Y", dist.Normal(a + b * y[:-100], 1), obs=y[100:])


def lagged_from_zero(x, y=None):
    a, b = shared()
    observe(a + b * jnp.concatenate([jnp.zeros(1), x[:-1]]), y)


def scanned(x, y=None):
    a, b = shared()

    def step(before, now):
        return numpyro.sample("Y", dist.Normal(a + b * before, 1), obs=now), None

    scan(step, 0.0, y)


def trend(x, y=None):
    a, b = shared()
    observe(a + b * jnp.arange(x.shape[0]), y)


def cumulated(x, y=None):
    a, b = shared()
    observe(a + b * jnp.cumsum(x), y)


def walk(x, y=None):
    observe(numpyro.sample("f", dist.GaussianRandomWalk(1.0, num_steps=len(x))), y)


def noncentred_walk(x, y=None):
    with numpyro.plate("steps", len(x)):
        z = numpyro.sample("z", dist.Normal(0, 1))
    observe(jnp.cumsum(z), y)


def scanned_walk(x, y=None):
    def step(before, _):
        after = numpyro.sample("f", dist.Normal(before, 1))
        return after, after

    observe(scan(step, 0.0, x)[1], y)


def by_position(x, y=None):
    """A covariance by the numbers of rows: which blocks it allows cannot be seen."""
    s = numpyro.sample("s", dist.LogNormal(0, 0.3))
    number = jnp.arange(len(x))
    kernel = s * 0.8 ** jnp.abs(number[:, None] - number)
    numpyro.sample("Y", dist.MultivariateNormal(jnp.zeros(len(x)), kernel), obs=y)


def within_units(x, p, n_p, y=None):
    a, b = shared()
    first = jnp.concatenate([jnp.ones(1, bool), p[1:] != p[:-1]])
    observe(a + b * jnp.where(first, 0.0, jnp.concatenate([x[:1], x[:-1]])), y)


# ---- statistics of rows


def centred(x, y=None):
    a, b = shared()
    observe(a + b * (x - x.mean()), y)


def standardised(x, y=None):
    a, b = shared()
    observe(a + b * (x - x.mean()) / x.std(), y)


def relative(x, y=None):
    a, b = shared()
    observe(a + b * x / x.max(), y)


def ranked(x, y=None):
    a, b = shared()
    observe(a + b * jnp.argsort(jnp.argsort(x)), y)


def shares(x, y=None):
    a, b = shared()
    observe(a + b * jnp.cumsum(x) / x.sum(), y)


def centred_outcome(x, y=None, n_rows=None):
    a, b = shared()
    mean = 0.0 if y is None else y.mean()
    observe(a + b * x, None if y is None else y - mean)


def within_pairs(x, p, n_p, y=None):
    within_groups(x, p, n_p, y)


def counted(x, n_rows, y=None):
    a, b = shared()
    observe(a + b * x / n_rows, y)


def scaled_time(x, y=None):
    a, b = shared()
    observe(a + b * jnp.linspace(0, 1, x.shape[0]), y)


def centred_lag(x, y=None):
    a, b = shared()
    x = x - x.mean()
    observe(a + b * jnp.concatenate([jnp.zeros(1), x[:-1]]), y)


def basis(x, y=None):
    weights = numpyro.sample("w", dist.Normal(0, 1).expand([3]).to_event(1))
    knots = jnp.quantile(x, jnp.array([0.2, 0.5, 0.8]))
    observe(jnp.maximum(0, x[:, None] - knots) @ weights, y)


def orthogonal(x, t, y=None):
    weights = numpyro.sample("w", dist.Normal(0, 1).expand([2]).to_event(1))
    observe(jnp.linalg.qr(jnp.stack([x, t], 1))[0] @ weights, y)


def within_groups(x, g, n_g, y=None):
    a, b = shared()
    means = jax.ops.segment_sum(x, g, n_g) / jax.ops.segment_sum(jnp.ones_like(x), g, n_g)
    observe(a + b * (x - means[g]), y)


def rate(hit=None, n_rows=None):
    a, _ = shared()
    shift = 0.5 if hit is None else hit.mean()
    with numpyro.plate("rows", n_rows):
        numpyro.sample("Y", dist.Bernoulli(logits=a + shift), obs=hit)


KINDS = [
    *(
        (one, None, ("independent", True, ()))
        for one in (regression, of_n_rows, no_parameters, overdispersed, groups, units, single)
    ),
    (marginalised, None, ("independent", True, ())),
    (penalised, None, ("independent", True, ())),
    (units, "p", ("independent", True, ())),
    (contrasts, "p", ("independent", True, ())),
    (of_unit_means, "p", ("independent", True, ())),
    *((one, None, ("joint", True, ())) for one in (process, latent_process, noncentred_process)),
    (lagged, None, ("ordered", True, ())),
    (long_lag, None, ("ordered", True, ())),
    (within_units, "p", ("ordered", True, ())),
    *(
        (one, None, ("ordered", False, ()))
        for one in (lagged_from_zero, scanned, trend, cumulated, walk, scanned_walk, by_position)
    ),
    (noncentred_walk, None, ("ordered", False, ())),
    *(
        (one, None, ("statistic", True, ("x",)))
        for one in (centred, standardised, relative, ranked, shares, centred_lag, basis)
    ),
    (within_groups, None, ("statistic", True, ("x", "g"))),
    (within_pairs, None, ("statistic", True, ("x", "p"))),
    (centred_outcome, None, ("statistic", True, ("y",))),
    (orthogonal, None, ("statistic", True, ("x", "t"))),
    (counted, None, ("statistic", True, ())),
    (scaled_time, None, ("statistic", True, ())),
]


@pytest.mark.parametrize(
    ("model", "unit", "expected"), KINDS, ids=[f"{one.__name__}-{unit}" for one, unit, _ in KINDS]
)
def test_the_density_shows_how_rows_depend_on_each_other(model, unit, expected):
    assert coupling(model, unit=unit) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"hit": np.arange(N_ROWS) % 2.0},  # the mean of most halves is that of all
        {"hit": np.arange(N_ROWS) == 99.0},
    ],
)
def test_a_mean_of_outcomes_that_hardly_differ_is_seen(change):
    values = {name: np.asarray(column, float) for name, column in (VALUES | change).items()}
    found = coupling(rate, {**VALUES, "hit": values["hit"]}, outcome="hit")
    assert found == ("statistic", True, ("hit",))


def test_of_three_rows_nothing_is_known():
    few = {name: column[:3] for name, column in VALUES.items()}
    assert coupling(regression, few).kind == "independent"


# ---- studies of rows that continue each other

AUTOREGRESSION = """
def model(y=None, n_rows=None):
    a = numpyro.sample("a", dist.Normal(0, 2))
    phi = numpyro.sample("phi", dist.Uniform(-1, 1))
    s = numpyro.sample("s", dist.HalfNormal(2))
    numpyro.sample("Y", dist.Normal(a + phi * y[:-1], s), obs=y[1:])
"""
WALK = """
def model(y=None, n_rows=None):
    s = numpyro.sample("s", dist.HalfNormal(2))
    numpyro.sample("Y", dist.GaussianRandomWalk(s, num_steps=n_rows), obs=y)
"""


def autoregression(seed, n_rows=900):
    rng = np.random.default_rng(seed)
    y = np.zeros(n_rows)
    for t in range(1, n_rows):
        y[t] = 0.5 + 0.8 * y[t - 1] + rng.normal()
    return pd.DataFrame({"y": y})


def series(path, source):
    settings = {"subsets": {"count": 4, "size": 200}, "increments": {"start": 200, "end": 800}}
    return small_studies.make(path, autoregression(2), source, **settings)


def test_subsets_of_a_series_are_blocks_that_agree(tmp_path):
    small = series(tmp_path, AUTOREGRESSION)
    assert read_coupling(small.folder) == ("ordered", True, ())
    names = [f"subset-{number:02d}" for number in range(1, 5)]
    starts = [fit.start for fit in small.tasks(*names)]
    assert starts == [0, 400, 200, 600]
    for name, start in zip(names, starts, strict=True):
        rows = small.values(name, store.FILE_ROW)[store.FILE_ROW]
        assert rows.tolist() == list(range(start + 1, start + 201))
    fits = small.fit(*names)
    phi = np.array([float(fit.tree["posterior"]["phi"].mean()) for fit in fits])
    # The standard error of phi in 200 rows is sqrt((1 - 0.8**2) / 200), its bias -(1 + 3 * 0.8) / 200.
    assert (abs(phi - 0.783) < 4 * 0.042).all()
    tasks = small.tasks(*names)
    study = StudyFits(tasks, {}, dict(zip(names, fits, strict=True)))
    with jax.enable_x64(True):
        (finding,) = run_agreement(small.evidence(), study).findings
    assert finding.p is not None
    assert finding.p > 0.01
    assert "continue the rows before it" in small.evidence().likelihood.no_new_rows()


def test_of_a_series_that_begins_anew_in_no_block_no_subsets_are_planned(tmp_path):
    small = series(tmp_path, WALK)
    assert read_coupling(small.folder) == ("ordered", False, ())
    assert {row.kind for row in formats.read_plan(small.folder.plan)} == {"increment"}
    (finding,) = run_agreement(small.evidence(), StudyFits([], {}, {})).findings
    assert finding.p is None
    assert "no block of rows can be fitted without them" in finding.message
