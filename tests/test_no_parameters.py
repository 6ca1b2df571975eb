"""Models without parameters: nothing is sampled, and only what needs no posterior is asked."""

import numpy as np
import pandas as pd
import pytest
import small_studies
import xarray as xr

from scalecheck.files import formats
from scalecheck.files.record import RecordedGradients
from scalecheck.pipeline import fit

# Takes a covariate, so that its fits could be padded, and has a site that is kept.
KNOWN = """
def model(x, y=None):
    numpyro.deterministic("mean", jnp.zeros(2))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)
"""
N_ROWS = 400


def finished(path, mean=0.0):
    """Fit everything of a study of standard normal outcomes."""
    y = mean + np.random.default_rng(6).standard_normal(N_ROWS)
    small = small_studies.make(
        path,
        pd.DataFrame({"y": y, "x": 1.0, "group": np.arange(N_ROWS) % 2}),
        KNOWN,
        data={"axes": ["group"]},
        increments={"start": 100, "end": "all", "order": "random", "stop": "never"},
    )
    names = [row.fit for row in formats.read_plan(small.folder.plan)]
    fit.write_fits(small.assigned(), [name for name in names if name[0] in "sla"])
    fit.write_increments(small.assigned())
    return small


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return finished(tmp_path_factory.mktemp("known"))


@pytest.fixture(scope="module")
def judged(small):
    return small_studies.judge(small)


def test_a_fit_is_done_and_usable_without_a_gradient(small):
    result = small.read("increment-02")
    assert result.record.status == "done"
    assert result.record.gradients == RecordedGradients([0, 0], [0, 0], [], [])
    assert result.record.seconds_per_gradient == 0
    assert result.record.parameters == []
    assert result.health.usable
    assert result.z.shape == (2, 150, 0)


def test_a_posterior_has_its_draws_and_the_density_of_its_data(small):
    y = small.values("increment-02", "y")["y"]
    with xr.open_datatree(small.folder.posterior("increment-02")) as tree:
        assert tree["unconstrained_posterior"]["z"].shape == (2, 150, 0)
        assert (tree["posterior"]["mean"].to_numpy() == np.zeros((2, 150, 2))).all()
        assert tree["warmup_sample_stats"]["n_steps"].shape == (2, 150)
        assert not tree["sample_stats"]["n_steps"].any()
        assert not tree["sample_stats"]["tree_depth"].any()
        lp = tree["sample_stats"]["lp"].to_numpy()
    exact = -(y @ y + len(y) * np.log(2 * np.pi)) / 2
    assert lp == pytest.approx(np.full((2, 150), exact), rel=1e-5)


def test_the_prior_has_no_moments(small):
    assert small.evidence().prior.mean.shape == (0,)
    assert small.evidence().prior.covariance.shape == (0, 0)


def test_only_surprise_is_asked(judged):
    found, _ = judged
    ran = {finding.family for finding in found.findings if finding.p is not None}
    others = [finding for finding in found.findings if finding.family != "surprise"]
    assert ran == {"surprise"}
    assert {finding.family for finding in others} >= {"agreement", "heterogeneity", "drift"}
    assert {finding.message for finding in others} == {"the model has no parameters"}


def test_each_step_asks_all_rows_so_far_so_that_there_is_no_sum_of_steps(judged):
    found, _ = judged
    asked = [finding for finding in found.findings if finding.family == "surprise"]
    assert [finding.fit for finding in asked] == ["increment-02", "increment-03"]
    assert sum(finding.weight for finding in asked) == pytest.approx(1)
    assert all(finding.message.startswith("rows 1 to ") for finding in asked)


def test_the_tables_of_fits_and_estimates_are_complete(small, judged):
    fits = formats.read_table(small.folder.table("fits"))
    assert fits["usable"].all()
    assert (fits["leapfrogs_per_iteration"] == 0).all()
    assert fits["rhat_max"].isna().all()
    estimates = formats.read_table(small.folder.table("estimates"))
    assert len(estimates) == 0
    assert "parameter" in estimates.columns


def test_a_true_model_is_adequate_and_a_wrong_one_is_seen(judged, tmp_path):
    assert judged[1]["verdict"] == "adequate"
    _, wrong = small_studies.judge(finished(tmp_path, mean=0.4))
    assert wrong["verdict"] in ("suspect", "breaks")
    assert wrong["misfit"]
    assert not wrong["heterogeneous"]
