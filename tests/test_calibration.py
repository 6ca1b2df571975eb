"""What `make calibrate` simulates and how it counts, without a fit."""

import sys
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent / "calibration"))
import calibrate
import document
import models
import plot
import quick
import scenarios
import studies
import summary
from scenarios import DEFECTS, SCENARIOS, STRUCTURES, simulate
from summary import Rate

from scalecheck.checks.verdict import FAMILIES

MANY = 40_000


def residuals(table, beta, link=lambda predictor: predictor):
    return table["y"] - link(beta[0] + beta[1] * table["x1"] + beta[2] * table["x2"])


# ---- scenarios


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_table_is_the_same_for_the_same_seed_and_no_other(name):
    one, again, other = (simulate(name, seed, 200) for seed in (1, 1, 2))
    for column in one:
        np.testing.assert_array_equal(one[column], again[column])
        assert len(one[column]) == 200
    assert not np.array_equal(one["y"], other["y"])
    assert np.isfinite(one["y"]).all()


@pytest.mark.parametrize("name", ["linear", "noncentred"])
def test_groups_are_of_equal_size_and_lie_whole_in_a_source(name):
    table = simulate(name, 1, 1600)
    assert np.bincount(table["grp"]).tolist() == [40] * 40
    assert len(np.unique(table["grp"] * 8 + table["src"])) == 40


def test_units_follow_one_another_and_lie_whole_in_a_group():
    table = simulate("centred", 1, 800)
    assert np.bincount(table["unit"]).tolist() == [5] * 160
    assert (np.diff(table["unit"]) >= 0).all()
    assert len(np.unique(table["unit"] * 40 + table["grp"])) == 160


def test_every_scenario_has_the_compared_parameters_that_it_says():
    for name, scenario in SCENARIOS.items():
        size = studies.FULL._replace(rows=20)
        table = studies.columns_of(name, 1, 20 * scenario.n_subsets)
        likelihood = studies.bound(studies.settings_of(name, size, 1), table)
        assert len(likelihood.vector.names) == scenario.n_parameters, name


def test_nulls_are_as_large_as_a_verdict_needs():
    for scenario in scenarios.NULLS.values():
        assert scenario.n_rows == max(100, 20 * scenario.n_parameters)
    for scenario in STRUCTURES.values():
        assert 100 <= scenario.n_rows <= 250


def test_subsets_and_increments_hold_the_rows_of_a_table():
    for name, scenario in SCENARIOS.items():
        settings = studies.settings_of(name, studies.FULL, 1)
        assert settings.subsets.count == scenario.n_subsets
        assert settings.increments.end == scenario.n_subsets * settings.subsets.size


def test_a_drifting_slope_changes_by_its_rate():
    table = simulate("drift", 1, MANY)
    rest = residuals(table, scenarios.GAUSSIAN) * table["x1"]
    late, early = rest[MANY // 2 :], rest[: MANY // 2]
    assert late.mean() - early.mean() == pytest.approx(0.4, abs=0.05)


def test_groups_differ_by_their_spread():
    spreads = [
        pd.Series(residuals(table, scenarios.GAUSSIAN)).groupby(table["grp"]).mean().std()
        for table in (simulate("groups", seed, 8000) for seed in range(20))
    ]
    assert np.mean(spreads) == pytest.approx(0.5, abs=0.05)


def test_the_regime_raises_the_mean_by_a_quarter():
    table = simulate("regime", 1, MANY)
    rate = np.exp(1.0 + 0.3 * table["x1"] - 0.2 * table["x2"])
    late = np.arange(MANY) > 0.6 * MANY
    ratio = table["y"] / rate
    assert ratio[late].mean() / ratio[~late].mean() == pytest.approx(1.25, abs=0.02)


def test_overdispersed_counts_have_the_variance_of_their_mixture():
    table = simulate("overdispersion", 1, MANY)
    mean = np.exp(1.0 + 0.3 * table["x1"] - 0.2 * table["x2"])
    excess = ((table["y"] - mean) ** 2 - mean).mean() / (mean**2).mean()
    assert excess == pytest.approx(1 / 4, abs=0.02)


def test_a_tenth_of_the_counts_is_zero_by_inflation():
    table = simulate("zero_inflation", 1, MANY)
    mean = np.exp(1.0 + 0.3 * table["x1"] - 0.2 * table["x2"])
    assert table["y"].sum() / mean.sum() == pytest.approx(0.9, abs=0.01)


def test_a_square_and_a_scale_follow_the_first_covariate():
    table = simulate("quadratic", 1, MANY)
    rest = residuals(table, scenarios.GAUSSIAN)
    assert np.polyfit(table["x1"], rest, 2)[0] == pytest.approx(0.25, abs=0.02)
    table = simulate("heteroscedastic", 1, MANY)
    logs = np.log(np.abs(residuals(table, scenarios.GAUSSIAN)))
    assert np.polyfit(table["x1"], logs, 1)[0] == pytest.approx(0.35, abs=0.02)


def test_few_rows_are_contaminated_by_far():
    rest = residuals(simulate("contamination", 1, MANY), scenarios.GAUSSIAN)
    assert rest.var() == pytest.approx(1 + 0.02 * 36, abs=0.1)


def test_residuals_follow_the_one_before():
    rest = residuals(simulate("autoregression", 1, MANY), scenarios.GAUSSIAN)
    assert np.corrcoef(rest[1:], rest[:-1])[0, 1] == pytest.approx(0.4, abs=0.02)
    assert rest.var() == pytest.approx(1.0, abs=0.03)


def test_one_source_writes_other_units():
    table = simulate("source_units", 1, MANY)
    assert table["x1"][table["src"] == 0].std() == pytest.approx(2.54, abs=0.06)
    assert table["x1"][table["src"] != 0].std() == pytest.approx(1.0, abs=0.02)
    right = {**table, "x1": np.where(table["src"] == 0, table["x1"] / 2.54, table["x1"])}
    assert residuals(right, scenarios.GAUSSIAN).var() == pytest.approx(1.0, abs=0.03)


# ---- scenarios of data structures


def table_of(name):
    return pd.DataFrame(simulate(name, 1, MANY))


def test_three_lifetimes_in_ten_are_censored_whatever_the_covariate_and_the_rest_are_weibull():
    table = table_of("censored")
    lost = table["lost"] == 1
    assert lost.mean() == pytest.approx(0.3, abs=0.02)
    # Accumulated hazards of all rows sum to the number of events.
    hazard = (table["y"] / np.exp(2.0 + 0.4 * table["x1"])) ** 1.4
    assert hazard.sum() / (~lost).sum() == pytest.approx(1.0, abs=0.02)


def test_an_outcome_that_is_not_seen_is_written_as_zero():
    table = table_of("masked")
    seen = table["seen"] == 1
    assert 0.1 < (~seen).mean() < 0.25
    assert (table["y"][~seen] == 0).all()
    rest = table["y"] - 1.0 - 0.5 * table["x1"]
    assert rest[seen].mean() == pytest.approx(0.0, abs=0.02)
    assert rest[seen].std() == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", ["persons_6", "persons_8", "persons_12"])
def test_every_person_answers_five_items_that_others_answer_too(name):
    scenario = SCENARIOS[name]
    table = pd.DataFrame(simulate(name, 1, scenario.n_subsets * scenario.n_rows))
    assert (table.groupby("person")["item"].nunique() == 5).all()
    assert (table.groupby("person")["src"].nunique() == 1).all()
    assert table["item"].nunique() == scenarios.N_ITEMS
    assert len(table) // scenario.n_rows == int(name.rpartition("_")[2])


def test_counties_have_levels_of_their_own():
    spreads = [
        (table["y"] + 0.5 * table["x1"]).groupby(table["county"]).mean().std()
        for table in (pd.DataFrame(simulate("counties_8", seed, 8000)) for seed in range(20))
    ]
    assert np.mean(spreads) == pytest.approx(0.8, abs=0.08)


def test_treatments_have_levels_of_their_own():
    table = table_of("index")
    levels = (table["y"] - 0.5 * table["x1"]).groupby(table["treatment"]).mean()
    np.testing.assert_allclose(levels, [-0.5, 0.0, 0.3, 1.0], atol=0.05)


def test_grades_and_choices_are_codes_whose_shares_are_those_of_the_model():
    table = table_of("ordinal")
    assert sorted(table["y"].unique()) == [0, 1, 2, 3]
    near = table[table["x1"].abs() < 0.1]
    above = [(near["y"] > grade).mean() for grade in range(3)]
    np.testing.assert_allclose(above, 1 / (1 + np.exp([-1.0, 0.5, 1.5])), atol=0.03)
    table = table_of("dirichlet")
    assert sorted(table["y"].unique()) == [0, 1, 2]


def test_shares_are_inside_their_support():
    table = table_of("beta")
    assert table["y"].between(0.001, 0.999).all()
    mean = 1 / (1 + np.exp(0.3 - 0.5 * table["x1"]))
    ratio = ((table["y"] - mean) ** 2 / (mean * (1 - mean))).mean()
    assert ratio == pytest.approx(1 / 11, abs=0.003)


def test_a_mixture_has_two_kinds_and_a_hurdle_has_zeros():
    y = simulate("mixture", 1, MANY)["y"]
    assert y.mean() == pytest.approx(0.65 * 3.0 - 0.35, abs=0.03)
    assert y.var() == pytest.approx(1 + 16 * 0.35 * 0.65, abs=0.06)
    table = table_of("hurdle")
    some = table["y"] > 0
    assert some.mean() == pytest.approx(0.7, abs=0.01)
    ratio = table["y"][some] / np.exp(1.0 + 0.3 * table["x1"][some])
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert ratio.var() == pytest.approx(0.5, abs=0.05)


def test_a_hurdle_draws_what_its_density_says():
    hurdle = models.HurdleGamma(0.3, 2.0, 2.0)
    drawn = np.asarray(hurdle.sample(jax.random.key(1), (MANY,)))
    assert (drawn == 0).mean() == pytest.approx(0.3, abs=0.01)
    assert np.exp(hurdle.log_prob(0.0)) == pytest.approx(0.3)
    grid = np.linspace(1e-6, 30.0, 20_001)
    density = np.exp(np.asarray(hurdle.log_prob(grid)))
    assert np.trapezoid(density, grid) == pytest.approx(0.7, abs=1e-3)
    below = np.trapezoid(density[grid <= 1.0], grid[grid <= 1.0])
    assert ((drawn > 0) & (drawn <= 1.0)).mean() == pytest.approx(below, abs=0.01)


def test_every_defect_has_a_kind_and_accepted_answers():
    for scenario in DEFECTS.values():
        assert scenario.kind in ("misfit", "heterogeneous", "both")
        assert bool(scenario.accepted_beside) == (scenario.kind == "both")
        assert {family for family, _ in scenario.accepted} <= set(FAMILIES)


# ---- rates


def line(scenario, seed, p=0.5, **other):
    """A study whose families all have this p."""
    shared = {
        f"{family}_{what}": value
        for family in FAMILIES
        for what, value in (
            ("status", "suspect" if 7 * p < 0.05 else "pass"),
            ("p", p),
            ("p_adjusted", min(1.0, 7 * p)),
        )
    }
    kind = SCENARIOS[scenario].kind if SCENARIOS[scenario].is_null else "defect"
    return {
        "scenario": scenario,
        "kind": kind,
        "seed": seed,
        "n": 100,
        "k": SCENARIOS[scenario].n_subsets,
        **shared,
        "verdict": "adequate",
        "verdict_01": "adequate",
        "misfit": False,
        "heterogeneous": False,
        "family": "",
        "axis": "",
        "beside_family": "",
        "beside_axis": "",
        "smallest_p_adjusted": min(1.0, 7 * p),
        "effort_doubled_p": 0.001 if SCENARIOS[scenario].unit else None,
        "unusable": "",
        "cpu_seconds": 2.0,
        "code": studies.code(),
    } | other


def found(scenario, seed, family, axis, kind):
    answer = {"misfit": kind == "misfit", "heterogeneous": kind == "heterogeneous"}
    return line(scenario, seed, p=0.001, family=family, axis=axis, **answer)


@pytest.fixture
def lines():
    """A null with 2 alarms of 40, and a drift found in 18 of 20, once by the wrong family and once as both kinds."""
    nulls = [line("noncentred", seed, p=0.004 if seed < 2 else 0.5) for seed in range(40)]
    missed = [line("drift", seed) for seed in (1, 2)]
    right = [found("drift", seed, "drift", "arrival", "heterogeneous") for seed in range(3, 19)]
    wrong = [found("drift", 19, "agreement", "", "misfit")]
    both = [found("drift", 20, "heterogeneity", "arrival", "heterogeneous") | {"misfit": True}]
    return pd.DataFrame([*nulls, *missed, *right, *wrong, *both])


def test_columns_of_the_table_are_those_of_a_line():
    assert set(line("linear", 1)) == set(studies.COLUMNS)


def test_rates_count_what_was_seen(lines):
    rows = summary.summarise(lines).set_index("scenario")
    assert rows.loc["noncentred", "alarms_05"] == pytest.approx(2 / 40)
    assert rows.loc[summary.POOLED["null"], "alarms_01"] == 0.0
    assert rows.loc["drift", "alarms_05"] == pytest.approx(18 / 20)
    assert rows.loc["drift", "kind_right"] == pytest.approx(17 / 18)
    assert rows.loc["drift", "kind_alone"] == pytest.approx(16 / 18)
    assert rows.loc["drift", "accepted"] == pytest.approx(17 / 18)
    assert rows.loc["noncentred", "effort_doubled"] == 1.0


def test_a_standard_error_is_that_of_a_share_and_never_zero():
    assert Rate(500, 1000).error == pytest.approx(np.sqrt(0.25 / 1000), rel=0.01)
    assert 0 < Rate(0, 100).error < 0.01
    assert np.isnan(Rate(0, 0).value)
    assert str(Rate(0, 0)) == ""


def test_bars_say_what_falls_short(lines):
    short = {bar.what for bar in summary.missing(summary.bars(lines))}
    assert short == {
        "null studies",
        "false alarms at 1 %, all nulls",
        "drift: kind right",
        "effort: false alarms",
    }


@pytest.mark.parametrize(
    ("other", "right"),
    [
        ({"beside_family": "surprise"}, True),
        ({"beside_family": "heterogeneity", "beside_axis": "x1"}, False),
        ({"misfit": False}, False),
    ],
)
def test_of_two_defects_both_are_to_be_named(other, right):
    both = found("drift_and_dispersion", 1, "heterogeneity", "arrival", "heterogeneous")
    both |= {"misfit": True, "beside_family": "surprise"} | other
    rows = summary.summarise(pd.DataFrame([both])).set_index("scenario")
    named = rows.loc["drift_and_dispersion"]
    assert named["kind_right"] * named["accepted"] == float(right)
    only_one = found("drift_and_dispersion", 1, "surprise", "", "misfit")
    rows = summary.summarise(pd.DataFrame([only_one])).set_index("scenario")
    assert rows.loc["drift_and_dispersion", ["kind_right", "accepted"]].tolist() == [0, 0]


def test_one_null_far_above_the_others_falls_short(lines):
    bad = pd.DataFrame([line("gamma", seed, p=0.004 if seed < 12 else 0.5) for seed in range(40)])
    (bar,) = [b for b in summary.bars(pd.concat([lines, bad])) if b.what == "the worst null"]
    assert not bar.met
    assert bar.seen.startswith("gamma")


def structure_lines(n_alarms):
    """Of 100 true models with counties, and as many with censored lifetimes, so many of the former raise an alarm."""
    return pd.DataFrame(
        [line("counties_24", seed, p=0.004 if seed < n_alarms else 0.5) for seed in range(100)]
        + [line("censored", seed) for seed in range(100)]
    )


def test_nulls_of_structures_are_held_to_bars_of_their_own(lines):
    alone = summary.bars(lines)
    for n_alarms, short in (
        (7, set()),
        (12, {"false alarms at 5 %, all structures"}),
        (30, {"false alarms at 5 %, all structures", "the worst structure"}),
    ):
        found = summary.bars(pd.concat([lines, structure_lines(n_alarms)]))
        added = [bar for bar in found if "structure" in bar.what]
        assert [bar for bar in found if bar not in added] == alone
        assert {bar.what for bar in summary.missing(added)} == short


def test_a_null_of_a_structure_is_listed_apart(lines):
    both = pd.concat([lines, structure_lines(7)])
    page = document.write(both, studies.FULL)
    assert f"| all nulls | 100 | 40 | {Rate(2, 40)} |" in page
    assert f"| counties 24 | 24 | 100 | 100 | {Rate(7, 100)} |" in page
    assert f"| all structures | 8/24 | 100 | 200 | {Rate(7, 200)} |" in page


def test_the_page_and_the_plot_are_made_of_the_lines(lines, tmp_path):
    path = tmp_path / "calibration.csv"
    lines = pd.concat([lines, structure_lines(7)])
    lines.to_csv(path, index=False, columns=list(studies.COLUMNS))
    again = summary.read(path)
    assert summary.summarise(again).equals(summary.summarise(lines))
    page = document.write(again, studies.FULL)
    assert f"| noncentred | 100 | 40 | {Rate(2, 40)} |" in page
    assert f"| drift | heterogeneous | 20 | {Rate(18, 20)} |" in page
    plot.draw(again, tmp_path / "one.svg")
    plot.draw(again, tmp_path / "two.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


# ---- bounds of the quick form


def quick_lines(p_of_nulls):
    """Lines as the quick form makes them: families of nulls with these p-values, every defect found."""
    rng = np.random.default_rng(3)
    nulls = []
    for name in (name for name in quick.SCENARIOS if SCENARIOS[name].is_null):
        for seed in range(1, 25):
            p = {f"{family}_p": p_of_nulls(rng) for family in FAMILIES} | {"effort_p": 1.0}
            smallest = min(1.0, 7 * min(p.values()))
            nulls.append(line(name, seed, **p, smallest_p_adjusted=smallest))
    defects = [
        found(name, seed, *sorted(SCENARIOS[name].accepted, key=str)[0], SCENARIOS[name].kind)
        for name in ("groups", "drift", "contamination")
        for seed in range(1, 13)
    ]
    return pd.DataFrame(nulls + defects).fillna({"axis": ""})


def test_bounds_let_uniform_p_values_pass():
    assert summary.missing(quick.bars(quick_lines(lambda rng: rng.random()))) == []


@pytest.mark.parametrize(
    "broken", [lambda rng: rng.random() ** 3, lambda rng: 1.0, lambda rng: 1 - rng.random() ** 12]
)
def test_bounds_refuse_p_values_that_are_too_small_or_too_large(broken):
    assert summary.missing(quick.bars(quick_lines(broken)))


def test_bounds_refuse_a_structure_that_fools_a_family():
    lines = quick_lines(lambda rng: rng.random())
    lines.loc[lines["scenario"] == "censored", "surprise_p"] = 0.01
    assert "structures, surprise: false alarms at 0.05" in {
        bar.what for bar in summary.missing(quick.bars(lines))
    }


def test_bounds_refuse_a_defect_that_is_not_seen():
    lines = quick_lines(lambda rng: rng.random())
    lines.loc[lines["scenario"] == "contamination", "agreement_p"] = 0.5
    assert [bar.what for bar in summary.missing(quick.bars(lines))] == [
        "contamination: seen by agreement"
    ]


# ---- resuming


def test_batches_of_which_every_line_is_there_are_not_run_again(tmp_path):
    path = tmp_path / "calibration.csv"
    size = studies.FULL._replace(nulls=6, batch=3)
    calibrate.append(path, [line("linear", seed) for seed in (1, 2, 3)])
    calibrate.append(path, [line("gamma", 5), line("linear", 4)])
    assert list(calibrate.missing(path, "linear", size, 1)) == [[4, 5, 6]]
    assert list(calibrate.missing(path, "gamma", size, 1)) == [[1, 2, 3], [4, 5, 6]]
    assert next(calibrate.missing(path, "linear", size)) == [1001, 1002, 1003]


def test_lines_of_other_code_are_made_again(tmp_path):
    path = tmp_path / "calibration.csv"
    size = studies.FULL._replace(nulls=3, batch=3)
    calibrate.append(path, [line("linear", seed, code="another") for seed in (1, 2, 3)])
    assert list(calibrate.missing(path, "linear", size, 1)) == [[1, 2, 3]]


def test_a_line_that_is_made_again_takes_the_place_of_the_old_one(tmp_path):
    path = tmp_path / "calibration.csv"
    calibrate.append(path, [line("linear", 2), line("linear", 1)])
    calibrate.append(path, [line("linear", 1, verdict="suspect")])
    assert summary.read(path)[["seed", "verdict"]].to_numpy().tolist() == [
        [1, "suspect"],
        [2, "adequate"],
    ]
