"""Warm starts: where an increment begins after another, and that it ends where a cold one does."""

import dataclasses
import shutil

import jax
import numpy as np
import pandas as pd
import pytest
import small_studies
from arviz_stats.base import array_stats
from small_studies import write_increment

from scalecheck.checks import warm_start_audit
from scalecheck.files import formats, posterior_file
from scalecheck.files.arrays import read_arrays
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import checkpoint
from scalecheck.fitting.starts import warm_start as warm_start_module
from scalecheck.model import batches
from scalecheck.model.reparam import coordinates_of
from scalecheck.pipeline import increments

UNITS = """
def model(x, clinic, n_clinic, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("clinics", n_clinic):
        shift = numpyro.sample("shift", dist.Normal(0.0, 0.5))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu + shift[clinic], 1.0), obs=y)
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two of three increments of a model of units; the second has more, starts warm, and is sampled cold as well."""
    rng = np.random.default_rng(5)
    clinic = np.repeat(np.arange(40), 20)
    y = 0.3 + 0.5 * rng.standard_normal(40)[clinic] + rng.standard_normal(800)
    table = pd.DataFrame({"y": y, "x": 1.0, "clinic": [f"c{code:02d}" for code in clinic]})
    small = small_studies.make(
        tmp_path_factory.mktemp("warm"),
        table,
        UNITS,
        data={"unit": "clinic"},
        subsets={"count": 0},
        increments={"start": 200, "end": 800, "stop": "never", "warm": True, "cold_audit": 1},
        sampler={"engine": "lanes", "chains": 4, "warmup": 300, "draws": 300},
    )
    write_increment(small.assigned(), "increment-01")
    write_increment(small.assigned(), "increment-02")
    return small


@pytest.fixture
def copy(study, tmp_path):
    shutil.copytree(study.folder.path, tmp_path / "small")
    return study._replace(folder=StudyFolder(tmp_path / "small"))


def mcse(values, method="mean"):
    return float(array_stats.mcse(values, method=method, chain_axis=0, draw_axis=1))


def left(study, name="increment-01"):
    return warm_start_module.read_warm_start(read_arrays(study.folder.left(name)))


def batch_of(study, name):
    model, sampler = study.study.model, study.study.sampler
    (found,) = batches.read_batches(study.folder, study.tasks(name), "y", model, sampler.precision)
    return found


def cold_starts(batch):
    shapes = {site.name: site.shape for site in batch.sites if site.kind == "latent"}
    return {name: jax.numpy.zeros((1, 4, *shape)) for name, shape in shapes.items()}


@pytest.mark.parametrize(("cold", "warm_start"), [(20, 10), (100, 10), (500, 50)])
def test_a_warm_warmup_is_a_tenth_and_long_enough_for_a_step_size(cold, warm_start):
    assert warm_start_module.warmup_of(cold) == warm_start


def begun(batch, given):
    moved, cold = coordinates_of(batch.function, {}), cold_starts(batch)
    return warm_start_module.warm_start(batch, moved, [given], cold, jax.random.PRNGKey(3)[None])


def test_a_warm_increment_warms_up_for_a_tenth_and_keeps_the_metric_it_began_with(study):
    first, second = (study.read(f"increment-0{i}").record for i in (1, 2))
    assert (first.warmup, second.warmup) == (300, 30)
    metrics = [np.array(window.inverse_mass_matrix) for window in second.windows]
    assert second.windows[-1].stop == 30
    assert all((metric == metrics[0]).all() for metric in metrics)


def test_a_warm_increment_ends_where_the_exact_posterior_is(study):
    assert_exact(study, "increment-02")


def assert_exact(study, name):
    """Normal throughout: the posterior of mu is known."""
    values = study.values(name, "y", "clinic")
    codes = np.unique(values["clinic"], return_inverse=True)[1]
    counts = np.bincount(codes)
    means = np.bincount(codes, values["y"]) / counts
    weight = 1 / (0.25 + 1 / counts)  # of a clinic's mean about mu
    variance = 1 / (1 + weight.sum())
    mu = study.read(name).z[..., 0]
    assert abs(mu.mean() - variance * (weight * means).sum()) < 4 * mcse(mu)
    assert abs(mu.std() - variance**0.5) < 4 * mcse(mu, "sd")


def test_shared_sites_start_apart_and_new_units_take_the_values_of_old_ones(study):
    given, batch = left(study), batch_of(study, "increment-02")
    starts, begin = begun(batch, given)
    expected = given.mean["mu"] + 2**0.5 * (given.last["mu"] - given.mean["mu"])
    np.testing.assert_allclose(starts["mu"][0], expected, rtol=1e-5)
    assert starts["shift"].shape == (1, 4, 20)
    np.testing.assert_array_equal(starts["shift"][0, :, :10], given.last["shift"])
    for one, old in zip(np.asarray(starts["shift"][0]), given.last["shift"], strict=True):
        assert set(one[10:]) <= set(old)
    # In the order of ravel_pytree: mu, then shift. Twice the rows halve the variance of mu alone.
    np.testing.assert_allclose(begin.variances[0, :, 0], given.variance["mu"] / 2, rtol=1e-5)
    np.testing.assert_allclose(begin.variances[0, 0, 1:11], given.variance["shift"], rtol=1e-5)
    np.testing.assert_array_equal(begin.step_size[0], given.step_size)


PLOTS = """
def model(x, row, n_row, unit, n_unit, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    effect = numpyro.sample("effect", dist.Normal(0.0, 1.0).expand([n_row]))
    shift = numpyro.sample("shift", dist.Normal(0.0, 1.0).expand([n_unit]))
    numpyro.sample("y", dist.Normal(mu + effect[row] + shift[unit], 1.0), obs=y)
"""


def test_columns_may_be_called_row_and_unit(tmp_path):
    """Levels of either are shared by all increments: their data grow, and their variances shrink."""
    letters = np.array(["a", "b", "c"])
    rows = np.arange(60)
    table = pd.DataFrame(
        {"y": rows / 60, "x": 1.0, "row": letters[rows % 3], "unit": letters[rows % 2]}
    )
    increments = {"start": 20, "end": "all"}
    small = small_studies.make(tmp_path, table, PLOTS, subsets={"count": 0}, increments=increments)
    batch = batch_of(small, "increment-02")
    shapes = {"mu": (4,), "effect": (4, 3), "shift": (4, 2)}
    last = {name: np.arange(float(np.prod(shape))).reshape(shape) for name, shape in shapes.items()}
    mean = {name: values.mean(axis=0) for name, values in last.items()}
    variance = {name: np.ones_like(values) for name, values in mean.items()}
    given = warm_start_module.WarmStart(20, np.ones(4), last, mean, variance)
    starts, begin = begun(batch, given)
    for name, values in starts.items():
        expected = mean[name] + 2**0.5 * (last[name] - mean[name])
        np.testing.assert_allclose(values[0], expected, rtol=1e-5)
    np.testing.assert_allclose(begin.variances, 20 / batch.tasks[0].rows, rtol=1e-5)


def test_a_chain_whose_warm_start_is_not_finite_starts_cold(study):
    given, batch = left(study), batch_of(study, "increment-02")
    given.last["mu"][2] = np.inf
    starts, _ = begun(batch, given)
    assert starts["mu"][0, 2] == 0
    assert (starts["shift"][0, 2] == 0).all()
    assert (np.asarray(starts["mu"][0, [0, 1, 3]]) != 0).all()


@pytest.mark.parametrize(
    ("warm", "audited"), [(True, [False, True, False, True]), (False, [False] * 4)]
)
def test_every_so_many_increments_one_is_sampled_cold_as_well(study, warm, audited):
    settings = dataclasses.replace(study.study.increments, warm=warm, cold_audit=2)
    assert [settings.is_audited(number) for number in (1, 2, 3, 4)] == audited


@pytest.mark.long
def test_an_increment_after_a_warm_one_is_exact_and_what_audits_took_is_counted(copy):
    write_increment(copy.assigned(), "increment-03")
    assert_exact(copy, "increment-03")
    done = [copy.read(f"increment-0{i}").record for i in (1, 2, 3)]
    assert done[0].audit is None
    audits = [one.audit for one in done[1:]]
    assert all(1e-3 < audit.p <= 1 and sum(audit.gradients.warmup) > 0 for audit in audits)
    findings, verdict = small_studies.judge(copy)
    assert verdict["gradients"] == sum(one.gradients.total for one in [*done, *audits])
    assert findings


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"PK"), lambda path: path.unlink()]
)
def test_an_increment_whose_successor_needs_what_it_left_is_made_again_with_the_same_bits(
    copy, damage
):
    """The first is whole but for left.npz; the second, which starts from it, is to be made."""
    left, lines = copy.folder.left("increment-01"), []
    whole = {name: read_arrays(copy.folder.left(name)) for name in ("increment-01", "increment-02")}
    copy.folder.record("increment-02").unlink()
    damage(left)
    write_increment(copy.assigned(lines.append), "increment-02")
    assert "increment-01: fitted again: left.npz is missing or damaged" in lines
    for name, arrays in whole.items():
        found = read_arrays(copy.folder.left(name))
        for key, values in arrays.items():
            np.testing.assert_array_equal(found[key], values)


def test_what_nobody_starts_from_any_more_may_be_damaged(copy):
    """Both increments stand: the second needs nothing of the first."""
    copy.folder.left("increment-01").unlink()
    lines = []
    write_increment(copy.assigned(lines.append), "increment-02")
    assert lines == []


def test_a_chain_that_is_killed_between_increments_and_inside_one_ends_with_the_same_bits(
    copy, monkeypatch
):
    names = ["increment-01", "increment-02"]
    rows = [row for row in formats.read_plan(copy.folder.plan) if row.fit in names]
    formats.write_plan(copy.folder.plan, rows)
    whole = {name: posterior_file.read_posterior(copy.folder.posterior(name)) for name in names}
    shutil.rmtree(copy.folder.path / "fits")
    monkeypatch.setenv(checkpoint.VARIABLE, "1e-9")
    written, saved = increments.write_record, checkpoint.Checkpointer._write

    def end_after_record(assigned, record):
        written(assigned, record)
        raise KeyboardInterrupt

    def end_after_saving(checkpointer, snapshot):
        saved(checkpointer, snapshot)
        raise KeyboardInterrupt

    manifest = copy.folder.path / "increments.json"
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(increments, "write_record", end_after_record)
        increments.write_increments(copy.assigned(), manifest)
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(checkpoint.Checkpointer, "_write", end_after_saving)
        increments.write_increments(copy.assigned(), manifest)
    assert [copy.folder.record(name).exists() for name in names] == [True, False]
    assert not manifest.exists()
    lines = []
    increments.write_increments(copy.assigned(lines.append), manifest)
    assert "increment-02: goes on from its checkpoint" in lines
    assert not any(line.startswith("increment-01") for line in lines)
    assert formats.read_json(manifest)["fits"] == names
    for name, before in whole.items():
        found = posterior_file.read_posterior(copy.folder.posterior(name))
        for group in before.groups:
            assert found[group].to_dataset().identical(before[group].to_dataset()), (name, group)


# ---- the audit


def test_an_audit_that_was_killed_goes_on_and_finds_the_same(copy, monkeypatch):
    whole = formats.read_json(copy.folder.record("increment-02"))["audit"]
    copy.folder.record("increment-02").unlink()
    monkeypatch.setenv(checkpoint.VARIABLE, "1e-9")
    kept = checkpoint.Checkpointer._write
    n_kept = 0

    def write(checkpointer, snapshot):
        nonlocal n_kept
        kept(checkpointer, snapshot)
        n_kept += checkpointer.folder == copy.folder.audit_checkpoint("increment-02")
        if n_kept == 2:
            raise KeyboardInterrupt

    lines = []
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(checkpoint.Checkpointer, "_write", write)
        write_increment(copy.assigned(), "increment-02")
    write_increment(copy.assigned(lines.append), "increment-02")
    assert sum("goes on from its checkpoint" in line for line in lines) == 2
    again = formats.read_json(copy.folder.record("increment-02"))["audit"]
    for name in ("p", "parameter", "statistic", "gap", "gradients", "draws"):
        assert again[name] == whole[name]
    assert not copy.folder.audit_checkpoint("increment-02").exists()


def samples(shift=0.0, scale=1.0, seed=1):
    rng = np.random.default_rng(seed)
    draws = rng.standard_normal((4, 500, 3))
    draws[..., 1] = shift + scale * draws[..., 1]
    return draws


def test_the_audit_alarms_at_its_rate_and_names_what_differs():
    p = [
        warm_start_audit.audit_warm_start(samples(seed=i), samples(seed=1000 + i)).p
        for i in range(200)
    ]
    assert np.mean(np.array(p) < 0.1) < 0.1 + 3 * (0.1 * 0.9 / 200) ** 0.5
    found = warm_start_audit.audit_warm_start(samples(shift=0.3), samples(seed=2))
    assert (found.parameter, found.statistic) == (1, "mean")
    assert found.p < 1e-6
    assert found.gap == pytest.approx(0.3, abs=0.15)
    found = warm_start_audit.audit_warm_start(samples(scale=1.3), samples(seed=2))
    assert (found.parameter, found.statistic) == (1, "sd")


def test_a_difference_is_a_finding_of_adaptation_and_costs_half_of_its_error_rate(study):
    from scalecheck.checks import adaptation
    from scalecheck.results.chains import chains_of

    fitted = chains_of(study.read("increment-02"))
    far = fitted._replace(audit=warm_start_audit.Audit(1e-8, 0, "mean", -1.5))
    finding = adaptation.check_adaptation_step(far, 0.2)
    assert (finding.p, finding.large, finding.parameter) == (2e-8, True, "mu")
    assert "started warm, the mean of mu is 1.5 sds from that of a cold start" in finding.message
    alone = adaptation.check_adaptation_step(fitted._replace(audit=None), 0.2)
    near = adaptation.check_adaptation_step(
        fitted._replace(audit=warm_start_audit.Audit(1.0, 0, "mean", 0.01)), 0.2
    )
    assert near.p == min(1.0, 2 * alone.p)
