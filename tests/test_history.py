"""The table of how chains ran, from the statistics of real fits and of one whose chain stalls."""

import numpy as np
import pandas as pd
import pytest
import synthetic_results

from scalecheck.report import captions
from scalecheck.report.history_plot import history
from scalecheck.results import study_fits
from scalecheck.results.history import SPAN, history_table

N_ITERATIONS = 500


@pytest.fixture(scope="module")
def study(conjugate):
    return study_fits.read_study_fits(conjugate.folder, "arrival")


def whole(fit, name):
    groups = ("warmup_sample_stats", "sample_stats")
    return np.concatenate([fit.tree[group][name].to_numpy() for group in groups], axis=1)


def test_rows_tile_every_chain_and_are_true_of_its_iterations(study):
    table = history_table(study)
    assert list(dict.fromkeys(table["fit"])) == list(study.done)
    for (name, chain), rows in table.groupby(["fit", "chain"]):
        fit = study.done[name]
        n_steps, step_size = whole(fit, "n_steps")[chain], whole(fit, "step_size")[chain]
        assert rows["start"].iloc[0] == 0
        assert rows["stop"].iloc[-1] == len(n_steps) >= N_ITERATIONS
        assert rows["start"].tolist()[1:] == rows["stop"].tolist()[:-1]
        lengths = rows["stop"] - rows["start"]
        assert lengths.between(1, SPAN).all()
        assert {window.stop for window in fit.record.windows} <= set(rows["stop"])
        assert (rows["warmup"] == (rows["stop"] <= 200)).all()
        assert (rows["leapfrogs"] * lengths).sum() == pytest.approx(n_steps.sum())
        np.testing.assert_array_equal(rows["step_size"], step_size[rows["stop"] - 1])
    assert not table["stalled"].any()


def test_a_chain_stalls_from_the_end_of_its_second_slow_window_on(study):
    name, fit = next(iter(study.done.items()))
    tree = fit.tree.copy(deep=True)
    n_steps = tree["warmup_sample_stats"]["n_steps"]
    slow = n_steps.copy()
    stops = [window.stop for window in fit.record.windows]
    slow[1, : stops[1]] = 1000  # then it is as fast as the others
    tree["warmup_sample_stats"]["n_steps"] = slow
    stuck = study._replace(done={name: fit._replace(tree=tree)})
    found = history_table(stuck).query("stalled")
    assert set(found["chain"]) == {1}
    assert found["stop"].min() == stops[1]
    assert found["stop"].max() < stops[2]


def test_the_page_draws_leapfrogs_and_step_sizes_and_names_what_stalled():
    inputs = synthetic_results.funnel()
    table, adaptation = inputs.tables["history"], inputs.tables["adaptation"]
    caption = captions.history(table, adaptation)
    assert "✕: chain 2 of increment-04 stalled" in caption
    pictures = history(inputs.fits, table, {"increment-04"}, caption)
    assert [one.id for one in pictures] == ["figure-history-leapfrogs", "figure-history-step_size"]
    for one in pictures:
        drawn = "".join(one.wide)
        assert drawn.count("iterations</text>") == 5
        assert "◯ 4,000 rows" in drawn


def test_without_increments_or_leapfrogs_nothing_is_drawn():
    inputs = synthetic_results.funnel()
    table = inputs.tables["history"]
    assert history(inputs.fits, pd.DataFrame(), (), "") == []
    assert history(inputs.fits, table.assign(leapfrogs=0.0), (), "") == []
    assert history(inputs.fits.query("kind == 'subset'"), table, (), "") == []
    assert "stalled" not in captions.history(table.assign(stalled=False), pd.DataFrame())
