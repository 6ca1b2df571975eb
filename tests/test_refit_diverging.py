"""Fits that diverge are fitted again with smaller steps, inside the same job."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import small_studies
from small_studies import write_increment

from scalecheck import diagnostics
from scalecheck.checks import divergences
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import checkpoint, compilations, run_fits

# Centred, and its groups tell little: a funnel.
FUNNEL = """
def model(x, group, n_group, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    effect = numpyro.sample("effect", dist.Normal(mu, tau).expand([n_group]))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(effect[group], 2.0), obs=y)
"""


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    """Subsets and two warm increments of a model that diverges."""
    rng = np.random.default_rng(4)
    table = pd.DataFrame({"y": 2 * rng.standard_normal(160), "x": 1.0})
    table["group"] = [f"g{code}" for code in np.arange(160) % 8]
    return small_studies.make(
        tmp_path_factory.mktemp("funnel"),
        table,
        FUNNEL,
        subsets={"count": 3, "size": 40},
        increments={"start": 40, "end": 80, "stop": "never", "warm": True},
        sampler={"chains": 4, "warmup": 200, "draws": 300},
    )


class Fitted:
    """The study, its subsets fitted, and what was said and compiled as they were fitted again."""

    def __init__(self, small, monkeypatch):
        self.small, self.lines, self.programs = small, [], []
        whole = run_fits.refit_diverging

        def counted(*given):
            before = compilations.so_far()
            found = whole(*given)
            self.programs.append(compilations.so_far().since(before).programs)
            return found

        monkeypatch.setattr(run_fits, "refit_diverging", counted)
        self.results = small.fit("subset-01", "subset-02", "subset-03")


@pytest.fixture(scope="module")
def study(planned):
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        job = planned.job(lines.append)
        patch.setattr(type(planned), "job", lambda self, log=None: job)
        fitted = Fitted(planned, patch)
        fitted.lines = lines
        return fitted


def is_worth_it(result):
    """It diverges often, and is not beyond help."""
    rhat, _ = diagnostics.rhat_and_ess(result.z)
    often = result.record.divergent_share >= divergences.LEAST_SHARE
    return often and rhat.max() <= diagnostics.FAR_RHAT


def leapfrogs_of_a_draw(record):
    by_chain = record.gradients.sampling
    return sum(by_chain) / (record.draws * len(by_chain))


def test_those_that_diverge_often_are_fitted_again_and_no_others(study):
    again = {one.task.fit: one.record.refit is not None for one in study.results}
    assert again == {one.task.fit: is_worth_it(one) for one in study.results}
    assert any(again.values())
    for record in (one.record for one in study.results if one.record.refit):
        refit = record.refit
        assert refit.target_accept == pytest.approx(0.95)
        # Steps are smaller. In a funnel so narrow they may diverge as often, as they do on some processors.
        assert leapfrogs_of_a_draw(refit) > leapfrogs_of_a_draw(record)
        assert np.shape(refit.divergences) == np.shape(refit.gradients.sampling) == (4,)
        # None where the chains of the second fit are lost.
        moved = {one.parameter for one in (refit.mean, refit.sd) if one}
        assert moved <= set(record.parameters)
        assert moved or not refit.usable


def test_a_second_fit_compiles_nothing_new(study):
    # What packs the draws of as many fits at once as diverged.
    assert study.programs == [0]


def test_the_log_says_where_and_what_the_second_fit_told(study):
    record = next(one.record for one in study.results if one.record.refit)
    n = divergences.count_divergences(record)
    assert f"{record.fit}: {n}: fitted again with target_accept 0.95" in study.lines
    assert f"{record.fit}: {divergences.describe_divergences(record)}" in study.lines


def test_the_funnel_diverges_near_its_neck(study):
    places = [one.record.diverging for one in study.results if one.record.diverging]
    assert places
    assert {(one.parameter, one.near) for one in places} == {("tau", "small values")}
    assert all(0 < one.low < one.high < one.others_high for one in places)


def copy_of(study, path):
    shutil.copytree(study.small.folder.path, path / "small")
    return study.small._replace(folder=StudyFolder(path / "small"))


def test_the_draws_of_the_fit_itself_are_the_same_without_a_second(study, tmp_path, monkeypatch):
    copy = copy_of(study, tmp_path)
    shutil.rmtree(copy.folder.path / "fits")
    monkeypatch.setattr(divergences, "LEAST_SHARE", 2.0)
    found = copy.fit(*(one.task.fit for one in study.results))
    assert [one.record.refit for one in found] == [None] * 3
    for one, other in zip(found, study.results, strict=True):
        np.testing.assert_array_equal(one.z, other.z)
        assert one.record.identity == other.record.identity


def test_a_second_fit_that_was_killed_goes_on_and_finds_the_same(study, tmp_path, monkeypatch):
    copy = copy_of(study, tmp_path)
    names = [one.task.fit for one in study.results]
    for name in names:
        copy.folder.record(name).unlink()
    monkeypatch.setenv(checkpoint.VARIABLE, "1e-9")
    folder, kept, n_kept = (
        copy.folder.refit_checkpoint("subset-01"),
        checkpoint.Checkpointer._write,
        [],
    )

    def write(checkpointer, snapshot):
        kept(checkpointer, snapshot)
        n_kept.extend([1] * (checkpointer.folder == folder))
        if len(n_kept) == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(checkpoint.Checkpointer, "_write", write)
        copy.fit(*names)
    assert folder.exists()
    again = copy.fit(*names)
    assert not folder.exists()
    for one, other in zip(again, study.results, strict=True):
        assert one.record.diverging == other.record.diverging
        if other.record.refit:
            took = {"seconds": {}, "cpu_seconds": {}}
            found, whole = (dataclasses.replace(each.record.refit, **took) for each in (one, other))
            assert found == whole


def test_warm_increments_are_fitted_again_cold(planned):
    small = planned
    for name in ("increment-01", "increment-02"):
        write_increment(small.assigned(), name)
    results = [small.read(f"increment-0{n}") for n in (1, 2)]
    first, second = (one.record for one in results)
    assert second.warmup < first.warmup
    assert [one.record.refit is not None for one in results] == [
        is_worth_it(one) for one in results
    ]
    assert second.refit is not None
    # With a whole warmup.
    assert sum(second.refit.gradients.warmup) > 3 * sum(second.gradients.warmup)


def test_the_study_says_it_in_its_tables_and_counts_what_it_took(planned, study):
    for name in ("increment-01", "increment-02"):
        if not planned.folder.record(name).exists():
            write_increment(planned.assigned(), name)
    _, verdict = small_studies.judge(planned)
    table = formats.read_table(planned.folder.table("divergences"))
    records = [planned.read_record(name) for name in ("subset-01", "subset-02", "subset-03")]
    records += [planned.read_record(f"increment-0{n}") for n in (1, 2)]
    assert table.fit.tolist() == [one.fit for one in records if sum(one.divergences)]
    refits = [one.refit for one in records if one.refit]
    spent = sum(one.gradients.total for one in [*records, *refits])
    assert verdict["gradients"] == spent


def test_where_nothing_diverges_nothing_is_fitted_again(conjugate):
    record = conjugate.read("subset-01").record
    assert sum(record.divergences) == 0
    assert record.refit is None
    assert record.diverging is None
