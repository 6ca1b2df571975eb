"""What `make defects` simulates, asks and counts."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent / "calibration"))
sys.path.insert(0, str(Path(__file__).parent / "defects"))
import benchmark
import benchmark_models
import lines
import methods
import power
import power_page
import power_plot
import score_tests
import split_tables
from benchmark_models import MODELS, NULL, simulate
from cases import Case
from defect_kinds import KINDS

N_ROWS = 400
MANY = 40_000


def both(name, defect, strength=2, n_rows=N_ROWS):
    """A table and the null that it was made of."""
    return (simulate(name, kind, strength, 3, n_rows) for kind in (defect, NULL))


# ---- tables


def test_there_are_twenty_models_and_ten_defects_each_of_which_some_have():
    assert len(MODELS) == 20
    assert len(KINDS) == 10
    assert {defect for model in MODELS.values() for defect in model.defects} == set(KINDS)


@pytest.mark.parametrize("name", MODELS)
def test_a_defect_changes_the_table_and_nothing_else_does(name):
    null = simulate(name, NULL, 0, 3, N_ROWS)
    for column, values in simulate(name, NULL, 0, 3, N_ROWS).items():
        np.testing.assert_array_equal(values, null[column])
    for defect in MODELS[name].defects:
        table = simulate(name, defect, 2, 3, N_ROWS)
        assert np.isfinite(table["y"]).all()
        changed = {column for column in null if (table[column] != null[column]).any()}
        expected = {"x1"} if defect == "source_units" else {"y", "lag", "lost"}
        assert changed
        assert changed <= expected, defect


@pytest.mark.parametrize("name", MODELS)
def test_a_model_has_the_spread_of_its_rows(name):
    table = simulate(name, NULL, 0, 1, 20_000)
    rows = benchmark_models.rows_of(name, table)
    if MODELS[name].truth.levels is not None:
        rows = rows._replace(own=MODELS[name].truth.levels(rows)[0])
    spread = 1 / np.sqrt((score_tests.Asked(MODELS[name], rows).s ** 2).mean())
    # Of levels that are estimated from few rows residuals are smaller than they are.
    assert spread == pytest.approx(MODELS[name].spread, rel=0.15)


def test_groups_drift_regime_and_quadratic_add_to_the_predictor_what_they_say():
    time, spread = np.linspace(0, 1, N_ROWS), 1.0
    for defect, column in {
        "drift": lambda x: (time - 0.5) * x,
        "regime": lambda x: time > 0.6,
        "quadratic": lambda x: x**2 - 1,
    }.items():
        table, null = both("linear", defect)
        size = spread * KINDS[defect].sizes[2]
        np.testing.assert_allclose(table["y"] - null["y"], size * column(null["x1"]), atol=1e-9)
    table, null = both("linear", "groups")
    added = pd.Series(table["y"] - null["y"]).groupby(null["grp"])
    assert added.std().max() == pytest.approx(0, abs=1e-9)
    assert added.first().std() == pytest.approx(KINDS["groups"].sizes[2], rel=0.25)


def test_residuals_have_the_size_that_follows_x_and_the_correlation_that_they_should():
    table, null = both("linear", "heteroscedastic")
    mean = benchmark_models.rows_of("linear", null).x @ np.array(benchmark_models.GAUSSIAN)
    ratio = (table["y"] - mean) / (null["y"] - mean)
    np.testing.assert_allclose(ratio, np.exp(0.16 * null["x1"]), rtol=1e-6)
    table, null = both("linear", "autoregression", n_rows=MANY)
    mean = benchmark_models.rows_of("linear", null).x @ np.array(benchmark_models.GAUSSIAN)
    rest = table["y"] - mean
    assert np.corrcoef(rest[1:], rest[:-1])[0, 1] == pytest.approx(0.2, abs=0.02)
    assert rest.var() == pytest.approx(1.0, abs=0.03)


def test_counts_are_overdispersed_and_zeros_are_added():
    table, null = both("poisson", "overdispersion", n_rows=MANY)
    mean = np.exp(benchmark_models.rows_of("poisson", null).x @ np.array(benchmark_models.COUNTS))
    excess = ((table["y"] - mean) ** 2 - mean).mean() / (mean**2).mean()
    assert excess == pytest.approx(0.12, abs=0.02)
    table, null = both("poisson", "zero_inflation", n_rows=MANY)
    gone = table["y"] != null["y"]
    assert (table["y"][gone] == 0).all()
    assert gone.mean() == pytest.approx(0.08 * (null["y"] > 0).mean(), abs=0.01)


@pytest.mark.parametrize("name", ["linear", "gamma"])
def test_few_outcomes_are_contaminated(name):
    table, null = both(name, "contamination", n_rows=MANY)
    assert (table["y"] != null["y"]).mean() == pytest.approx(0.02, abs=0.004)


def test_one_source_writes_other_units():
    table, null = both("logit", "source_units")
    ratio = table["x1"] / null["x1"]
    np.testing.assert_allclose(ratio, np.where(null["src"] == 0, 2.54, 1.0))


def test_a_lag_is_the_outcome_before():
    table = simulate("autoregressive", "drift", 2, 1, N_ROWS)
    np.testing.assert_array_equal(table["lag"][1:], table["y"][:-1])


def test_what_is_recorded_of_a_life_ends_with_the_time_of_watching():
    table = simulate("survival", NULL, 0, 1, N_ROWS)
    recorded = MODELS["survival"].recorded(np.full((1, N_ROWS), 10.0), table)
    assert (recorded["y"][0] <= table["end"]).all()
    np.testing.assert_array_equal(recorded["lost"][0] > 0, table["end"] < 10.0)
    assert (table["lost"] == 1).mean() == pytest.approx(0.3, abs=0.06)


# ---- oracles


@pytest.mark.parametrize("name", MODELS)
def test_scores_of_the_truth_are_zero_on_average(name):
    """So the density that an oracle takes is the one that tables are drawn from."""
    tables = [simulate(name, NULL, 0, 500 + seed, 200) for seed in range(60)]
    scores = np.array([score_tests.measure(name, table).scores for table in tables])
    # Scales of residuals around estimated levels, and spreads of these, are no scores of the truth.
    d = len(MODELS[name].truth.theta) - (MODELS[name].truth.levels is not None)
    z = scores.mean(axis=0)[:d] / (scores.std(axis=0)[:d] / np.sqrt(len(scores)))
    assert (np.abs(z) < 4).all(), z


ORACLES = {
    "groups": "crossed",
    "drift": "slopes",
    "regime": "mixture",
    "overdispersion": "poisson",
    "quadratic": "ordinal",
    "contamination": "survival",
    "heteroscedastic": "student",
    "zero_inflation": "negative_binomial",
    "source_units": "index",
    "autoregression": "counties",
}


@pytest.mark.parametrize("defect", KINDS)
def test_an_oracle_has_its_level_and_finds_its_defect(defect):
    name, n_rows = ORACLES[defect], 400
    null = score_tests.null_of(name, n_rows, 199)

    def p_of(kind, n_tables):
        tables = [simulate(name, kind, 2, seed, n_rows) for seed in range(n_tables)]
        measured = [score_tests.measure(name, table) for table in tables]
        return score_tests.p_values(name, null, measured, defect)

    alarms, found = p_of(NULL, 300) < 0.05, p_of(defect, 60) < 0.05
    assert 0.01 < alarms.mean() < 0.10
    assert found.mean() > 0.5


def test_an_oracle_cannot_be_fooled_by_parameters_that_the_model_has():
    """A table of other coefficients is no defect: their scores are projected out."""
    null = score_tests.null_of("linear", 400, 199)
    rng = np.random.default_rng(1)
    tables = [simulate("linear", NULL, 0, seed, 400) for seed in range(60)]
    moved = [t | {"y": t["y"] + 0.1 * rng.standard_normal() * t["x1"]} for t in tables]
    measured = [score_tests.measure("linear", table) for table in moved]
    p = score_tests.p_values("linear", null, measured, "drift")
    assert (p < 0.05).mean() < 0.15


# ---- methods


@pytest.fixture(scope="module")
def case():
    """A tiny data set of which all methods share the fit; also with a replicate of it, a program has 256 rows."""
    return Case("linear", NULL, 0, 15, 1)


def test_methods_are_those_in_their_folder():
    assert {"oracle", "verdict", "single_split", "loo_pit"} <= set(methods.names())
    for name in methods.names():
        assert methods.load(name).check.__doc__
        assert methods.load(name).__doc__


# A study compiles the programs of all checks.
@pytest.mark.parametrize(
    "method",
    [pytest.param(n, marks=[pytest.mark.long] * (n == "verdict")) for n in methods.names()],
)
def test_a_method_gives_a_p_value(case, method, monkeypatch):
    if method == "posterior_sbc":
        monkeypatch.setattr(methods.load(method), "N_SIMULATIONS", 3)
    answer = methods.load(method).check(case)
    assert 0 <= answer.p <= 1
    assert answer.kind in ("", "misfit", "heterogeneous")
    assert (answer.gradients > 0) == (method != "oracle")


def test_parts_of_a_table_hold_each_row_once_and_units_whole():
    case = Case("centred", NULL, 0, 25, 1)
    parts = split_tables.folds(case, 4, "any")
    assert sum(len(part["y"]) for part in parts) == 200
    for part in parts:
        first, second = split_tables.halves(case, part)
        assert not set(first["unit"]) & set(second["unit"])
        assert len(first["y"]) + len(second["y"]) == len(part["y"])
        assert (np.bincount(part["unit"])[np.unique(part["unit"])] == 5).all()


# Compiling is a minute for each model: one with a censored outcome, and one with two groupings.
@pytest.mark.long
@pytest.mark.parametrize("name", ["survival", "crossed"])
def test_every_method_runs_on_models_with_a_structure(name, monkeypatch):
    monkeypatch.setattr(methods.load("posterior_sbc"), "N_SIMULATIONS", 3)
    # Parts of other numbers of levels are compiled each: four, not nineteen.
    monkeypatch.setattr(methods.load("divided_split"), "RATE", 0.25)
    monkeypatch.setattr(score_tests, "N_NULLS", 99)
    found = benchmark.run_case((name, "groups", 3, 1, 50), methods.names())
    for line in found:
        assert line["p"] != "" or line["note"] == "no draws", line
        assert not line["note"].startswith("failed"), line


# ---- lines


def line(**other):
    usual = {
        "model": "linear",
        "defect": NULL,
        "strength": 0,
        "n": 100,
        "seed": 1,
        "method": "oracle",
        "p": 0.5,
        "kind": "",
        "axis": "",
        "gradients": 1000,
        "row_gradients": 800_000,
        "cpu_seconds": 1.0,
        "note": "",
    } | other
    return usual | {"code": other.get("code", lines.code(usual["method"]))}


def options(**other):
    usual = {
        "models": ["linear"],
        "defects": [NULL, "drift"],
        "methods": ["oracle", "verdict"],
        "strengths": [3],
        "n": [100],
        "seeds": 2,
    }
    return argparse.Namespace(**usual | other)


def test_a_line_that_is_there_is_not_made_again(tmp_path):
    path = tmp_path / "defects.csv"
    (part,) = benchmark.missing(path, options())
    assert len(part) == 4
    assert all(todo == ["oracle", "verdict"] for _, todo in part)
    lines.append(path, [line(), line(method="verdict")])
    lines.append(path, [line(seed=2), line(seed=2, method="verdict", code="of another")])
    (part,) = benchmark.missing(path, options())
    assert dict(part)[("linear", NULL, 0, 2, 100)] == ["verdict"]
    assert ("linear", NULL, 0, 1, 100) not in dict(part)
    assert list(benchmark.missing(path, options(defects=[NULL], seeds=1))) == []


def test_a_costly_method_has_fewer_seeds(tmp_path):
    asked = options(methods=["oracle", "posterior_sbc"], defects=[NULL], seeds=7)
    (part,) = benchmark.missing(tmp_path / "defects.csv", asked)
    counts = [len(todo) for _, todo in part]
    assert counts == [2, 2, 2, 2, 2, 1, 1]


def test_what_a_killed_run_left_of_a_line_goes(tmp_path):
    path = tmp_path / "defects.csv"
    lines.append(path, [line()])
    whole = path.read_text()
    path.write_text(whole + "linear,null,0,10")
    lines.append(path, [line(seed=2)])
    assert lines.read(path)["seed"].tolist() == [1, 2]
    assert path.read_text().startswith(whole)


def test_the_newest_line_of_a_key_stands(tmp_path):
    path = tmp_path / "defects.csv"
    lines.append(path, [line(seed=2), line(), line(p=0.25)])
    lines.tidy(path, MODELS)
    assert lines.read(path)[["seed", "p"]].to_numpy().tolist() == [[1, 0.25], [2, 0.5]]
    assert len(path.read_text().splitlines()) == 3


def test_a_method_that_is_missing_or_fails_says_so(monkeypatch):
    def absent(case):
        raise ModuleNotFoundError("No module", name="simuk")

    monkeypatch.setattr(methods.load("loo_pit"), "check", absent)
    monkeypatch.setattr(methods.load("oracle"), "check", lambda case: 1 / 0)
    found = benchmark.run_case(("linear", NULL, 0, 1, 25), ["loo_pit", "oracle"])
    assert [one["note"] for one in found] == [
        "not installed: simuk",
        "failed: ZeroDivisionError: division by zero",
    ]
    assert [one["p"] for one in found] == ["", ""]


def test_the_checks_of_the_library_are_part_of_what_the_verdict_alone_depends_on(monkeypatch):
    assert len({lines.code(name) for name in methods.names()}) == len(methods.names())
    assert getattr(methods.load("verdict"), "USES_CHECKS", False)
    assert not getattr(methods.load("loo_pit"), "USES_CHECKS", False)


# ---- rates


def synthetic():
    """Nulls of three methods, and a drift that the oracle finds with 400 rows, the verdict with 800, a peer never."""
    rng = np.random.default_rng(5)
    found = []
    reach = {"oracle": 50, "verdict": 100, "loo_pit": 1000}
    for method, least in reach.items():
        for n in (25, 50, 100, 200):
            usual = {"method": method, "n": n}
            null = rng.random(60) if method != "loo_pit" else 0.5 + 0.5 * rng.random(60)
            found += [line(seed=s, p=p, **usual) for s, p in enumerate(null, 1)]
            p = 1e-4 if n >= least else 0.4
            answer = {"kind": "heterogeneous", "axis": "arrival"} if method == "verdict" else {}
            drift = {"defect": "drift", "strength": 3, "p": p, **usual, **answer}
            found += [line(seed=s, **drift) for s in range(1, 21)]
    return pd.DataFrame(found)


def test_a_conservative_method_is_given_the_false_alarms_of_the_others():
    table = synthetic()
    equal = power.bounds(table)
    assert equal["loo_pit", 100] > 0.5
    nulls = table[table["defect"] == NULL]
    share = power.rejected(nulls, equal).groupby([nulls["method"], nulls["n"]]).mean()
    assert (share <= 0.05).all()
    assert power.false_alarms(table)["loo_pit", 100].seen == 0
    few = table[table["seed"] <= 20]
    assert set(power.bounds(few).values()) == {0.05}


def test_rows_needed_are_interpolated_between_sizes():
    usual = {"data_sets": [20] * 3, "n": [25, 50, 100]}
    assert power.rows_needed(pd.DataFrame(usual | {"rejected": [0.2, 0.8, 1.0]})) == pytest.approx(
        400 * 2**0.5
    )
    assert power.rows_needed(pd.DataFrame(usual | {"rejected": [1.0, 1.0, 1.0]})) == pytest.approx(
        200
    )
    assert power.rows_needed(pd.DataFrame(usual | {"rejected": [0.2, 0.8, 0.85]})) == np.inf


def test_rows_are_compared_with_those_of_the_oracle():
    table = synthetic()
    one_size = table[(table["method"] == "verdict") & (table["n"] == 100)].assign(method="slow")
    table = pd.concat([table, one_size])
    found = power.ratios(power.summarise(table)).set_index("method")["ratio"]
    assert "slow" not in found.index
    assert found["oracle"] == 1.0
    assert found["verdict"] == pytest.approx(2.0)
    # At equal false alarms a method whose p-values of nulls are above .5 rejects at .4.
    assert found["loo_pit"] == pytest.approx(200 / (200 * 2**0.9))


def test_the_verdict_is_ahead_where_every_peer_has_less_power():
    table = synthetic()
    average = power.average_power(power.summarise(table))
    assert average.loc["drift", "oracle"] == pytest.approx(0.75)
    assert average.loc["drift", "data_sets"] == 80
    assert power.ahead(power.summarise(table)) == {"drift": False}
    table.loc[(table["method"] == "loo_pit") & (table["defect"] == "drift"), "p"] = 0.99
    assert power.ahead(power.summarise(table)) == {"drift": True}


def test_a_method_that_ran_on_less_is_compared_on_that():
    table = synthetic()
    verdict = table[(table["method"] == "verdict") & (table["defect"] == "drift")]
    small = verdict[verdict["n"] == 50].assign(method="slow", p=1e-9)
    table = pd.concat([table, small])
    table.loc[table["method"] == "loo_pit", "p"] = 0.99
    summary = power.summarise(table)
    assert power.average_power(summary).loc["drift", "slow"] == 1.0
    # At 50 rows a subset the verdict finds nothing, and has less power than the slow method, which ran there alone.
    assert power.ahead(summary) == {"drift": False}
    nowhere = summary.assign(n=summary["n"] + 1000 * (summary["method"] != "verdict"))
    assert power.ahead(nowhere[nowhere["method"] != "oracle"]) == {}
    table.loc[table["method"] == "slow", "n"] = 200
    table.loc[(table["method"] == "slow") & (table["seed"] > 10), "p"] = 0.99
    assert power.ahead(power.summarise(table)) == {"drift": True}


def test_page_and_plot_are_made_of_the_lines_and_the_rest_of_the_page_stays(tmp_path):
    table = synthetic()
    page = power_page.DOCUMENT.read_text()
    written = power_page.write(table, page)
    assert power_page.write(table, written) == written
    assert written.startswith(page.partition(power_page.BEGIN)[0])
    assert written.endswith(page.partition(power_page.END)[2])
    assert "| verdict | 100 | 100 |" in written
    words = " ".join(written.split())
    assert "Not run yet: student" in words
    assert "other code" not in words
    table.loc[0, "code"] = "of another"
    words = " ".join(power_page.write(table, page).split())
    assert "Of these lines 1 were made by other code" in words
    for name in ("one.svg", "two.svg"):
        power_plot.draw(table, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
