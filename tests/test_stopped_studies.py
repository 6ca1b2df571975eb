"""Studies with fits that were ended: each is a result, and what can be compared is."""

import dataclasses
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
import small_studies
from arviz_stats.base import array_stats
from small_studies import write_increment

from scalecheck.checks import adaptation
from scalecheck.files import formats
from scalecheck.files.arrays import read_arrays
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import fit_job, run_fits, sample_batch
from scalecheck.fitting.starts import warm_start
from scalecheck.pipeline import fit as fit_program
from scalecheck.report.inputs import read_inputs
from scalecheck.report.page import render
from scalecheck.results.chains import chains_of
from scalecheck.sampler import stall

pytestmark = pytest.mark.long


def table():
    rng = np.random.default_rng(8)
    return pd.DataFrame({"y": 0.4 + rng.standard_normal(300), "x": 1.0})


def make(path, engine, *, starts="prior", **sampler):
    return small_studies.make(
        path,
        table(),
        subsets={"count": 2, "size": 50},
        increments={"start": 50, "end": 200},
        sampler={"engine": engine, "chains": 4, "start": starts, **sampler},
    )


def job_with(small, lines=None, **sampler):
    """Give a job that fits with other settings of the sampler."""
    settings = dataclasses.replace(small.study.sampler, **sampler)
    changed = dataclasses.replace(small.study, sampler=settings)
    return small.job((lines if lines is not None else []).append)._replace(study=changed)


def fit_all(small, **of_second):
    """Fit everything; the second increment with other settings."""
    lines = []
    fit_program.write_fits(
        small_studies.assigned(job_with(small, lines)), ["subset-01", "subset-02"]
    )
    write_increment(small_studies.assigned(job_with(small, lines)), "increment-01")
    write_increment(small_studies.assigned(job_with(small, lines, **of_second)), "increment-02")
    write_increment(small_studies.assigned(job_with(small, lines)), "increment-03")
    return lines


class Case(tuple):
    small = property(lambda self: self[0])
    lines = property(lambda self: self[1])
    findings = property(lambda self: self[2].findings)
    verdict = property(lambda self: self[3])

    def record(self, name):
        return formats.read_json(self.small.folder.record(name))


@pytest.fixture(scope="module")
def one_stopped(tmp_path_factory):
    """The second of three increments is capped in warmup; increments start from the previous one."""
    small = make(tmp_path_factory.mktemp("one"), "lanes", starts="previous")
    lines = fit_all(small, max_gradients=100)
    return Case((small, lines, *small_studies.judge(small)))


@pytest.fixture(scope="module")
def all_stopped(tmp_path_factory):
    """Every fit is capped in warmup."""
    small = make(tmp_path_factory.mktemp("all"), "numpyro", max_gradients=100)
    lines = fit_all(small)
    return Case((small, lines, *small_studies.judge(small)))


def test_a_fit_without_draws_is_recorded_with_what_it_took_and_has_no_posterior(one_stopped):
    record = one_stopped.record("increment-02")
    assert (record["status"], record["usable"], record["draws"]) == ("stopped", False, 0)
    assert record["reason"].startswith(
        "chains 0, 1, 2 and 3 reached sampler.max_gradients (100) in warmup, at iteration "
    )
    assert record["reason"].endswith(
        " of 300: raise sampler.max_gradients, or change the parametrisation"
    )
    assert record["capped"]["leapfrogs"] == [100] * 4
    whole = [
        sum(parts)
        for parts in zip(*(record["gradients"][k] for k in ("warmup", "cut")), strict=True)
    ]
    assert whole == [100] * 4
    assert not one_stopped.small.folder.posterior("increment-02").exists()
    assert f"increment-02: stopped: {record['reason']}" in one_stopped.lines


def test_the_increments_after_it_are_fitted_and_compared_with_the_last_usable_one(one_stopped):
    assert [one_stopped.record(f"increment-0{i}")["status"] for i in (1, 2, 3)] == [
        "done",
        "stopped",
        "done",
    ]
    steps = formats.read_table(one_stopped.small.folder.table("drift"))
    assert set(steps.fit) == {"increment-03"}
    assert set(steps.rows_before) == {50}


def test_it_is_a_finding_of_adaptation_without_a_p_value(one_stopped):
    (finding,) = [
        one
        for one in one_stopped.findings
        if one.family == "adaptation" and one.fit == "increment-02"
    ]
    assert finding.p is None
    assert finding.message == f"increment-02: {one_stopped.record('increment-02')['reason']}"
    assert {
        one.fit for one in one_stopped.findings if one.family == "adaptation" and one.p is not None
    } == {
        "increment-01",
        "increment-03",
    }


def test_the_verdict_names_it_as_unusable_and_counts_its_gradients(one_stopped):
    verdict = one_stopped.verdict
    assert (verdict["verdict"], verdict["unusable"]) == ("inconclusive", ["increment-02"])
    assert verdict["reason"].startswith(
        "increment-02: chains 0, 1, 2 and 3 reached sampler.max_gradients"
    )
    names = ["subset-01", "subset-02", "increment-01", "increment-02", "increment-03"]
    gradients = [one_stopped.record(name)["gradients"] for name in names]
    assert verdict["gradients"] == sum(sum(map(sum, one.values())) for one in gradients)


def page(case):
    small = case.small
    return render(read_inputs(small.folder, small.study))


def test_the_page_says_so(one_stopped):
    html = page(one_stopped)
    assert "reached sampler.max_gradients (100) in warmup" in html
    assert "1 fit was stopped before there were draws" in html
    assert "1 of 5 fits cannot be trusted" in html


def test_a_study_of_which_no_fit_has_draws_ends_with_a_verdict_and_a_page(all_stopped):
    assert all_stopped.verdict["verdict"] == "inconclusive"
    assert len(all_stopped.verdict["unusable"]) == 5
    assert all(one.p is None for one in all_stopped.findings)
    assert "5 of 5 fits cannot be trusted" in page(all_stopped)


def test_numpyro_overshoots_by_no_more_than_a_block(all_stopped):
    record = all_stopped.record("subset-01")
    assert record["capped"]["iterations"] == [50] * 4
    assert record["gradients"]["cut"] == [0] * 4
    assert max(record["capped"]["leapfrogs"]) >= 100


# ---- capped with draws


def test_draws_that_all_chains_have_are_kept_and_judged_as_any(one_stopped, tmp_path):
    small = one_stopped.small
    whole = one_stopped.record("increment-01")
    enough = max(
        map(sum, zip(*(whole["gradients"][k] for k in ("warmup", "sampling")), strict=True))
    )
    warmup = max(whole["gradients"]["warmup"])
    for most, usable in ((warmup + 60, False), (enough - 30, True)):
        job = job_with(small, max_gradients=most)._replace(
            folder=copy_of(small, tmp_path / str(most))
        )
        write_increment(small_studies.assigned(job), "increment-01")
        found = small._replace(folder=job.folder).read("increment-01")
        assert found.record.status == "done"
        assert 10 <= found.record.draws < 600
        assert found.record.draws == found.z.shape[1]
        assert found.health.usable is usable
        assert usable or "reached sampler.max_gradients" in found.health.reason

        finding = adaptation.check_adaptation_step(chains_of(found), 1.0)
        assert "sampler.max_gradients" in finding.message
        # Of draws that cannot be used nothing passes.
        assert finding.p > 1e-4 if usable else finding.p is None


def copy_of(small, path):
    """Give the prepared study without its fits."""
    shutil.copytree(small.folder.path, path / "small", ignore=shutil.ignore_patterns("fits"))
    return StudyFolder(path / "small")


# ---- stalls


def test_a_fit_that_is_stopped_by_a_stall_says_where_and_by_how_much(
    one_stopped, tmp_path, monkeypatch
):
    monkeypatch.setattr(stall, "FACTOR", 0.0)  # everything stalls
    small, lines = one_stopped.small, []
    job = job_with(small, lines, on_stall="stop", chains=2)._replace(
        folder=copy_of(small, tmp_path)
    )
    fit_program.write_fits(small_studies.assigned(job), ["subset-01", "subset-02"])
    record = formats.read_json(job.folder.record("subset-02"))
    assert (record["status"], record["stalled"]["chains"]) == ("stopped", [0, 1])
    stop = record["stalled"]["iterations"][0]
    assert record["windows"][-1]["stop"] == stop
    start = record["windows"][-2]["stop"] + 1
    assert (
        f"chain 0 stalled in warmup: in iterations 1-{start - 1} and {start}-{stop} it took "
        in record["reason"]
    )
    assert record["reason"].endswith("or set sampler.on_stall to restart")
    assert len([line for line in lines if ": stopped: chain 0 stalled" in line]) == 2


# ---- starts from the previous increment


def test_an_increment_starts_at_draws_of_the_one_before_and_warms_up_whole(
    one_stopped, monkeypatch
):
    small = one_stopped.small
    assert [one_stopped.record(f"increment-0{i}")["warmup"] for i in (1, 3)] == [150, 150]
    left = warm_start.read_warm_start(read_arrays(small.folder.left("increment-01")))
    seen = {}

    def sample(potential, arrays, starts, settings, **options):
        seen.update(starts=starts, settings=settings, options=options)
        raise InterruptedError

    monkeypatch.setitem(sample_batch._ENGINES, "lanes", sample)
    job = job_with(small)
    (batch,) = fit_job.read_batch(job, small.tasks("increment-02"))
    with pytest.raises(InterruptedError):
        sample_batch.sample_batch(
            batch,
            job.study.sampler,
            jax.random.split(jax.random.PRNGKey(1), 1),
            print,
            left=[left],
        )
    expected = left.mean["mu"] + 2**0.5 * (left.last["mu"] - left.mean["mu"])
    np.testing.assert_allclose(seen["starts"]["mu"][0], expected, rtol=1e-5)
    assert (seen["settings"].warmup, seen["settings"].renews_metric) == (150, True)
    assert "begin" not in seen["options"]
    assert "restart" in seen["options"]


def test_an_increment_that_was_stopped_leaves_what_it_was_left(one_stopped):
    first, second, third = (
        read_arrays(one_stopped.small.folder.left(f"increment-0{i}")) for i in (1, 2, 3)
    )
    assert int(second["rows"]) == int(first["rows"]) == 50
    np.testing.assert_array_equal(second["last:mu"], first["last:mu"])
    assert int(third["rows"]) == 200


def test_after_a_first_increment_that_left_nothing_the_next_starts_as_that(all_stopped):
    lines = []
    first = all_stopped.small.read_record("increment-01")
    assert run_fits._left(all_stopped.small.job(lines.append), first) is None
    assert lines == ["increment-01 left nothing: the next increment starts as the first"]


def test_subsets_and_the_first_increment_start_from_the_prior(one_stopped, tmp_path):
    small = one_stopped.small
    job = job_with(small, start="prior")._replace(folder=copy_of(small, tmp_path))
    write_increment(small_studies.assigned(job), "increment-01")
    again = small._replace(folder=job.folder).read("increment-01")
    np.testing.assert_array_equal(again.z, small.read("increment-01").z)
    assert not job.folder.left("increment-01").exists()


def test_with_numpyro_an_increment_that_starts_from_the_previous_one_ends_where_the_exact_posterior_is(
    all_stopped, tmp_path
):
    small = all_stopped.small
    job = job_with(small, start="previous", max_gradients=None)
    job = job._replace(folder=copy_of(small, tmp_path))
    write_increment(small_studies.assigned(job), "increment-01")
    write_increment(small_studies.assigned(job), "increment-02")
    mu = small._replace(folder=job.folder).read("increment-02").z[..., 0]
    y = small.values("increment-02", "y")["y"]
    mcse = float(array_stats.mcse(mu, method="mean", chain_axis=0, draw_axis=1))
    assert abs(mu.mean() - y.sum() / (len(y) + 1)) < 4 * mcse
