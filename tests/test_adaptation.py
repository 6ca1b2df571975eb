"""Adaptation: the potential energies of an increment's chains against one another."""

import numpy as np
import pytest
from scipy.signal import lfilter

from scalecheck.checks import adaptation, chain_table
from scalecheck.checks.chain_table import Chains, ChainWindow, Sampling

N_PARAMETERS = 8
UNIT = np.sqrt(N_PARAMETERS / 2)  # sd of the potential of a normal posterior


def autoregressive(rho, size, seed):
    """Stationary series of unit sd, along the last axis."""
    rng = np.random.default_rng(seed)
    burn = 100
    noise = rng.standard_normal((*size[:-1], size[-1] + burn)) * np.sqrt(1 - rho**2)
    return lfilter([1.0], [1.0, -rho], noise, axis=-1)[..., burn:]


def sampling(n_chains=4, n_draws=400, seed=1, **changes):
    """Chains of a normal posterior of eight parameters, all well."""
    rng = np.random.default_rng(seed)
    shape = (n_chains, n_draws)
    potential = N_PARAMETERS / 2 + UNIT * autoregressive(0.3, shape, seed)
    kinetic = rng.gamma(N_PARAMETERS / 2, size=shape)
    good = Sampling(
        potential,
        potential + kinetic,
        np.full(shape, 7),
        np.full(shape, 0.85),
        np.zeros(shape, dtype=bool),
        np.full(n_chains, 0.5),
    )
    return good._replace(**changes)


def window(stop, metric, n_chains=4, **changes):
    good = ChainWindow(
        stop,
        np.full(n_chains, 0.5),
        np.full(n_chains, 0.8),
        np.asarray(metric, dtype=float) * np.ones((n_chains, N_PARAMETERS)),
        np.full((n_chains, 50), 7),
        np.zeros((n_chains, 50), dtype=bool),
    )
    return good._replace(**changes)


def fit(run, windows=(), name="increment-01", kind="increment"):
    return Chains(name, kind, run, list(windows), 0.8, 10.0)


def shifted(run, chain, sds):
    """The same chains, one of them at another potential."""
    shift = np.zeros((len(run.step_size), 1))
    shift[chain] = sds * UNIT
    return run._replace(potential=run.potential + shift, energy=run.energy + shift)


@pytest.mark.parametrize(
    ("rho", "n_draws"),
    [(0.0, 250), (0.5, 250), (0.9, 250), pytest.param(0.95, 500, marks=pytest.mark.long)],
)
def test_autocorrelated_chains_alarm_at_most_at_their_level(rho, n_draws):
    potential = autoregressive(rho, (800, 4, n_draws), 1)
    p = np.array([adaptation.compare_potentials(one, one + 1).p for one in potential])
    for level in (0.05, 0.01):
        assert np.mean(p < level) < level + 3 * np.sqrt(level * (1 - level) / len(p))
    # The larger of two errors is too large, but not by much.
    assert np.mean(p < 0.1) > 0.02


@pytest.mark.parametrize("n_chains", [2, 4])
def test_a_gap_of_one_sd_is_found(n_chains):
    potential = autoregressive(0.5, (200, n_chains, 250), 2)
    potential[:, 0] += 1
    p = [adaptation.compare_potentials(one, one + 1).p for one in potential]
    assert np.mean(np.array(p) < 0.01) >= 0.95


def test_the_gap_is_in_sds_of_a_normal_posterior_of_as_many_parameters():
    run = shifted(sampling(n_draws=4000), 2, 3.0)
    seen = adaptation.compare_potentials(run.potential, run.energy)
    assert seen.chain == 2
    assert abs(seen.value - 3) < 4 * seen.scale + 0.05
    effect = seen.effect
    assert effect.low < effect.value < effect.high
    lower = adaptation.compare_potentials(-run.potential, run.energy - 2 * run.potential)
    assert lower.value < 0 < lower.effect.value


def test_chains_that_agree_pass_and_say_so():
    finding = adaptation.check_adaptation_step(fit(sampling()), weight=0.5)
    assert (finding.family, finding.kind, finding.weight) == ("adaptation", "", 0.5)
    assert finding.p > 0.05
    assert not finding.large
    assert "the chains agree on the potential" in finding.message
    assert ";" not in finding.message


def cut(run, chain, share):
    """Trees of one chain that are cut in a share of its iterations."""
    n_steps = run.n_steps.copy()
    n_steps[chain, : int(share * n_steps.shape[1])] = 1023
    return run._replace(n_steps=n_steps)


def small_steps(run, chain):
    step_size = run.step_size.copy()
    step_size[chain] = 0.001
    return run._replace(step_size=step_size)


def divergences(run, chain):
    diverging = run.diverging.copy()
    diverging[chain, :7] = True
    return run._replace(diverging=diverging)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda run: run, "stuck in another mode or not there yet: raise sampler.warmup"),
        (lambda run: cut(run, 2, 0.4), "cut at sampler.max_tree_depth in 40% of the iterations"),
        (lambda run: small_steps(run, 2), "step size collapsed to 0.001 where the others take 0.5"),
        (lambda run: divergences(run, 2), "7 of its iterations diverge"),
    ],
)
def test_a_chain_that_is_off_is_named_with_its_cause(change, words):
    finding = adaptation.check_adaptation_step(fit(change(shifted(sampling(), 2, 2.5))), weight=1.0)
    assert finding.large
    assert finding.p < 1e-6
    assert "the potential of chain 2 lies 2." in finding.message
    assert "sds above that of the others" in finding.message
    assert words in finding.message


def test_a_small_gap_is_large_only_where_trees_are_cut():
    run = shifted(sampling(n_draws=4000), 1, 0.5)
    assert not adaptation.check_adaptation_step(fit(run), weight=1.0).large
    assert adaptation.check_adaptation_step(fit(cut(run, 1, 0.1)), weight=1.0).large
    assert adaptation.check_adaptation_step(fit(run), weight=1.0).p < 0.01


def test_a_chain_that_never_moves_is_found():
    run = sampling()
    potential = run.potential.copy()
    potential[3] = potential[3].max() + 5 * UNIT
    stuck = run._replace(potential=potential, energy=potential + run.energy - run.potential)
    finding = adaptation.check_adaptation_step(fit(stuck), weight=1.0)
    assert finding.p < 0.001
    assert "chain 3" in finding.message


def test_chains_that_all_stand_still_at_different_places_are_found():
    potential = np.repeat(np.array([[1.0], [1.0], [2.0], [1.0]]), 100, axis=1)
    run = sampling(n_draws=100)._replace(potential=potential, energy=potential + 4)
    assert adaptation.check_adaptation_step(fit(run), weight=1.0).p == 0


def with_reason(run, reason="R-hat of mu is 1.5 (over 1.01): why", advice="why"):
    """A fit that cannot be used."""
    return fit(run)._replace(parameters=("mu",), reason=reason, advice=advice)


def test_a_fit_that_cannot_be_used_does_not_pass():
    finding = adaptation.check_adaptation_step(with_reason(sampling()), weight=0.5)
    assert (finding.p, finding.weight, finding.fit) == (None, 0.5, "increment-01")
    assert finding.message == "increment-01 cannot be used: R-hat of mu is 1.5 (over 1.01): why"
    # that its chains differ is said all the same, with what is known to be the matter
    shifts = adaptation.check_adaptation_step(with_reason(shifted(sampling(), 2, 9.0)), weight=0.5)
    assert shifts.p < 0.001
    assert shifts.message.endswith("sds above that of the others: why")


@pytest.mark.parametrize("reason", ["", "R-hat of mu is 4 (over 1.01): why"])
def test_chains_too_slow_for_a_test_have_not_agreed(reason):
    """A drift within each chain is all the F test has to compare with, however far the chains are apart."""
    slow = 1e6 * np.linspace(0, 1, 400) + np.array([[0], [0], [0], [4e5]])
    run = sampling()
    run = run._replace(potential=run.potential + slow, energy=run.energy + slow)
    seen = adaptation.compare_potentials(run.potential, run.energy)
    assert seen.p > 0.05
    assert abs(seen.value) > 1e5
    finding = adaptation.check_adaptation_step(with_reason(run, reason, ""), weight=1.0)
    assert finding.p is None
    assert "the potential of chain 3 lies" in finding.message
    assert "no test can tell" in finding.message
    assert "agree" not in finding.message


@pytest.mark.parametrize(
    ("change", "metric", "words"),
    [
        ({"acceptance_rate": np.full((4, 400), 0.5)}, 1, "accepts 0.3 less than its target"),
        ({"n_steps": np.full((4, 400), 1023)}, 1, "100% of the trees are cut"),
        ({}, [[1.0], [1.0], [9.0], [1.0]], "metrics differ 9 times: raise sampler.warmup"),
    ],
)
def test_what_else_was_seen_is_said_of_chains_that_agree(change, metric, words):
    finding = adaptation.check_adaptation_step(
        fit(sampling(**change), [window(50, metric)]), weight=1.0
    )
    assert finding.p > 0.05
    assert words in finding.message


def test_what_is_known_of_divergences_is_said_of_chains_that_agree():
    diverged = fit(sampling())._replace(diverged="4 divergences, too few for a second fit")
    finding = adaptation.check_adaptation_step(diverged, weight=1.0)
    assert finding.message.endswith("; 4 divergences, too few for a second fit")


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (sampling(n_chains=1), "one chain has no others"),
        (sampling(n_draws=8), "at least 10 draws"),
        (sampling(potential=np.full((4, 400), np.nan)), "not finite"),
        (sampling(potential=np.ones((4, 400)), energy=np.ones((4, 400))), "no parameters"),
        (sampling(potential=np.ones((4, 400)), energy=np.ones((4, 400)) + 4), "no chain moves"),
    ],
)
def test_what_cannot_be_judged_says_why(run, words):
    finding = adaptation.check_adaptation_step(fit(run), weight=0.5)
    assert finding.p is None
    assert finding.weight == 0.5
    assert words in finding.message


def test_a_model_that_has_parameters_is_not_said_to_have_none():
    """Single precision has no digits left for a kinetic energy beside a potential of 1e12."""
    huge = np.full((4, 400), 1e12)
    still = with_reason(sampling(potential=huge, energy=huge))
    finding = adaptation.check_adaptation_step(still, weight=0.5)
    assert finding.p is None
    assert "no parameters" not in finding.message
    assert "no kinetic energy beside a potential of 1e+12" in finding.message
    assert "sampler.precision to float64" in finding.message


def test_trees_that_are_cut_are_said_first_though_the_chains_agree():
    run = sampling(n_steps=np.full((4, 400), 1023))
    message = adaptation.check_adaptation_step(fit(run), weight=1.0).message
    assert message.startswith("increment-01: 100% of the trees are cut: raise sampler.max_tree")
    few = adaptation.check_adaptation_step(fit(cut(sampling(), 1, 0.4)), weight=1.0).message
    assert few.startswith("increment-01: the chains agree on the potential")
    assert "10% of the trees are cut" in few


def test_the_check_judges_increments_and_tabulates_all():
    increments = [fit(sampling(seed=i), name=f"increment-0{i}") for i in (1, 2)]
    subset = fit(sampling(), name="subset-01", kind="subset")
    findings, table = adaptation.check_adaptation(increments, 0.5, [subset])
    assert [finding.fit for finding in findings] == ["increment-01", "increment-02"]
    assert table["fit"].unique().tolist() == ["increment-01", "increment-02", "subset-01"]


def test_no_increment_is_nothing_to_judge():
    (finding,), table = adaptation.check_adaptation([], 1.0)
    assert finding.p is None
    assert not len(table)


def test_the_table_has_a_row_for_every_chain_and_window():
    first, second = window(50, 1), window(100, [[2.0], [2.0], [2.0], [16.0]])
    table = chain_table.tabulate_chains([fit(sampling(), [first, second])])
    assert table["window"].tolist() == 4 * ["1", "2", "sampling"]
    assert table["stop"].tolist() == 4 * [50, 100, 500]
    of_second = table[table["window"] == "2"]
    assert of_second["metric_change"].tolist() == pytest.approx([2, 2, 2, 16])
    assert of_second["metric_spread"].tolist() == pytest.approx([1, 1, 1, 8])
    after = table[table["window"] == "sampling"]
    assert (after["leapfrogs"] == 7).all()
    assert (after["depth_saturated"] == 0).all()
    assert after["potential_gap"].sum() == pytest.approx(0, abs=1e-9)
    assert after["rhat_potential"].between(0.99, 1.05).all()


def test_one_chain_has_a_table_too():
    table = chain_table.tabulate_chains([fit(sampling(n_chains=1), [window(50, 1, n_chains=1)])])
    assert table["potential_gap"].isna().all()
    assert len(table) == 2


def test_chains_that_were_begun_anew_are_mentioned():
    begun_anew = fit(sampling())._replace(discarded=2)
    assert (
        "begun anew because they stalled in warmup: 2"
        in adaptation.check_adaptation_step(begun_anew, 1.0).message
    )
    assert "stalled" not in adaptation.check_adaptation_step(fit(sampling()), 1.0).message
