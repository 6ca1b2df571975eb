"""The forecast of the full fit, and what the budget makes of it."""

import dataclasses
import json

import numpy as np
import pytest
from recorded import recorded as record_of
from scipy.stats import norm

from scalecheck.files import record as records
from scalecheck.results import budget, forecast, increment_costs
from scalecheck.results.increment_costs import IncrementCosts, Timings
from scalecheck.study.settings import BudgetSettings

ROWS = np.array([500.0, 1000.0, 2000.0, 4000.0])
FREE = BudgetSettings(None, None)
SAMPLER = {"warmup": 200, "draws": 100}


def effort(rows=ROWS, warmup=9.0, sampling=6.0, times=1.0, chains=4):
    """Every chain of an increment takes the same leapfrogs; each may be one number an increment."""
    shape = (len(rows), chains)
    column = lambda values: np.broadcast_to(np.reshape(values, (-1, 1)), shape).astype(float)  # noqa: E731
    return IncrementCosts(
        np.asarray(rows, dtype=float),
        column(warmup),
        column(sampling),
        np.broadcast_to(times, len(rows)).astype(float),
        n_warmup=200,
        n_draws=100,
    )


def timings(known, each, starting=0.0, within=1.5):
    """`each` second a gradient takes alone, with so many rows; 1.5 times that within a fit."""
    alone = each(known.rows)
    draws = known.n_draws * known.times[:, None]
    gradients = (known.n_warmup * known.warmup + draws * known.sampling).sum(axis=1)
    running = within * alone * gradients
    return Timings(known.rows, alone, np.full(len(alone), starting), running, gradients)


def record(name, rows, **changes):
    """Give what the forecast reads of a record; 50 microseconds a gradient and row of a thousand."""
    gradients = {"warmup": [1800, 1800], "sampling": [600, 600]}
    seconds = {"import": 1.0, "compile": 4.0, "warmup": 3.6e-3 * rows, "sampling": 1.2e-3 * rows}
    known = {
        "usable": True,
        "rows": rows,
        "draws": 100,
        "padded_rows": rows,
        "warmup": SAMPLER["warmup"],
        "gradients": gradients,
        "seconds": seconds,
        "seconds_per_gradient": 1e-6 * rows / 1.5,
        "settings": {"sampler": SAMPLER},
    }
    return record_of(name, **known | changes)


CHAIN = [record(f"increment-0{i}", int(n)) for i, n in enumerate(ROWS, 1)]


# ---- gradients


def test_without_noise_the_median_continues_the_power_of_the_rows():
    n_all = 32_000
    for slope in (0.0, 0.25):
        found = forecast.gradients_of(
            effort(warmup=9 * (ROWS / 500) ** slope, sampling=6 * (ROWS / 500) ** slope), n_all
        )
        by_chain = (200 * 9 + 100 * 6) * (n_all / 500) ** slope
        low, median, high = found.interval
        assert low < 4 * by_chain < high
        assert abs(np.log(median / (4 * by_chain))) < 0.12


def test_weights_of_the_cases_add_up_to_one():
    found = forecast.gradients_of(effort(times=[1, 2, 4, 1]), 8000)
    assert found.weights.sum() == pytest.approx(1)
    assert (found.weights > 0).all()


@pytest.mark.parametrize("times", [1, 2, 4])
def test_fits_that_went_on_for_more_draws_forecast_one_that_does(times):
    warmup, sampling = 200 * 9, 100 * 6
    few = forecast.gradients_of(effort(times=times), 8000)
    assert few.interval[2] > 4 * (warmup + times * sampling)
    more = forecast.gradients_of(effort(np.arange(500, 20_500, 500), times=times), 21_000)
    assert more.interval[1] == pytest.approx(4 * (warmup + times * sampling), rel=0.06)


def test_the_interval_widens_with_the_distance_and_with_the_noise():
    def width(known, n_rows):
        low, _, high = forecast.gradients_of(known, n_rows).interval
        return high / low

    noisy = effort(warmup=[9, 14, 7, 12], sampling=[6, 9, 5, 8])
    assert width(effort(), 8000) < width(effort(), 80_000) < width(effort(), 8_000_000)
    assert width(effort(), 80_000) < width(noisy, 80_000)


def test_the_interval_covers_at_its_rate_where_its_model_is_true():
    """Slopes, residuals and rounds of draws are drawn from its prior."""
    rng = np.random.default_rng(11)
    n_studies, n_all, n_fits = 400, 32_000, len(ROWS)
    covered = 0
    for _ in range(n_studies):
        log2 = np.log2(np.append(ROWS, n_all) / 500)
        variance = 0.15**2 * 4 / rng.chisquare(4)
        slope = 0.3 * np.sqrt(variance) / 0.15 * rng.standard_normal()
        line = 2.5 + slope * log2 + np.sqrt(variance) * rng.standard_normal(n_fits + 1)
        chance = rng.dirichlet([3, 0.75, 0.1875, 0.0625])
        times = rng.choice([1, 2, 3, 4], n_fits + 1, p=chance)
        known = effort(warmup=2 ** line[:-1], sampling=2 ** line[:-1], times=times[:-1])
        full = 4 * 2 ** line[-1] * (200 + 100 * times[-1])
        low, _, high = forecast.gradients_of(known, n_all).interval
        covered += low <= full <= high
    se = np.sqrt(0.9 * 0.1 / n_studies)
    assert abs(covered / n_studies - 0.9) < 3 * se


# ---- seconds and price


@pytest.mark.parametrize(
    "each",
    [lambda n: 1e-8 * n, lambda n: 2e-5 + 1e-8 * n, lambda n: 1e-10 * n**2],
    ids=["proportional", "floor", "quadratic"],
)
def test_without_noise_seconds_of_a_gradient_are_known_as_well_as_one_can_be_timed(each):
    known = effort()
    n_all = 64_000
    found, error = forecast.seconds_of_gradient(known, timings(known, each), n_all)
    assert np.median(found) == pytest.approx(1.5 * each(n_all), rel=0.03)
    np.testing.assert_allclose(found, 1.5 * each(n_all), rtol=0.16)
    assert (error >= 0.15).all()
    assert (error < 0.6).all()


def test_small_increments_leave_open_what_of_a_gradient_grows_with_the_rows():
    """Thousands of rows took half a millisecond, give or take; a million may take as long, or fifty times as long."""
    known = effort(rows=np.array([2000.0, 4000.0, 8000.0]))
    timed = timings(known, lambda n: 5e-4 + 0 * n)
    timed = timed._replace(alone=np.array([5.3e-4, 4.3e-4, 5.3e-4]))
    each, _ = forecast.seconds_of_gradient(known, timed, 1_000_000)
    assert each.min() < 2e-3
    assert each.max() > 2e-2
    # No more than in proportion.
    assert each.max() < 1.5 * 1.2 * 5.3e-4 * 125


@pytest.mark.parametrize(("n_all", "widest"), [(32_000, 3.0), (1_000_000, 6.0)])
def test_seconds_of_a_gradient_are_covered_where_their_model_is_true(n_all, widest):
    """How much of a gradient grows with the rows, what a fit adds to it and errors are drawn from the prior."""
    rng, n_studies = np.random.default_rng(5), 300

    def noise(sd, n):
        return np.exp(sd * rng.standard_normal(n))

    at = norm.ppf((np.arange(99) + 0.5) / 99)
    known, covered, width = effort(), 0, 0.0
    for _ in range(n_studies):
        share, sd = rng.random(), 0.05 * np.sqrt(4 / rng.chisquare(4))
        beside, times = rng.random(), max(1.5 + 0.5 * rng.standard_normal(), 0.5)
        alone = 1 - share + share * np.append(ROWS, n_all) / ROWS[-1]
        *within, full = beside + times * alone
        timed = timings(known, lambda n: n)
        timed = timed._replace(
            alone=alone[:-1] * noise(sd, 4), running=within * timed.gradients * noise(0.15, 4)
        )
        each, error = forecast.seconds_of_gradient(known, timed, n_all)
        low, high = np.quantile(each[:, None] * np.exp(error[:, None] * at), [0.05, 0.95])
        covered += low <= full * noise(0.15, 1)[0] <= high
        width += np.log(high / low) / n_studies
    # More often than asked for: the prior knows that neither part is negative, the interval does not.
    assert covered / n_studies > 0.9 - 3 * np.sqrt(0.9 * 0.1 / n_studies)
    assert np.exp(width) < widest


def test_gradients_that_were_badly_timed_leave_a_forecast_that_can_be_read():
    """The machine stood still while they were timed: alone they take a thousand times as long as in the fit."""
    known = effort(rows=np.array([200.0, 400.0]))
    timed = timings(known, lambda n: 1e-6 + 1e-9 * n)
    stood = timed._replace(alone=np.array([1.35e-3, 1.56e-3]))
    each, error = forecast.seconds_of_gradient(known, stood, 800)
    # Gradients grow no faster than the rows.
    last, growth = timed.running[-1] / timed.gradients[-1], 2
    assert (last < 1.2 * each).all()
    assert (each < 1.2 * growth * last).all()
    assert (error <= np.sqrt(2 * 0.15**2 + np.log(growth) ** 2) + 1e-12).all()
    low, _, high = forecast.forecast(known, stood, 800).seconds
    assert high < 10 * low


def test_starting_and_compiling_are_paid_once_and_the_price_is_that_of_the_seconds():
    known = effort()
    free, late = (
        forecast.forecast(known, timings(known, lambda n: 1e-8 * n, starting), 32_000, 2.5)
        for starting in (0.0, 60.0)
    )
    # Starts vary, too, by a fifth.
    assert late.seconds[1] - free.seconds[1] == pytest.approx(60, rel=0.02)
    assert late.seconds[0] < 60 + free.seconds[0]
    assert late.seconds[2] > 60 + free.seconds[2]
    assert free.price == pytest.approx([2.5 * part / 3600 for part in free.seconds])
    assert sorted(free.seconds) == list(free.seconds)


def test_a_fit_of_a_new_shape_compiles_whatever_the_cache_saved():
    known = effort()
    cached = timings(known, lambda n: 1e-8 * n)._replace(starting=np.array([9.0, 0.4, 0.4, 0.4]))
    anew = cached._replace(starting=np.full(4, 9.0))
    found, expected = (forecast.forecast(known, timed, 8000) for timed in (cached, anew))
    assert found.seconds == pytest.approx(expected.seconds, rel=1e-4)


# ---- records


def test_only_increments_that_can_be_used_are_forecast_with():
    skipped = record_of("increment-05", status="skipped", reason="why", rows=8000)
    stuck = record("increment-02", 1000, usable=False)
    known = increment_costs.taken([CHAIN[0], stuck, *CHAIN[2:], skipped], 8000)
    assert known is not None
    assert known[0].rows.tolist() == [500, 2000, 4000]
    assert known[1].gradients == pytest.approx([4800] * 3)
    assert (known[0].warmup == 9).all()
    assert (known[0].sampling == 6).all()


def warm(name, rows, **changes):
    """Give the record of an increment that started warm, for 20 iterations of 6 leapfrogs."""
    return record(
        name, rows, warmup=20, gradients={"warmup": [120, 120], "sampling": [600, 600]}, **changes
    )


def audited(leapfrogs, **seconds):
    """Give an audit that took so many leapfrogs of warmup."""
    gradients = {"warmup": leapfrogs, "sampling": [600, 600]}
    took = {"gradients": gradients, "seconds": seconds, "cpu_seconds": {}, "draws": 100}
    return {"p": 0.5, "parameter": 0, "statistic": "sd", "gap": 0.1, **took}


WARM = [CHAIN[0], *[warm(one.fit, one.rows) for one in CHAIN[1:]]]


@pytest.mark.parametrize(("of_units", "slope"), [(False, 0.03), (True, 0.3)])
def test_the_full_fit_starts_cold_also_where_increments_start_warm(of_units, slope):
    recorded = [dataclasses.replace(one, unit_parameters=of_units) for one in WARM]
    found, timed = increment_costs.taken(recorded, 8000)
    assert found.n_warmup == 200
    # The first increment's ratio of 9 to 6 leapfrogs, four doublings of the rows on.
    np.testing.assert_allclose(found.warmup, 9 * 2 ** (4 * slope))
    np.testing.assert_allclose(found.sampling, 6)
    assert timed.gradients.tolist() == [4800, 1440, 1440, 1440]


def test_audits_are_cold_fits_from_which_the_cost_of_warmup_is_learnt():
    audit = audited([7200, 7200])
    found, _ = increment_costs.taken([*WARM[:3], warm("increment-04", 4000, audit=audit)], 4000)
    # A ratio of 1.5 at 500 rows, and of 6 at 4,000: two doublings in three of the rows.
    weight = (0.15 / 0.05) ** 2
    slope = (3 + weight * 0.03) / (4.5 + weight)
    np.testing.assert_allclose(found.warmup, 6 * 3 * 2 ** (1.5 * slope))


def test_the_next_increment_is_forecast_to_start_as_the_last():
    found, _ = increment_costs.taken(WARM, 8000, cold=False)
    assert found.n_warmup == 20
    np.testing.assert_allclose(found.warmup, 6, rtol=0.06)


def test_cold_increments_are_forecast_from_their_own_warmup():
    found, _ = increment_costs.taken(CHAIN, 8000)
    np.testing.assert_allclose(found.warmup, 9)


def test_gradients_of_chains_that_began_anew_cost_seconds_too():
    gradients = {"warmup": [1800, 1800], "sampling": [600, 600], "discarded": [700], "cut": []}
    anew = record("increment-02", 1000, gradients=gradients)
    _, timed = increment_costs.taken([CHAIN[0], anew], 8000)
    assert timed.gradients.tolist() == [4800, 5500]


@pytest.mark.parametrize(
    "recorded",
    [
        [],
        CHAIN[:1],
        [CHAIN[0], record("increment-02", 1000, usable=False)],
        # a model without parameters takes no leapfrogs
        [
            dataclasses.replace(one, gradients=records.RecordedGradients([0, 0], [0, 0]))
            for one in CHAIN
        ],
        [dataclasses.replace(one, seconds_per_gradient=None) for one in CHAIN],
    ],
)
def test_fewer_than_two_are_no_forecast_and_the_log_says_why(recorded):
    assert budget.fit_of(recorded, 32_000, FREE) is None
    assert budget.as_json(None, FREE) is None
    assert "needs 2 increments that can be used" in budget.in_words(None, FREE)


def test_the_line_of_the_log_has_time_gradients_price_and_what_is_over():
    limits = BudgetSettings(60.0, 2.5)
    found = budget.fit_of(CHAIN, 1_259_184, limits)
    line = budget.in_words(found, limits)
    assert line.startswith("full fit of 1,259,184 rows: about 101 min (51 min..3.4 h), ")
    assert "5e+03 gradients (" in line
    assert " at 2.5 an hour, over budget.seconds 60" in line
    assert "price" not in budget.in_words(budget.fit_of(CHAIN, 8000, FREE), FREE)
    assert "\n" not in line


def test_what_verdict_json_holds_is_json_with_the_keys_of_the_contract():
    for limits, over in (
        (FREE, None),
        (BudgetSettings(60.0, 2.5), True),
        (BudgetSettings(1e9, 0.0), False),
    ):
        found = json.loads(
            json.dumps(budget.as_json(budget.fit_of(CHAIN, 100_000, limits), limits))
        )
        assert set(found) == {"rows", "gradients", "seconds", "price", "over_budget"}
        assert found["over_budget"] is over
        assert len(found["gradients"]) == len(found["seconds"]) == 3
        assert (found["price"] is None) == (limits.price_per_hour is None)


# ---- the budget of the increments


def test_an_increment_that_fits_into_the_budget_is_fitted_and_one_that_does_not_is_named():
    spent = sum(sum(one.seconds.values()) for one in CHAIN)
    found = budget.fit_of(CHAIN, 8000, FREE)
    assert found is not None
    needed = spent + found.seconds[1]
    assert budget.refusal(CHAIN, 8000, FREE) == ""
    assert budget.refusal(CHAIN, 8000, BudgetSettings(1.01 * needed, None)) == ""
    reason = budget.refusal(CHAIN, 8000, BudgetSettings(0.99 * needed, None))
    assert reason.startswith(f"budget.seconds is {0.99 * needed:g}: ")
    assert (
        f"took {spent:.1f} s, and one of 8000 rows is forecast to take {found.seconds[1]:.1f} s"
        in reason
    )


def test_before_there_is_a_forecast_only_what_was_spent_counts():
    assert budget.refusal(CHAIN[:1], 1000, BudgetSettings(7.5, None)) == ""
    reason = budget.refusal(CHAIN[:1], 1000, BudgetSettings(7.0, None))
    assert reason == "budget.seconds is 7: the increments so far took 7.4 s"


def test_second_fits_of_those_that_diverge_are_paid_from_the_budget():
    last = CHAIN[-1]
    took = {name: 2 * seconds for name, seconds in last.seconds.items()}
    refit = records.RecordedRefit(
        target_accept=0.95,
        divergences=[0],
        draws=500,
        usable=True,
        mean=None,
        sd=None,
        gradients=last.gradients,
        seconds=took,
        cpu_seconds={},
    )
    recorded = [*CHAIN[:-1], dataclasses.replace(last, refit=refit)]
    spent = sum(sum(one.seconds.values()) for one in CHAIN) + sum(took.values())
    found = budget.fit_of(CHAIN, 8000, FREE).seconds[1]
    needed = spent + 3 * found
    assert budget.refusal(recorded, 8000, BudgetSettings(1.01 * needed, None)) == ""
    reason = budget.refusal(recorded, 8000, BudgetSettings(0.99 * needed, None))
    assert f"took {spent:.1f} s" in reason
    assert reason.endswith(
        f"{2 * found:.1f} s again, with smaller steps, as the one before diverged"
    )


def test_audits_are_paid_from_the_budget():
    audit = audited([1800, 1800], warmup=50.0)
    recorded = [*WARM[:3], warm("increment-04", 4000, audit=audit)]
    limits = BudgetSettings(60.0, None)
    spent = 50 + sum(sum(one.seconds.values()) for one in recorded)
    assert f"took {spent:.1f} s" in budget.refusal(recorded, 8000, limits)
    again = budget.fit_of(WARM, 8000, FREE).seconds[1]
    short = budget.fit_of(WARM, 8000, FREE, cold=False).seconds[1]
    assert short < again
    spent = sum(sum(one.seconds.values()) for one in WARM)
    limits = BudgetSettings(spent + short + 0.5 * again, None)
    assert budget.refusal(WARM, 8000, limits) == ""
    reason = budget.refusal(WARM, 8000, limits, audited=True)
    assert reason.endswith(f", and {again:.1f} s again, cold, to be compared")
