"""Fits against posteriors that are known exactly, padded and not, alone and in a batch."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_studies
from arviz_stats.base import array_stats
from small_studies import write_increment
from told import told

from scalecheck import sampler
from scalecheck.errors import StudyError
from scalecheck.files import checksums, formats, posterior_file
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import fit_record, sample_batch
from scalecheck.model import batches, density, rows, sites
from scalecheck.pipeline import fit as fit_program
from scalecheck.study.settings import BudgetSettings, write_settings

FITS = (
    "subset-01",
    "level-group-02",
    "level-group-03",
    "increment-01",
    "increment-02",
    "increment-03",
)


def mcse(draws, method="mean"):
    return float(array_stats.mcse(draws, method=method, chain_axis=0, draw_axis=1))


@pytest.mark.parametrize("name", FITS)
def test_a_conjugate_posterior_is_exact_to_mcse(conjugate, name):
    """From 8 rows to 214; in a batch with others, and one after the other."""
    result, y = conjugate.read(name), conjugate.values(name, "y")["y"]
    mu = result.z[..., 0]
    assert abs(mu.mean() - y.sum() / (len(y) + 1)) < 4 * mcse(mu)
    assert abs(mu.std() - (len(y) + 1) ** -0.5) < 4 * mcse(mu, "sd")
    assert len(y) == result.task.rows


def test_small_fits_share_one_shape_and_masked_rows_leave_the_density_alone(conjugate):
    (task,) = conjugate.tasks("increment-01")
    (batch,) = read(conjugate, task)
    assert batch.arrays["y"].shape == (1, rows.SHARED_SIZES[0])
    own = {name: values[0][:8] for name, values in batch.arrays.items() if name != "row_mask"}
    for mu in (-1.0, 0.4):
        energies = [
            float(density.potential(batch.function)(**arrays)({"mu": np.float32(mu)}))
            for arrays in (own, batch.own[0], {n: v[0] for n, v in batch.arrays.items()})
        ]
        assert energies == pytest.approx([energies[0]] * 3, rel=3e-7)


def read(small, *tasks):
    return batches.read_batches(small.folder, tasks, "y", small.study.model, "float32")


def test_lanes_give_the_posteriors_too_and_what_a_record_needs(conjugate):
    tasks = conjugate.tasks("subset-01", "subset-02", "increment-03")
    settings = dataclasses.replace(conjugate.study.sampler, engine="lanes")
    lines: list[str] = []
    for batch in read(conjugate, *tasks):
        fitted = sample_batch.fit_batch(batch, settings, 5, lines.append)
        for number, task in enumerate(batch.tasks):
            mu = fitted.draws.z[number]["mu"].astype(float)
            y = conjugate.values(task.fit, "y")["y"]
            assert mu.shape[0] == settings.chains
            assert abs(mu.mean() - y.sum() / (len(y) + 1)) < 4.5 * mcse(mu)
            record = fit_record.record(fitted, number, settings, {}, {}, (0.0, 0.0))
            assert np.shape(record.gradients.sampling) == (settings.chains,)
            assert (np.array(record.gradients.sampling) >= mu.shape[1]).all()
    assert any("sampling" in line and "leapfrogs per iteration" in line for line in lines)


def test_the_key_of_a_fit_depends_on_the_seed_and_its_name_alone():
    keys = [
        tuple(map(int, sample_batch.fit_key(seed, name)))
        for seed in (1, 2)
        for name in ("subset-01", "subset-02")
    ]
    assert len(set(keys)) == 4
    assert tuple(map(int, sample_batch.fit_key(1, "subset-01"))) == keys[0]


ROW_LATENTS = """
def model(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    with numpyro.plate("rows", x.shape[0]):
        z = numpyro.sample("z", dist.Normal(0, 1))
        numpyro.sample("y", dist.Normal(mu + z, 1), obs=y)
"""
PROCESS = """
def model(x, y=None):
    scale = numpyro.sample("scale", dist.HalfNormal(1))
    gap = x[:, None] - x[None]
    kernel = scale * jnp.exp(-gap**2) + 0.1 * jnp.eye(x.shape[0])
    numpyro.sample("y", dist.MultivariateNormal(jnp.zeros(x.shape[0]), kernel), obs=y)
"""


def table(n_rows=60):
    rng = np.random.default_rng(5)
    x = rng.uniform(-3, 3, n_rows)
    group = np.repeat(["a", "b", "c"], [30, 20, n_rows - 50])
    return pd.DataFrame(
        {"x": x, "y": np.sin(x) + 0.3 * rng.standard_normal(n_rows), "group": group}
    )


MEAN = """
def model(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(slope * (x - x.mean()), 1.0), obs=y)
"""
FACTOR = """
def model(x, y=None):
    slope = numpyro.sample("slope", dist.Normal(0.0, 1.0))
    numpyro.factor("selection", -jnp.sum((slope * x) ** 2))
    numpyro.sample("y", dist.Normal(slope * x, 1.0), obs=y)
"""


# The prior is as wide as there are rows.
WIDER = small_studies.COUNTED.replace("1.0))\n    with", "1.0 * n_rows))\n    with")


@pytest.mark.parametrize("source", [WIDER, ROW_LATENTS, PROCESS, MEAN, FACTOR])
def test_a_model_that_padding_would_change_is_fitted_shape_by_shape(tmp_path, source, monkeypatch):
    small_studies.take_any_model(monkeypatch)
    small = small_studies.make(
        tmp_path,
        table(),
        source,
        data={"axes": ["group"]},
        subsets={"count": 2, "size": 25},
        increments={"start": 20, "end": 40},
    )
    names = ["subset-01", "level-group-01", "increment-01", "subset-02", "increment-02"]
    shapes = read(small, *small.tasks(*names))
    found = [([task.fit for task in b.tasks], b.arrays["y"].shape) for b in shapes]
    assert found == [
        (["subset-01", "level-group-01", "subset-02"], (3, 25)),
        (["increment-01"], (1, 20)),
        (["increment-02"], (1, 40)),
    ]
    for batch in shapes:
        assert "row_mask" not in batch.arrays
        assert all(
            len(own["y"]) == task.rows for own, task in zip(batch.own, batch.tasks, strict=True)
        )


def test_a_model_that_counts_rows_is_padded_where_the_count_only_shapes_its_plate(tmp_path):
    small = small_studies.make(tmp_path, table(100), small_studies.COUNTED)
    (batch,) = read(small, *small.tasks("subset-01", "increment-01"))
    assert batch.counts == {"n_rows": rows.SHARED_SIZES[0]}
    for mu in (-1.0, 0.4):
        own, padded = (
            density.potential(sites.function_of_arrays(batch.bound, {"n_rows": n}))(**arrays)
            for n, arrays in ((50, batch.own[0]), (batch.counts["n_rows"], batch.arrays_of()))
        )
        z = {"mu": np.float32(mu)}
        assert float(own(z)) == pytest.approx(float(padded(z)), rel=3e-7)


@pytest.mark.long
def test_a_process_over_rows_is_fitted_and_its_row_checks_say_why_they_do_not_run(tmp_path):
    small = small_studies.make(
        tmp_path,
        table(),
        PROCESS,
        data={"axes": ["group"]},
        subsets={"count": 2, "size": 20},
        increments={"start": 20, "end": 20},
        sampler={"chains": 2, "warmup": 50, "draws": 30},
    )
    (result,) = small.fit("increment-01")
    assert np.isfinite(result.z).all()
    assert result.record.padded_rows == 20
    assert "no log likelihood one by one" in small.evidence().likelihood.no_row_checks()


@pytest.mark.parametrize(
    ("metric", "dense"),
    [
        ("diagonal", ()),
        ("dense", (("a", "b", "c"),)),
        ([["c", "a"]], (("c", "a"),)),
    ],
)
def test_the_metric_of_the_study_is_that_of_the_sampler(conjugate, metric, dense):
    settings = dataclasses.replace(conjugate.study.sampler, metric=metric)
    found = sample_batch.nuts_settings(settings, {"b": 0, "a": 0, "c": 0})
    assert found == sampler.Settings(settings.warmup, 0.8, 10, dense)


def test_a_metric_of_unknown_sites_is_refused(conjugate):
    settings = dataclasses.replace(conjugate.study.sampler, metric=[["mu", "tua"]])
    with pytest.raises(StudyError, match="sampler.metric names tua, .* did you mean tau?"):
        sample_batch.nuts_settings(settings, {"mu": 0, "tau": 0})


def test_the_log_has_a_line_per_block_with_what_one_wants_to_know(rich):
    line = sample_batch.progress_line(rich.fitted.batch, [told(fit=1)])
    assert line == (
        "subset-02: warmup 100/600, step size 0.123, 7.0 leapfrogs per iteration, 0 divergences, 62 s left"
    )


def test_the_line_of_a_batch_is_of_its_last_fit_and_names_chains_that_stall(rich):
    stalled = np.array([False, True, False, False])
    ahead = told(iterations=np.full(4, 300), leapfrogs=np.array([1.0, 1, 1, np.nan]))
    line = sample_batch.progress_line(rich.fitted.batch, [ahead, told(fit=1, stalled=stalled)])
    assert line.startswith("2 fits: warmup 100/600, step size 0.123, 4.4 leapfrogs per iteration")
    assert line.endswith("62 s left, chain 1 of subset-02 stalls")


# ---- the chain of increments


def test_after_a_stop_the_rest_is_skipped_with_the_reason(conjugate, tmp_path):
    folder = tmp_path / "small"
    shutil.copytree(conjugate.folder.path, folder)
    small = conjugate._replace(folder=StudyFolder(folder))
    first = checksums.read_record(small.folder, "increment-01")
    told = dataclasses.replace(first, stop="it was found to break")
    checksums.write_record(small.folder, told)
    log = []
    for name in ("increment-02", "increment-03"):
        write_increment(small.assigned(log.append), name)
        record = formats.read_json(small.folder.record(name))
        assert record["status"] == "skipped"
        assert record["reason"] == "it was found to break"
        assert (record["kind"], record["fit"]) == ("increment", name)
    assert log == [f"increment-0{n}: skipped: it was found to break" for n in (2, 3)]


def with_budget(small, path, seconds, *missing):
    """Give a copy of a fitted study with another budget, and without some increments."""
    left_out = shutil.ignore_patterns(*missing)
    shutil.copytree(small.folder.path, path / "small", ignore=left_out)
    study = dataclasses.replace(small.study, budget=BudgetSettings(seconds, None))
    return small._replace(study=study, folder=StudyFolder(path / "small"))


def test_a_budget_that_is_spent_stops_the_chain_before_the_next_increment(conjugate, tmp_path):
    missing = "increment-02", "increment-03"
    small, log = with_budget(conjugate, tmp_path, 0.001, *missing), []
    for name in missing:
        write_increment(small.assigned(log.append), name)
        record = formats.read_json(small.folder.record(name))
        assert record["status"] == "skipped"
        assert record["reason"].startswith("budget.seconds is 0.001: the increments so far took ")
        assert record["settings"]["budget"] == {"seconds": 0.001, "price_per_hour": None}
    assert [line.split(": ")[:2] for line in log] == [
        ["increment-02", "skipped"],
        ["increment-03", "skipped"],
    ]


def test_an_increment_whose_forecast_exceeds_what_is_left_is_not_fitted(conjugate, tmp_path):
    done = [formats.read_json(conjugate.folder.record(f"increment-0{n}")) for n in (1, 2)]
    spent = sum(sum(one["seconds"].values()) for one in done)
    small = with_budget(conjugate, tmp_path, 1.001 * spent, "increment-03")
    write_increment(small.assigned(), "increment-03")
    record = formats.read_json(small.folder.record("increment-03"))
    assert record["status"] == "skipped"
    assert "and one of 214 rows is forecast to take " in record["reason"]


def test_the_log_forecasts_the_full_fit_from_the_second_increment_on(conjugate, tmp_path):
    small, log = with_budget(conjugate, tmp_path, 1e6, "increment-02"), []
    write_increment(small.assigned(log.append), "increment-02")
    assert formats.read_json(small.folder.record("increment-02"))["status"] == "done"
    (line,) = [line for line in log if "full fit" in line]
    assert line.startswith("increment-02: full fit of 214 rows: about ")


def test_what_stands_costs_no_budget(conjugate, tmp_path):
    small, lines = with_budget(conjugate, tmp_path, 0.001), []
    before = [small.read_record(f"increment-0{n}") for n in (1, 2, 3)]
    fit_program.write_increments(small.assigned(lines.append))
    assert [small.read_record(f"increment-0{n}") for n in (1, 2, 3)] == before
    assert lines == []


def test_a_manifest_names_its_fits_and_what_they_are(conjugate):
    manifest = formats.read_json(conjugate.folder.path / "fits" / "batch-1-of-1.json")
    # The first level has fewer rows than a subset.
    names = ["subset-01", "subset-02", "subset-03", "level-group-02", "level-group-03"]
    assert manifest["fits"] == names
    digests = {name: conjugate.read_record(name).sha256 for name in names}
    assert manifest["sha256"] == digests


# ---- processes


@pytest.fixture(scope="module")
def processes(conjugate, tmp_path_factory):
    """Fit the increments with two seeds in fresh processes, one after the other: folder, cached programs and log."""
    cache = tmp_path_factory.mktemp("cache")
    found = []
    for seed in (conjugate.study.seed, conjugate.study.seed + 1):
        folder = StudyFolder(tmp_path_factory.mktemp("process") / "small")
        folder.path.mkdir()
        for path in (conjugate.folder.data, conjugate.folder.plan, conjugate.folder.model):
            shutil.copy(path, folder.path)
        write_settings(folder.settings, dataclasses.replace(conjugate.study, seed=seed))
        found.append((folder, *run_fit(folder, cache)))
    return found


def run_fit(folder, cache):
    program = Path(__file__).parents[1] / "scripts" / "fit.py"
    options = [
        "--settings",
        str(folder.settings),
        "--increments",
        "--log",
        str(folder.path / "log"),
    ]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(cache)}
    command = [sys.executable, str(program), *options, "--manifest", str(folder.increments)]
    subprocess.run(command, env=environment, check=True)
    cached = {path.name for path in cache.glob("jit_advance-*-cache")}
    return cached, (folder.path / "log").read_text(encoding="utf-8")


def draws_of(folder, name):
    tree = posterior_file.read_posterior(folder.posterior(name))
    return {group: tree[group].to_dataset() for group in tree.children}


@pytest.mark.long
@pytest.mark.parametrize("name", ["increment-01", "increment-02"])
def test_a_rerun_in_another_process_has_the_same_bits(conjugate, processes, name):
    one, other = draws_of(conjugate.folder, name), draws_of(processes[0][0], name)
    assert set(one) == set(other)
    for group in one:
        assert one[group].equals(other[group]), group


@pytest.mark.long
def test_another_process_with_the_same_shapes_compiles_nothing(processes):
    (_, first, _), (_, second, _) = processes
    assert first  # the blocks; JAX keeps no program that compiles in under a second
    assert first == second


@pytest.mark.long
def test_a_process_records_its_device_and_says_where_it_is(processes):
    folder, _, log = processes[0]
    record = json.loads(folder.record("increment-01").read_text(encoding="utf-8"))
    assert (record["platform"], record["device"]) == ("cpu", "cpu")
    assert record["settings"]["sampler"]["warmup"] == 200
    lines = log.splitlines()
    assert all(line[:4].isdigit() and line[19] == " " for line in lines)
    assert any("increment-01: compiling for 1 x 256 rows" in line for line in lines)
    assert any(re.search(r"increment-01: warmup \d+/500", line) for line in lines)
    # As many draws as it took.
    assert any(re.search(r"increment-01: sampling (\d+)/\1, .*, 0 s left", line) for line in lines)
