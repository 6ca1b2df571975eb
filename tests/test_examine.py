"""The families of checks on whole studies, and the verdict that they end in."""

import dataclasses
import importlib.metadata
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
import small_studies

from scalecheck.data import store
from scalecheck.examine import (
    looks,
    run_agreement_and_drift,
    run_families,
    run_form,
    run_heterogeneity,
    run_surprise,
)
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import fit as fit_program
from scalecheck.results import study_fits
from scalecheck.study.settings import BudgetSettings

VERDICT = {
    "study",
    "version",
    "verdict",
    "misfit",
    "heterogeneous",
    "alpha",
    "rows",
    "gradients",
    "seconds",
    "findings",
    "forecast",
    "reason",  # beyond the contract: why it is inconclusive
    "unusable",
    "attribution",  # which family and axis decided what it means
    "p_simulated",
    "approximation",  # what the approximation of all rows is worth
}


@pytest.fixture(scope="module")
def examined(conjugate):
    return small_studies.judge(conjugate)


def test_verdict_json_has_exactly_the_keys_of_the_contract(conjugate, examined):
    _, content = examined
    assert set(content) == VERDICT
    assert set(content["rows"]) == {"total", "used", "first_seen"}
    assert content["version"] == importlib.metadata.version("scalecheck")
    assert set(content["forecast"]) == {"rows", "gradients", "seconds", "price", "over_budget"}
    assert content["forecast"]["rows"] == 214
    for finding in content["findings"]:
        assert set(finding) == {
            "family",
            "status",
            "p",
            "p_adjusted",
            "p_simulated",
            "effect",
            "where",
            "message",
        }
        assert set(finding["where"]) == {"axis", "level", "parameter", "fit"}
        assert (finding["effect"] is None) == (finding["status"] == "not run")
        if finding["effect"]:
            assert set(finding["effect"]) == {"name", "value", "low", "high"}
    # The only covariate is 1 in every row, and no term of it can be missing.
    not_run = [f["family"] for f in content["findings"] if f["status"] == "not run"]
    assert not_run == ["form"]


def test_a_true_model_is_adequate_and_every_row_is_counted_once(conjugate, examined):
    _, content = examined
    assert content["verdict"] == "adequate"
    assert not content["misfit"]
    assert not content["heterogeneous"]
    # The last increment is all rows, so that subsets and levels add none.
    assert content["rows"] == {"total": 214, "used": 214, "first_seen": None}


def test_gradients_and_seconds_are_those_of_all_records(conjugate, examined):
    _, content = examined
    plan = formats.read_plan(conjugate.folder.plan)
    found = [formats.read_json(conjugate.folder.record(row.fit)) for row in plan]
    assert content["gradients"] == sum(
        sum(one["gradients"]["warmup"]) + sum(one["gradients"]["sampling"]) for one in found
    )
    assert content["seconds"] == pytest.approx(sum(sum(one["seconds"].values()) for one in found))


def test_every_family_ran_once_per_axis_and_step(examined):
    found, _ = examined
    # Surprise has the axis of its leading statistic, effort the subset that took most.
    places = [
        (f.family, f.axis if f.family != "surprise" else None, f.fit)
        for f in found.findings
        if f.family != "effort"
    ]
    assert places == [
        ("agreement", None, None),
        ("heterogeneity", "group", "increment-03"),
        ("heterogeneity", "arrival", "increment-03"),
        ("form", None, "increment-03"),
        ("drift", None, "increment-02"),
        ("drift", None, "increment-03"),
        ("drift", None, None),
        ("surprise", None, "increment-02"),
        ("surprise", None, "increment-03"),
        ("surprise", None, None),
        ("scaling", None, "increment-03"),
        ("adaptation", None, "increment-01"),
        ("adaptation", None, "increment-02"),
        ("adaptation", None, "increment-03"),
    ]
    assert [f.family for f in found.findings].count("effort") == 1
    for family in {f.family for f in found.findings}:
        weights = [f.weight for f in found.findings if f.family == family]
        assert sum(weights) == pytest.approx(1)


def test_tables_have_a_row_for_every_fit_and_parameter(conjugate, examined):
    found, _ = examined
    plan = [row.fit for row in formats.read_plan(conjugate.folder.plan)]
    fits = found.tables["fits"].set_index("fit")
    assert fits.index.tolist() == plan
    assert fits["usable"].all()
    cost = fits["iterations"] * fits["leapfrogs_per_iteration"]
    record = formats.read_json(conjugate.folder.record("subset-01"))
    n_draws = conjugate.read("subset-01").z.shape[1]
    assert fits.loc["subset-01", "iterations"] == 4 * (200 + n_draws)
    gradients = record["gradients"]
    assert cost["subset-01"] == pytest.approx(sum(gradients["warmup"]) + sum(gradients["sampling"]))
    assert found.tables["estimates"]["fit"].tolist() == plan
    estimate = found.tables["estimates"].set_index("fit").loc["increment-03"]
    y = conjugate.values("increment-03", "y")["y"]
    assert estimate["mean"] == pytest.approx(y.sum() / (len(y) + 1), abs=4 * estimate["mcse"])


def test_a_look_at_an_increment_finds_what_the_check_of_the_study_finds(conjugate, examined):
    """Or the chain would stop for a finding that the verdict does not have."""
    found, _ = examined
    fits = [conjugate.read(f"increment-0{number}") for number in (1, 2, 3)]
    for n_so_far in (2, 3):
        look = run_families.look_at(
            conjugate.evidence(), fits[:n_so_far], conjugate.study.data, planned=3
        )
        name = fits[n_so_far - 1].task.fit
        families = ("drift", "surprise", "scaling", "adaptation")
        checked = [f for f in found.findings if f.fit == name and f.family in families]
        assert look.surprised is not None
        seen = [*look.findings[:1], look.surprised.finding, *look.findings[1:]]
        assert [(f.family, f.p, f.weight, f.large) for f in seen] == [
            (f.family, f.p, f.weight, f.large) for f in checked
        ]


def test_looks_that_are_read_say_what_would_be_computed(conjugate, tmp_path):
    fits = [conjugate.read(f"increment-0{number}") for number in (1, 2, 3)]
    study, folder = conjugate.study, StudyFolder(tmp_path)
    seen = {}
    for n_so_far in (2, 3):
        name = fits[n_so_far - 1].task.fit
        look = run_families.look_at(conjugate.evidence(), fits[:n_so_far], study.data, planned=3)
        folder.look(name).parent.mkdir(parents=True)
        looks.write_look(folder, name, "this", look)
        seen[name] = looks.read_look(folder, name, "this")
    every = study_fits.read_study_fits(conjugate.folder, "arrival")
    with jax.enable_x64(True):
        read = run_surprise.run_surprise(conjugate.evidence(), every, study.data, seen)
        anew = run_surprise.run_surprise(conjugate.evidence(), every, study.data, {})
    assert read.findings == anew.findings
    assert read.findings[-1].fit is None
    pd.testing.assert_frame_equal(read.tables["surprise"], anew.tables["surprise"])


def test_increments_that_are_fine_say_nothing(conjugate):
    for name in ("increment-02", "increment-03"):
        assert formats.read_json(conjugate.folder.record(name))["stop"] == ""


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """The same model, and data that jump after 64 of 1024 rows: the chain as the workflow runs it."""
    rng = np.random.default_rng(6)
    y = rng.standard_normal(1024) + 1.5 * (np.arange(1024) >= 64)
    table = pd.DataFrame({"y": y, "x": 1.0, "year": 1.0 + np.arange(1024) // 64})
    small = small_studies.make(
        tmp_path_factory.mktemp("broken"),
        table,
        data={"order": "year"},
        subsets={"count": 3, "size": 40},
        # Padded to the common shape, as in `conjugate`, whose programs serve here too: so each alone, and cold.
        increments={"start": 64, "factor": 2, "end": 512, "warm": False},
        sampler={"chains": 4, "warmup": 200, "draws": 300},
    )
    for name in ("subset-01", "subset-02", "subset-03"):
        small.fit(name)
    fit_program.write_increments(small.assigned())
    return small


def test_the_chain_stops_where_the_model_breaks_and_the_rest_says_why(broken):
    found = [formats.read_json(broken.folder.record(f"increment-0{n}")) for n in range(1, 5)]
    assert [one["status"] for one in found] == ["done", "done", "skipped", "skipped"]
    assert "stop" not in found[0]  # the first has nothing before it to look at
    assert found[1]["stop"].startswith("increment-02 (128 rows) was found to break: ")
    assert found[2]["reason"] == found[3]["reason"] == found[1]["stop"]
    assert not broken.folder.posterior("increment-03").exists()


def test_a_break_over_time_is_strong_heterogeneous_and_dated(broken):
    found, content = small_studies.judge(broken)
    assert content["verdict"] == "breaks"
    assert content["heterogeneous"]
    assert content["rows"]["first_seen"] == 128
    strong = {f["family"] for f in content["findings"] if f["status"] == "strong"}
    assert "drift" in strong
    fits = found.tables["fits"].set_index("fit")
    assert fits.loc["increment-04", "status"] == "skipped"
    assert fits.loc["increment-04", "reason"].startswith("increment-02 (128 rows)")
    assert not fits.loc["increment-04", "usable"]
    # Rows of skipped fits are not used.
    used = [observations(broken, fit) for fit in fits.index[fits["status"] == "done"]]
    assert content["rows"]["used"] == len(np.unique(np.concatenate(used)))


def observations(small, fit):
    return small.values(fit, store.OBSERVATION)[store.OBSERVATION]


def test_a_fit_that_cannot_be_used_makes_the_study_inconclusive(conjugate, examined, tmp_path):
    fits = formats.read_table(conjugate.folder.table("fits"))
    fits.loc[fits["fit"] == "subset-02", ["usable", "reason"]] = [False, "R-hat of mu is 1.2"]
    small = copy(conjugate, tmp_path)
    formats.write_table(small.folder.table("fits"), fits)
    content = small_studies.decide(small)
    assert (content["verdict"], content["reason"]) == (
        "inconclusive",
        "subset-02: R-hat of mu is 1.2",
    )


def test_a_price_and_a_budget_change_the_forecast_and_nothing_else(conjugate, examined, tmp_path):
    _, before = examined
    small, log = copy(conjugate, tmp_path), []
    limits = BudgetSettings(seconds=0.001, price_per_hour=3600.0)
    small = small._replace(study=dataclasses.replace(small.study, budget=limits))
    content = small_studies.decide(small, log.append)
    assert content | {"forecast": None} == before | {"forecast": None}
    assert content["forecast"] == before["forecast"] | {
        "price": pytest.approx(before["forecast"]["seconds"]),
        "over_budget": True,
    }
    assert [line for line in log if line.endswith(" at 3600 an hour, over budget.seconds 0.001")]


def copy(small, path):
    shutil.copytree(small.folder.path, path / "small")
    return small._replace(folder=StudyFolder(path / "small"))


def test_families_whose_fits_cannot_be_used_are_not_run_and_say_so(conjugate):
    study = study_fits.read_study_fits(conjugate.folder, "arrival")
    bad = {
        name: fit._replace(health=fit.health._replace(reason="R-hat of mu is 1.2"))
        for name, fit in study.done.items()
    }
    study = study._replace(done=bad)
    evidence, settings = conjugate.evidence(), conjugate.study
    parts = [
        run_agreement_and_drift.run_agreement(evidence, study),
        run_heterogeneity.run_heterogeneity(
            evidence, study, None, None, settings.data, settings.increments
        ),
        run_form.run_form(evidence, None),
        run_agreement_and_drift.run_drift(evidence, study, 1.0),
        run_surprise.run_surprise(evidence, study, settings.data, {}),
    ]
    findings = [finding for part in parts for finding in part.findings]
    for finding in findings:
        assert finding.p is None
        assert "usable" in finding.message or "cannot be used" in finding.message
    assert [finding.family for finding in findings].count("heterogeneity") == 2
