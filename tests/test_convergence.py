"""What is the matter with a fit, decided from its draws: synthetic ones, and those of small models."""

import numpy as np
import pandas as pd
import pytest
import small_studies
import two_modes
from scipy.signal import lfilter

from scalecheck import diagnostics
from scalecheck.checks import convergence
from scalecheck.checks.chain_table import Sampling
from scalecheck.checks.convergence import CAUSES, FailedFit
from scalecheck.sampler import InitialAdaptation

N_DRAWS = 400
MU, AB = ("mu[0]", "mu[1]"), ("a", "b")


def series(rho, n_series=1, n_draws=N_DRAWS, seed=1):
    """Stationary series of unit sd, `(4, draw, series)`."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((4, n_draws + 500, n_series)) * np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise, axis=1)[:, 500:]


def walks(n_series=1, seed=2):
    return np.random.default_rng(seed).standard_normal((4, N_DRAWS, n_series)).cumsum(axis=1)


def sampling(n_draws=N_DRAWS, gaps=(0, 0, 0, 0), **changes):
    """What chains did whose potentials differ by so many sds of a normal posterior of two parameters."""
    rng = np.random.default_rng(3)
    shape = (4, n_draws)
    potential = rng.gamma(1.0, size=shape) + np.array(gaps, dtype=float)[:, None]
    good = Sampling(
        potential,
        potential + rng.gamma(1.0, size=shape),
        np.full(shape, 7),
        np.full(shape, 0.85),
        np.zeros(shape, dtype=bool),
        np.full(4, 0.5),
    )
    return good._replace(**changes)


def failed(z, names=AB, run=None, draws=100):
    return FailedFit(names, z, run or sampling(z.shape[1]), 10.0, draws)


def modes(*centres, seed=1):
    """Chains of unit sd about these centres `(chain, d)`."""
    return series(0.3, len(centres[0]), seed=seed) + np.array(centres, dtype=float)[:, None]


def cut(*chains):
    n_steps = np.full((4, N_DRAWS), 7)
    n_steps[list(chains)] = 1023
    return sampling(n_steps=n_steps, gaps=[50 * (chain in chains) for chain in range(4)])


def one_steps_little():
    step_size = np.array([0.5, 0.5, 1e-4, 0.5])
    return sampling(step_size=step_size, gaps=(0, 0, 30, 0))


def swapped():
    return modes((-5, 5), (5, -5), (-5, 5), (5, -5))


def hopping():
    """Two elements that trade places now and then, in every chain."""
    z = series(0.2, 2) + [-5, 5]
    places = np.random.default_rng(8).random((4, N_DRAWS)) < 0.005
    swap = (places.cumsum(axis=1) + np.array([0, 1, 0, 1])[:, None]) % 2 == 1
    return np.where(swap[..., None], z[..., ::-1], z)


def rows_swapped():
    """Two components of two dimensions: the rows of a matrix trade places."""
    centres = [(-5, 2, 5, -3), (5, -3, -5, 2), (-5, 2, 5, -3), (-5, 2, 5, -3)]
    return modes(*centres)


def a_constant():
    z = series(0.3, 2)
    z[:, :, 1] = np.array([1e8, 1e8, 1e8, 1e8 + 8])[:, None]
    return z


def one_still():
    z = series(0.3, 2)
    z[2] = z[2, :1] + 9
    return z


def ridge(noise=1e-3):
    a = walks()
    return np.concatenate([a, 3 - a + noise * series(0.0)], axis=2)


def infinite():
    z = series(0.3, 2)
    z[1, -1, 1] = np.inf
    return z


CASES = {
    "slow by R-hat": (failed(series(0.95, 2, seed=5)), "slow", "raise sampler.draws to "),
    "few draws": (failed(walks(2)[:, :20]), "few draws", "20 draws of a chain are too few"),
    "swapped": (failed(swapped(), MU), "order", "the elements of mu trade places"),
    **{
        f"swapped, labels {labels}": (
            failed(swapped(), [f"a[{label}]" for label in labels]),
            "order",
            "the elements of a trade places",
        )
        for labels in (("1", "2"), ("2018", "2019"), ("x", "y"), ("1,2", "3"), ("[b]", "c, d"))
    },
    "hopping": (failed(hopping(), MU), "order", "OrderedTransform"),
    "rows": (
        failed(rows_swapped(), ("m[0,0]", "m[0,1]", "m[1,0]", "m[1,1]")),
        "order",
        "the elements of m trade",
    ),
    "sign": (
        failed(modes((4, -6), (-4, 6), (4, -6), (4, -6))),
        "sign",
        "a and b change sign together",
    ),
    "worse mode": (
        failed(modes((0, 0), (0, 0), (7, 2), (0, 0)), run=sampling(gaps=(0, 0, 20, 0))),
        "modes",
        "the potential of chain 2 lies 20",
    ),
    "equal modes": (
        failed(modes((0, 0), (0, 0), (7, 2), (0, 0))),
        "modes",
        "which fit equally well",
    ),
    "ridge": (failed(ridge()), "unidentified", "a and b move as one (correlation -1.0"),
    "flat": (failed(1e5 * walks(2)), "improper", "wanders as far as"),
    "infinite": (failed(infinite()), "improper", "b is not finite in some draws"),
    "wandering": (failed(walks(2)), "wandering", "settle nowhere"),
    "all cut": (failed(walks(2), run=cut(0, 1, 2, 3)), "cut", "100% of the trees are cut"),
    "one cut": (
        failed(modes((0, 0), (9, 0), (0, 0), (0, 0)), run=cut(1)),
        "stuck",
        "chain 1 creeps",
    ),
    "collapsed": (
        failed(modes((0, 0), (0, 0), (9, 9), (0, 0)), run=one_steps_little()),
        "stuck",
        "(step size 0.0001, the others 0.5)",
    ),
    "scattered": (
        failed(
            modes((0, 0), (9, 9), (-9, 9), (20, 9)),
            run=sampling(step_size=np.array([1e-4, 2e-3, 0.03, 0.5]), gaps=(90, 30, 10, 0)),
        ),
        "stuck",
        "step sizes 0.0001 to 0.5): the posterior is far narrower",
    ),
    "one still": (failed(one_still()), "stuck", "chain 2 does not move"),
    "all still": (failed(series(0.3, 2)[:, :1].repeat(N_DRAWS, axis=1)), "still", "no chain moves"),
    "constant": (failed(a_constant()), "still", "b keeps one value while others move"),
    "funnel": (
        failed(walks(2), run=sampling(diverging=np.random.default_rng(1).random((4, 400)) < 0.2)),
        "divergent",
        "non-centred",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_cause_of_a_failure_is_named_with_its_cure(case):
    fit, name, words = CASES[case]
    found = convergence.find_cause(fit)
    assert (found.name, words in found.advice) == (name, True), found


def test_every_cause_has_a_case():
    assert {name for _, name, _ in CASES.values()} == set(CAUSES)


@pytest.mark.parametrize(
    "case", [case for case in CASES if CASES[case][1] not in ("slow", "few draws")]
)
def test_more_draws_are_the_cure_of_slow_chains_only(case):
    advice = convergence.find_cause(CASES[case][0]).advice
    assert "sampler.draws" not in advice


def test_slow_chains_are_told_how_many_draws_suffice():
    few = failed(series(0.5, 2, n_draws=100))
    rhat, ess = diagnostics.rhat_and_ess(few.z)
    assert rhat.max() < 1.05
    advice = convergence.find_cause(few).advice
    needed = int(advice.split("needs about ")[1].split()[0])
    assert needed >= 100 * 400 / ess.min()
    asked = int(advice.split("sampler.draws to ")[1].split()[0])
    assert max(100, needed / 4) <= asked
    enough = series(0.5, 2, n_draws=needed, seed=9)
    assert diagnostics.rhat_and_ess(enough)[1].min() > 320


def test_a_slow_element_of_many_is_no_symmetry():
    """Sorting ten elements hides one of them that disagrees; only those that disagree are sorted."""
    z = series(0.3, 10) * 3
    z[1, :, 4] += 5
    names = [f"b[{i}]" for i in range(10)]
    found = convergence.find_cause(failed(z, names))
    assert found.name == "modes"
    assert "modes of b[4]" in found.advice


def test_two_modes_that_only_look_alike_are_not_put_in_order():
    z = modes((-5, 5), (-5, 5), (3, 5), (-5, 5))
    assert convergence.find_cause(failed(z, MU)).name == "modes"


def test_mirrored_modes_of_different_potentials_are_no_matter_of_sign():
    z = modes((-5, 5), (-5, 5), (5, 5), (-5, 5))
    assert convergence.find_cause(failed(z, AB)).name == "sign"
    apart = failed(z, AB, sampling(gaps=(0, 0, 20, 0)))
    assert convergence.find_cause(apart).name == "modes"


def test_many_parameters_are_counted_and_not_listed():
    z = modes(*([0] * 9, [0] * 9, list(range(11, 20)), [0] * 9))
    advice = convergence.find_cause(failed(z, [f"p{i}" for i in range(9)])).advice
    assert "and 5 other parameters" in advice


def test_the_health_of_a_fit_gets_the_cause_and_keeps_the_numbers():
    fit = failed(swapped(), MU)
    health = diagnostics.assess(fit.z, fit.sampling.energy, MU)
    assert health.cause == ""
    known = convergence.explain(health, fit)
    assert known.reason == f"{health.reason}: {known.advice}"
    assert known.reason.startswith("R-hat of mu[")
    assert (known.cause, known.worst) == ("order", health.worst)
    assert not known.usable


# ---- fits of small models

MIXTURE = """
def model(n_rows, y=None):
    share = numpyro.sample("share", dist.Beta(5.0, 5.0))
    with numpyro.plate("components", 2):
        mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    each = dist.Categorical(jnp.stack([share, 1 - share]))
    with numpyro.plate("rows", n_rows):
        numpyro.sample("y", dist.MixtureSameFamily(each, dist.Normal(mu, 1.0)), obs=y)
"""
SUM = """
def model(n_rows, y=None):
    flat = dist.Normal(0.0, 1e4)
    a, b = numpyro.sample("a", flat), numpyro.sample("b", flat)
    with numpyro.plate("rows", n_rows):
        numpyro.sample("y", dist.Normal(a + b, 1.0), obs=y)
"""
SIGN = """
def model(n_rows, y=None):
    a, b = numpyro.sample("a", dist.Normal(0, 1)), numpyro.sample("b", dist.Normal(0, 1))
    with numpyro.plate("rows", n_rows):
        numpyro.sample("y", dist.Normal(a * b, 1.0), obs=y)
"""
FITS = {"mixture": (MIXTURE, "order"), "sum": (SUM, "unidentified"), "sign": (SIGN, "sign")}


ORDERED = """
    ordered = dist.transforms.OrderedTransform()
    centres = dist.Normal(0.0, 5.0).expand([2]).to_event(1)
    mu = numpyro.sample("mu", dist.TransformedDistribution(centres, ordered))
"""
PLATE = """
    with numpyro.plate("components", 2):
        mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
"""
POSITIVE = 'numpyro.sample("a", dist.HalfNormal(1.0)), numpyro.sample("b", dist.Normal(0, 1))'
FREE = 'numpyro.sample("a", dist.Normal(0, 1)), numpyro.sample("b", dist.Normal(0, 1))'
CURED = {
    "mixture": MIXTURE.replace(PLATE, ORDERED),
    "sum": SUM.replace('numpyro.sample("b", flat)', "0.0"),
    "sign": SIGN.replace(FREE, POSITIVE),
}


def fit_of(folder, source):
    """Fit 50 rows of two normals."""
    rng = np.random.default_rng(5)
    y = rng.standard_normal(200) + np.where(rng.random(200) < 0.5, 3.0, 9.0)
    sampler = {"chains": 4, "warmup": 200, "draws": 200}
    study = small_studies.make(folder, pd.DataFrame({"y": y}), source, sampler=sampler)
    (found,) = study.fit("subset-01")
    return found


@pytest.fixture(scope="module", params=FITS)
def fitted(request, tmp_path_factory):
    """A fit of a model that does not converge, and the cause that it should be told."""
    source, cause = FITS[request.param]
    return fit_of(tmp_path_factory.mktemp(request.param), source), cause


def test_a_model_that_cannot_converge_is_told_why(fitted):
    found, cause = fitted
    assert found.health.cause == cause, found.health
    assert found.health.reason.endswith(found.health.advice)


def test_it_takes_no_more_draws_than_were_asked_for(fitted):
    found, _ = fitted
    assert found.health.rhat > diagnostics.FAR_RHAT
    assert found.z.shape[1] == found.record.draws == 200


@pytest.mark.long
@pytest.mark.parametrize("name", CURED)
def test_the_cure_that_is_named_makes_the_fit_usable(name, tmp_path):
    assert CURED[name] != FITS[name][0]
    assert fit_of(tmp_path, CURED[name]).health.usable


# As an increment begins that starts warm, where the sampler adapts its step size alone.
SIZES = np.full((2, 4), 0.5, "float32")
WARM = InitialAdaptation(SIZES, SIZES / 10, np.ones((2, 4, 2), "float32"))


@pytest.mark.parametrize(
    "start",
    [{"engine": "lanes"}, {"engine": "lanes", "begin": WARM}, {"engine": "numpyro"}],
    ids=["lanes", "lanes, warm", "numpyro"],
)
def test_a_hopeless_fit_is_not_extended_and_no_other_loses_a_draw(start):
    """Chain 2 of the second fit sits in another mode; the first fit needs more draws than 100."""
    options = {"most_draws": 400, **start}
    before = two_modes.run(**options, enough=lambda fit, z: diagnostics.usable(z["x"]))
    found = two_modes.run(**options, enough=lambda fit, z: not diagnostics.gains_by_draws(z["x"]))
    assert [z["x"].shape[1] for z in before.z] == [found.z[0]["x"].shape[1], 400]
    assert found.z[0]["x"].shape[1] > 100
    np.testing.assert_array_equal(found.z[0]["x"], before.z[0]["x"])
    np.testing.assert_array_equal(found.z[1]["x"], before.z[1]["x"][:, :100])
