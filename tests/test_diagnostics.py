"""Health of a fit from draws whose properties are known."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from arviz_stats.base import array_stats

from scalecheck import diagnostics

NAMES = ["a", "b"]


def draws(rng, n_draws=500, n_chains=4):
    return rng.standard_normal((n_chains, n_draws, 2))


def assess(z, energy=None):
    rng = np.random.default_rng(9)
    energy = rng.standard_normal(z.shape[:2]) if energy is None else energy
    return diagnostics.assess(z, energy, NAMES)


def test_independent_draws_are_usable():
    health = assess(draws(np.random.default_rng(1)))
    assert health.usable
    assert health.reason == ""
    assert health.rhat < 1.01
    assert 1000 < health.ess
    # The energy of independent draws changes by twice its variance at each step.
    assert health.e_bfmi == pytest.approx(2, abs=0.4)


def test_a_chain_elsewhere_is_named_with_what_to_change():
    z = draws(np.random.default_rng(1))
    z[2, :, 1] += 1.0
    health = assess(z)
    assert not health.usable
    assert health.rhat > 1.05
    assert health.reason.startswith("R-hat of b is 1.")
    assert health.reason == f"R-hat of b is {health.rhat:.3f} (over 1.01)"
    assert health.worst == "b"


def test_too_few_effective_draws_are_named_with_what_to_change():
    z = draws(np.random.default_rng(1), n_draws=90)
    health = assess(z)
    assert health.ess < 400
    assert not health.usable
    if health.rhat <= diagnostics.HIGHEST_RHAT:
        assert health.reason == f"ESS of {health.worst} is {health.ess:.0f} (under 400)"


def test_a_parameter_that_never_moved_is_a_failure():
    z = draws(np.random.default_rng(1))
    z[:, :, 0] = 3.0
    health = assess(z)
    assert not health.usable
    assert health.reason.startswith("R-hat of a is inf")


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_the_sampler_asks_what_the_checks_ask(shift):
    z = draws(np.random.default_rng(2))
    z[0, :, 0] += shift
    assert diagnostics.usable(z) == assess(z).usable == (shift == 0)


@pytest.mark.parametrize(
    ("n_draws", "shift", "goes_on"),
    [(500, 0.0, False), (80, 0.0, True), (500, 0.3, True), (500, 3.0, False), (80, 3.0, False)],
)
def test_only_fits_that_more_draws_can_mend_go_on(n_draws, shift, goes_on):
    z = draws(np.random.default_rng(2), n_draws)
    z[0, :, 0] += shift
    assert diagnostics.gains_by_draws(z) is goes_on
    z[:, :, 1] = 3.0  # never moves
    assert not diagnostics.gains_by_draws(z)


def test_many_parameters_need_more_effective_draws():
    assert [diagnostics.lowest_ess(d) for d in (1, 40, 41, 100)] == [400, 400, 410, 1000]


def test_low_energy_information_is_the_lowest_of_the_chains():
    energy = np.random.default_rng(3).standard_normal((4, 500))
    energy[1] = energy[1].cumsum()
    assert assess(draws(np.random.default_rng(1)), energy).e_bfmi < 0.1


def test_estimates_are_one_row_per_scalar_with_labels():
    rng = np.random.default_rng(4)
    posterior = xr.Dataset(
        {
            "mu": (("chain", "draw"), rng.normal(2, 3, (4, 1000))),
            "effect": (("chain", "draw", "group"), rng.standard_normal((4, 1000, 2))),
        },
        coords={"group": ["north", "2018"]},
    )
    table = diagnostics.estimates(posterior, ["mu", "effect"]).set_index("parameter")
    assert table.index.tolist() == ["mu", "effect[north]", "effect[2018]"]
    mu, values = table.loc["mu"], posterior["mu"].to_numpy()
    assert mu["mean"] == pytest.approx(values.mean())
    assert mu["sd"] == pytest.approx(values.std(ddof=1))
    assert [mu["low"], mu["high"]] == pytest.approx(np.quantile(values, [0.055, 0.945]).tolist())
    assert mu["mcse"] == pytest.approx(float(array_stats.mcse(values, chain_axis=0, draw_axis=1)))
    assert mu["mcse"] == pytest.approx(3 / 4000**0.5, rel=0.2)
    assert (table[["ess_bulk", "ess_tail"]] > 2000).all(axis=None)
    assert (table["rhat"] < 1.01).all()


def test_a_part_of_numpyro_that_is_imported_after_arviz_is_there_once():
    code = """
from scalecheck import diagnostics
import sys
assert not {"jax", "numpyro"} & set(sys.modules)
from numpyro.distributions import Normal
import numpyro
assert Normal is numpyro.distributions.Normal
assert numpyro.distributions.distribution.Unit is not None
"""
    subprocess.run([sys.executable, "-c", code], check=True)
