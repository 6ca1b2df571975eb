"""The checks of cost on the fits of a study."""

import math

import numpy as np
import pytest

from scalecheck.examine import run_costs
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.results import study_fits
from scalecheck.results.chains import effort_of


@pytest.fixture(scope="module")
def study(conjugate):
    return study_fits.read_study_fits(conjugate.folder, "arrival")


def with_statistic(fit, name, change):
    """A fit in which one statistic of the draws is changed."""
    tree = fit.tree.copy()
    tree["sample_stats"][name] = change(fit.tree["sample_stats"][name])
    return fit._replace(tree=tree)


def test_a_conjugate_model_passes_all_three_families(study):
    parts = [
        run_costs.run_effort(study, ["group"]),
        run_costs.run_scaling(study),
        run_costs.run_adaptation(study),
    ]
    findings = [finding for part in parts for finding in part.findings]
    places = [(finding.family, finding.fit) for finding in findings]
    assert places[1:] == [
        ("scaling", "increment-03"),
        ("adaptation", "increment-01"),
        ("adaptation", "increment-02"),
        ("adaptation", "increment-03"),
    ]
    for finding in findings:
        assert finding.p / finding.weight > 0.01
        assert not finding.large
    for family in ("effort", "scaling", "adaptation"):
        assert sum(f.weight for f in findings if f.family == family) == pytest.approx(1)


def test_leapfrogs_are_those_of_the_records(study):
    table = run_costs.run_effort(study, ["group"]).tables["effort"].set_index("fit")
    assert table["kind"].tolist() == 3 * ["subset"] + 2 * ["level"]
    for name, row in table.iterrows():
        gradients = study.recorded[name].gradients.sampling
        n_draws = study.done[name].z.shape[1]
        assert row["leapfrogs"] == pytest.approx(sum(gradients) / len(gradients) / n_draws)
        assert row["seconds_per_gradient"] == study.recorded[name].seconds_per_gradient


def test_seconds_of_levels_are_by_row_of_those_that_were_timed(study):
    levels = [fit for fit in study.done.values() if fit.task.kind == "level"]
    padded = [study.recorded[fit.task.fit].padded_rows for fit in levels]
    assert effort_of(levels).timed_rows.tolist() == padded == [256, 256]
    assert max(fit.task.rows for fit in levels) < 256


def test_the_table_of_adaptation_has_the_windows_of_every_fit(study):
    table = run_costs.run_adaptation(study).tables["adaptation"]
    windows = study.recorded["increment-02"].windows
    part = table[(table["fit"] == "increment-02") & (table["chain"] == 1)]
    assert part["window"].tolist() == [*(str(i + 1) for i in range(len(windows))), "sampling"]
    assert part["step_size"].tolist()[:-1] == [window.step_size[1] for window in windows]
    assert set(table["fit"]) == set(study.done)
    warmup = study.done["increment-02"].tree["warmup_sample_stats"]["n_steps"].to_numpy()[1]
    stops = part["stop"].to_numpy()[:-1]
    spent = (part["leapfrogs"].to_numpy()[:-1] * np.diff(stops, prepend=0)).sum()
    assert spent == pytest.approx(warmup.sum())


def test_looks_at_increments_find_what_the_check_of_the_study_finds(study):
    fits = [study.done[f"increment-0{i}"] for i in (1, 2, 3)]
    checked = run_costs.run_scaling(study).findings + run_costs.run_adaptation(study).findings
    looks = run_costs.scaling_looks(3)
    assert run_costs.scaling_step(fits[:2], looks) == []
    looked = run_costs.scaling_step(fits, looks) + [
        run_costs.adaptation_step(fit, 1 / 3) for fit in fits
    ]
    assert [(f.family, f.fit, f.p, f.weight, f.large) for f in looked] == [
        (f.family, f.fit, f.p, f.weight, f.large) for f in checked
    ]


def spoilt(study, *names):
    """The study when these fits cannot be used."""
    bad = {
        name: fit._replace(health=fit.health._replace(reason="R-hat of mu is 1.2"))
        for name, fit in study.done.items()
        if name in names
    }
    return study._replace(done={**study.done, **bad})


def test_nothing_passes_that_rests_on_fits_that_cannot_be_used(study):
    worse = spoilt(study, *study.done)
    parts = (run_costs.run_effort(worse, []), run_costs.run_adaptation(worse))
    findings = [finding for part in parts for finding in part.findings]
    assert [finding.p for finding in findings] == [None] * 4
    assert "got 0 of 3 fitted" in findings[0].message
    for finding in findings[1:]:
        assert finding.message == f"{finding.fit} cannot be used: R-hat of mu is 1.2"
    (scaling,) = run_costs.run_scaling(worse).findings
    assert scaling.p is None
    assert "before increment-03 have a usable posterior" in scaling.message
    (scaling,) = run_costs.run_scaling(spoilt(study, "increment-03")).findings
    assert scaling.p is None
    assert "increment-03 cannot be used" in scaling.message


def test_a_subset_that_takes_most_and_cannot_be_used_accuses_no_rows(study):
    slow = with_statistic(study.done["subset-02"], "n_steps", lambda n_steps: 9 * n_steps)
    changed = study._replace(done={**study.done, "subset-02": slow})
    (finding,) = run_costs.run_effort(spoilt(changed, "subset-02"), []).findings
    assert finding.p is None
    assert "subset-02, which cannot be used, is left out" in finding.message


def test_a_subset_that_takes_three_times_the_leapfrogs_is_found(study):
    slow = with_statistic(study.done["subset-02"], "n_steps", lambda n_steps: 3 * n_steps)
    changed = study._replace(done={**study.done, "subset-02": slow})
    (finding,) = run_costs.run_effort(changed, []).findings
    assert finding.fit == "subset-02"
    assert finding.p < 0.05
    assert finding.effect.value == pytest.approx(3, rel=0.3)


def test_increments_that_were_skipped_spend_nothing(study):
    done = {name: fit for name, fit in study.done.items() if name != "increment-03"}
    early = study._replace(done=done)
    (scaling,) = run_costs.run_scaling(early).findings
    assert scaling.p is None
    weights = [finding.weight for finding in run_costs.run_adaptation(early).findings]
    assert weights == [pytest.approx(1 / 3)] * 2


def test_a_study_without_fits_has_empty_tables(study):
    nothing = study._replace(done={})
    for part in (
        run_costs.run_effort(nothing, ["group"]),
        run_costs.run_scaling(nothing),
        run_costs.run_adaptation(nothing),
    ):
        assert part.findings[0].p is None
        (table,) = part.tables.values()
        assert len(table) == 0
        assert len(table.columns) > 5


def test_tables_survive_a_file(study, tmp_path):
    folder = StudyFolder(tmp_path)
    for name, table in run_costs.run_adaptation(study).tables.items():
        formats.write_table(folder.table(name), table)
        again = formats.read_table(folder.table(name))
        assert again["window"].tolist() == table["window"].tolist()
        assert math.isclose(again["step_size"].sum(), table["step_size"].sum())
