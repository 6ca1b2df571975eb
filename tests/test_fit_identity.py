"""What a fit is: which changes make it another, and that a job makes those that do not stand, and no others."""

import dataclasses
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import small_studies
import yaml

from scalecheck.data import planned_fits, store
from scalecheck.errors import StudyError
from scalecheck.examine import looks
from scalecheck.files import checksums, formats
from scalecheck.files.layout import StudyFolder
from scalecheck.files.record import FitRecord, as_json
from scalecheck.fitting import fit_identity, row_digests, run_fits
from scalecheck.pipeline import fit, increments, plan, prepare
from scalecheck.pipeline.assignment import Assignment
from scalecheck.runtime import device
from scalecheck.runtime.versions import versions
from scalecheck.study import read_study
from scalecheck.study.plan import Slice
from scalecheck.study.settings import Study, freeze

N_ROWS = 240
MODEL = """
from constants import WIDTH

def model(x, group, n_group, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, WIDTH))
    effect = numpyro.sample("effect", dist.Normal(0.0, 1.0).expand([n_group]))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu + effect[group] * x, 1.0), obs=y)
"""
GIVEN = {
    "data": {"axes": ["group", "kind"]},
    "subsets": {"count": 2, "size": 30},
    "increments": {"start": 20, "end": 80, "warm": True, "cold_audit": 4},
    "sampler": {"engine": "lanes", "chains": 2, "warmup": 100, "draws": 100},
}


def table():
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "y": rng.standard_normal(N_ROWS),
            "x": rng.standard_normal(N_ROWS),
            "w": rng.standard_normal(N_ROWS),
            "group": rng.choice(["a", "b"], N_ROWS),
            "kind": rng.choice(["new", "old"], N_ROWS),
        }
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A study that is planned, and the folder of its files."""
    folder = tmp_path_factory.mktemp("identity")
    (folder / "constants.py").write_text("WIDTH = 1.0\n")
    return folder, small_studies.make(folder, table(), MODEL, **GIVEN)


@pytest.fixture
def case(prepared, tmp_path, monkeypatch):
    """A copy of it whose fits pretend to be done."""
    folder, small = prepared
    shutil.copytree(folder, tmp_path / "case")
    own = Case(tmp_path / "case", monkeypatch)
    assert own.run() == sorted(own.names())
    yield own
    versions.cache_clear()


class Case:
    """A study in a folder, whose fits are pretended."""

    def __init__(self, folder, monkeypatch):
        self.path, self.platform = folder, "cpu"
        self.given = {"study": "small", "seed": 1, **{k: dict(v) for k, v in GIVEN.items()}}
        self.given["data"] |= {"file": "data.csv", "outcome": "y"}
        self.given["model"] = {"file": "model.py"}
        self.folder = StudyFolder(folder / "results" / "small")
        self.made: list[str] = []
        monkeypatch.setattr(run_fits, "run_batch", self._run_batch)
        monkeypatch.setattr(run_fits, "run_increment", self._run_increment)
        monkeypatch.setattr(increments, "_look", lambda *given: "")
        self.monkeypatch = monkeypatch

    @property
    def study(self):
        return read_study.build(json.loads(json.dumps(self.given)), str(self.path / "study.yaml"))

    def run(self):
        """Prepare, plan and fit as the workflow does; give the names of the fits that were made."""
        study, self.made = self.study, []
        prepare.prepare(self.folder, study.data, study.model, study.subsets.levels, study.seed)
        plan.write_plan(self.folder, study, lambda line: None)
        job = self.assigned()
        rows = formats.read_plan(self.folder.plan)
        fit.write_fits(job, [row.fit for row in rows if row.kind != "increment"])
        fit.write_increments(job)
        return sorted(self.made)

    def assigned(self):
        raw = json.loads(self.study.sections())
        return Assignment(
            self.folder, freeze(Study, raw), raw, self.platform, lambda line: None, lambda: None
        )

    def tasks(self, *names):
        return planned_fits.read_planned(self.folder, self.study.increments.order, names or None)

    def names(self, *kinds):
        rows = formats.read_plan(self.folder.plan)
        return [row.fit for row in rows if not kinds or row.kind in kinds]

    def containing(self, number):
        """Fits with a row of the table."""
        tasks = self.tasks()
        column, arrived = store.FILE_ROW, Slice("arrival", number, number + 1)
        (row,) = store.read_rows(self.folder.data, [arrived], [column])[column]
        rows = {
            task.fit: store.read_rows(self.folder.data, task.slices, [column])[column]
            for task in tasks
        }
        return [name for name, own in rows.items() if row in own]

    def edit(self, name, old, new):
        path = self.path / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def change_table(self, change):
        read = pd.read_csv(self.path / "data.csv")
        change(read).to_csv(self.path / "data.csv", index=False)

    def change_model_json(self, **known):
        formats.write_json(self.folder.model, formats.read_json(self.folder.model) | known)

    def _run_batch(self, job, tasks, known):
        return [[self._pretend(task, known) for task in tasks]]

    def _run_increment(self, job, task, known, number, before):
        self.folder.left(task.fit).parent.mkdir(parents=True, exist_ok=True)
        self.folder.left(task.fit).write_text(f"left by {known[task.fit].digest}")
        return self._pretend(task, known)

    def _pretend(self, task, known):
        self.made.append(task.fit)
        path = self.folder.posterior(task.fit)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"draws of {known[task.fit].digest}")
        identity = known[task.fit]._asdict()
        record = FitRecord(
            **task.columns,
            status="done",
            settings={},
            identity=identity,
            engine_version=3,
            versions={},
        )
        return checksums.with_files(self.folder, record)


def put(*path_and_value):
    """Set a key of the study file."""
    *path, value = path_and_value

    def change(case):
        target = case.given
        for name in path[:-1]:
            target = target.setdefault(name, {})
        target[path[-1]] = value

    return change


def touch(case):
    for name in ("data.csv", "model.py", "constants.py"):
        os.utime(case.path / name, (2e9, 2e9))


def copy_files(case):
    for old, new in (("data.csv", "same.csv"), ("model.py", "same.py")):
        shutil.move(case.path / old, case.path / new)
    case.given["data"]["file"], case.given["model"]["file"] = "same.csv", "same.py"


def with_value(case):
    case.change_table(lambda read: read.assign(y=read.y.where(read.index != 30, 7.0)))


def compare_one(case):
    case.given["model"]["compare"] = ["mu"]
    case.change_model_json(compared=["mu"])


def take_another_column(case):
    case.given["model"]["arguments"] = {"x": "w"}
    case.change_model_json(columns=["w", "group", "y"])


def rename_group(case):
    case.change_table(lambda read: read.assign(group=read.group.replace("b", "c")))


def rename_kind(case):
    case.change_table(lambda read: read.assign(kind=read.kind.replace("old", "older")))


def upgrade_jax(case):
    case.monkeypatch.setattr(importlib.metadata, "version", lambda package: "99.0")
    versions.cache_clear()


def change_engine(case):
    case.monkeypatch.setattr(fit_identity, "ENGINE_VERSION", 99)


def run_on_gpu(case):
    case.platform = "gpu"


def damage(name, file):
    return lambda case: getattr(case.folder, file)(name).write_text("{}")


def remove(name, file):
    return lambda case: getattr(case.folder, file)(name).unlink()


def all_fits(case):
    return case.names()


def nothing(case):
    return []


def every_increment(case):
    return case.names("increment")


def others(case):
    return case.names("subset", "level")


def only(*names):
    return lambda case: names


# What is changed after everything was fitted, and what is fitted then.
CHANGES = {
    "nothing": (lambda case: None, nothing),
    "dates of files": (touch, nothing),
    "names of files": (copy_files, nothing),
    "a comment": (
        lambda case: case.edit("model.py", "    mu =", "    # mean\n\n    mu ="),
        nothing,
    ),
    "layout": (
        lambda case: case.edit("model.py", "(0.0, WIDTH)", "(\n        0.0, WIDTH,\n    )"),
        nothing,
    ),
    "a comment beside": (lambda case: case.edit("constants.py", "1.0", "1.0  # units"), nothing),
    "a file that nobody imports": (
        lambda case: (case.path / "notes.py").write_text("WIDTH = 2.0\n"),
        nothing,
    ),
    "a prior": (
        lambda case: case.edit("model.py", "Normal(0.0, 1.0)", "Normal(0.0, 2.0)"),
        all_fits,
    ),
    "a constant beside": (lambda case: case.edit("constants.py", "1.0", "2.0"), all_fits),
    "one subset more": (put("subsets", "count", 3), only("subset-03")),
    "one subset less": (put("subsets", "count", 1), nothing),
    "larger subsets": (put("subsets", "size", 40), others),
    "one axis more": (
        put("data", "axes", ["group", "kind", "w"]),
        lambda case: [f"level-w-{n:02d}" for n in range(1, 9)],
    ),
    "one axis less": (put("data", "axes", ["group"]), nothing),
    "one increment more": (put("increments", "end", 160), only("increment-04")),
    "one increment less": (put("increments", "end", 40), nothing),
    "another last increment": (put("increments", "end", 70), only("increment-03")),
    "larger increments": (put("increments", "start", 25), every_increment),
    "increments at random": (put("increments", "order", "random"), every_increment),
    "cold increments": (put("increments", "warm", False), only("increment-02", "increment-03")),
    "an audit": (put("increments", "cold_audit", 2), only("increment-03")),
    "never stop": (put("increments", "stop", "never"), nothing),
    "alpha": (put("verdict", "alpha", 0.01), nothing),
    "simulated studies": (put("verdict", "simulate", 20), nothing),
    "a budget": (put("budget", {"seconds": 1e-9, "price_per_hour": 2.0}), nothing),
    "what comes after": (
        lambda case: [put("remedies", "auto")(case), put("approximation", "when", "always")(case)],
        nothing,
    ),
    "more jobs": (put("batches", 4), nothing),
    "the seed": (put("seed", 2), all_fits),
    "draws": (put("sampler", "draws", 200), all_fits),
    "precision": (put("sampler", "precision", "float64"), all_fits),
    "what is stored": (put("sampler", "keep", ["mu"]), all_fits),
    "starts at draws of the increment before": (
        lambda case: [
            put("sampler", "start", "previous")(case),
            put("increments", "warm", None)(case),
        ],
        only("increment-02", "increment-03"),
    ),
    "what is compared": (compare_one, all_fits),
    "an argument that is named as it is": (put("model", "arguments", {"x": "x"}), nothing),
    "an argument": (take_another_column, all_fits),
    "a column that the model does not take": (
        lambda case: case.change_table(lambda read: read.assign(z=1.0)),
        nothing,
    ),
    "values of an axis that the model does not take": (
        lambda case: case.change_table(lambda read: read.assign(w=read.w + 1)),
        nothing,
    ),
    "an outcome": (with_value, lambda case: case.containing(30)),
    "rows at the end": (
        lambda case: case.change_table(lambda read: pd.concat([read, read[:5]])),
        others,
    ),
    "a label of a level": (rename_kind, nothing),
    "a label of a parameter": (rename_group, all_fits),
    "a new JAX": (upgrade_jax, nothing),
    "a new engine": (change_engine, all_fits),
    "a GPU": (run_on_gpu, all_fits),
    "a damaged posterior": (damage("subset-01", "posterior"), only("subset-01")),
    "a damaged record": (damage("level-kind-01", "record"), only("level-kind-01")),
    "a record that is gone": (remove("level-kind-02", "record"), only("level-kind-02")),
    "a posterior that is gone": (remove("increment-02", "posterior"), only("increment-02")),
    "what an increment left is gone": (remove("increment-02", "left"), nothing),
    "what the last but one left is gone, and the last": (
        lambda case: [remove("increment-02", "left")(case), remove("increment-03", "record")(case)],
        only("increment-02", "increment-03"),
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_makes_those_fits_again_that_it_changes(case, name):
    change, expected = CHANGES[name]
    change(case)
    made = case.run()
    assert made == sorted(expected(case))
    assert case.run() == []


@pytest.mark.parametrize("program", ["run_batch", "run_increment"])
def test_a_model_that_is_edited_while_fits_run_is_refused(case, program):
    """What ran is that of before or of after: without a record it is fitted again."""
    whole, edited = getattr(run_fits, program), []
    first = {"run_batch": "subset-01", "run_increment": "increment-01"}[program]

    def edit_and_run(*given):
        case.folder.checkpoint(first).mkdir(parents=True)
        case.edit("model.py", "dist.Normal(0.0, 1.0)", "dist.Normal(0.0, 3.0)")
        edited.append(whole(*given))
        return edited[-1]

    put("seed", 2)(case)
    with case.monkeypatch.context() as during:
        during.setattr(run_fits, program, edit_and_run)
        with pytest.raises(StudyError, match=r"model\.py: changed while the study ran: run again"):
            case.run()
    assert not case.folder.record(first).exists()
    assert not case.folder.checkpoint(first).exists()
    assert case.run() == sorted(case.names())
    assert case.run() == []


def test_a_model_that_is_edited_while_nothing_is_fitted_leaves_no_manifest(case):
    whole = fit.find_standing

    def edit_and_find(*given):
        case.edit("model.py", "dist.Normal(0.0, 1.0)", "dist.Normal(0.0, 3.0)")
        return whole(*given)

    case.monkeypatch.setattr(fit, "find_standing", edit_and_find)
    manifest = case.folder.path / "fits" / "batch.json"
    with pytest.raises(StudyError, match="changed while the study ran"):
        fit.write_fits(case.assigned(), ["subset-01"], manifest)
    assert not manifest.exists()


def test_a_record_that_is_kept_says_what_the_plan_says_now(case):
    rename_kind(case)
    case.run()
    record = checksums.read_record(case.folder, "level-kind-02")
    assert record.level == "older"


def test_an_increment_that_is_kept_is_looked_at_again_where_the_look_may_say_otherwise(case):
    seen = []
    case.monkeypatch.setattr(
        increments, "_look", lambda chain, done: seen.append(done[-1].fit) or ""
    )
    case.run()
    assert seen == []
    put("verdict", "alpha", 0.2)(case)
    assert case.run() == []
    assert seen == ["increment-02", "increment-03"]


def test_an_increment_is_looked_at_again_where_an_axis_has_other_values(case):
    put("data", "axes", ["group", "kind", "w"])(case)
    case.run()
    seen = []
    case.monkeypatch.setattr(
        increments, "_look", lambda chain, done: seen.append(done[-1].fit) or ""
    )
    case.change_table(lambda read: read.assign(w=read.w.where(read.index != 50, 9.0)))
    case.run()
    assert seen == ["increment-03"]


def test_an_increment_is_looked_at_again_where_the_library_is_another(case):
    seen = []
    case.monkeypatch.setattr(
        increments, "_look", lambda chain, done: seen.append(done[-1].fit) or ""
    )
    case.monkeypatch.setattr(increments, "digest_of_library", lambda: "edited")
    assert case.run() == []
    assert seen == ["increment-02", "increment-03"]


def test_a_look_is_another_where_rows_or_the_library_are_and_the_draws_are_not(case):
    (task,) = case.tasks("increment-01")
    record = checksums.read_record(case.folder, task.fit)
    others = dataclasses.replace(record, identity=record.identity | {"rows": "others"})

    def identify(recorded):
        return looks.identify_look(case.folder, case.study, [(task, recorded)], 3)

    known = identify(record)
    assert identify(dataclasses.replace(record, looked="another digest", stop="")) == known
    assert identify(others) != known
    case.monkeypatch.setattr(looks, "digest_of_library", lambda: "edited")
    assert identify(record) != known


def test_where_the_look_now_says_stop_the_rest_is_skipped(case):
    case.monkeypatch.setattr(increments, "_look", lambda chain, done: f"{done[-1].fit} breaks")
    put("verdict", "alpha", 0.2)(case)
    assert case.run() == []
    found = [checksums.read_record(case.folder, f"increment-0{n}") for n in (1, 2, 3)]
    assert [one.status for one in found] == ["done", "done", "skipped"]
    assert (found[1].stop, found[2].reason) == ("increment-02 breaks",) * 2


def test_what_was_fitted_and_is_skipped_now_is_kept_for_other_settings(case):
    before = [checksums.read_record(case.folder, f"increment-0{n}") for n in (2, 3)]
    case.monkeypatch.setattr(increments, "_look", lambda chain, done: f"{done[-1].fit} breaks")
    put("verdict", "alpha", 0.2)(case)
    case.run()
    case.run()  # skipped twice
    case.monkeypatch.setattr(increments, "_look", lambda chain, done: "")
    put("verdict", "alpha", 0.05)(case)
    assert case.run() == []
    assert [checksums.read_record(case.folder, f"increment-0{n}") for n in (2, 3)] == before
    assert not case.folder.set_aside("increment-03").exists()


def test_what_was_put_aside_stands_where_the_job_was_killed_before_it_said_so(case):
    def end(*given):
        raise KeyboardInterrupt

    with case.monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(increments, "_look", lambda chain, done: f"{done[-1].fit} breaks")
        killed.setattr(increments, "_skipped", end)
        put("verdict", "alpha", 0.2)(case)
        case.run()
    assert case.folder.set_aside("increment-03").exists()
    assert not case.folder.record("increment-03").exists()
    put("verdict", "alpha", 0.05)(case)
    assert case.run() == []
    assert checksums.read_record(case.folder, "increment-03").status == "done"
    assert not case.folder.set_aside("increment-03").exists()


@pytest.mark.parametrize("n_written", [0, 1, 2])
def test_no_fit_is_lost_where_a_job_is_killed_between_records_of_a_batch(case, n_written):
    names, written = ["subset-01", "subset-02", "level-kind-01"], []
    whole = checksums.write_record

    def write_or_end(folder, record):
        if len(written) == n_written:
            raise KeyboardInterrupt
        written.append(record.fit)
        whole(folder, record)

    for name in names:
        case.folder.record(name).unlink()
    case.folder.checkpoint("subset-01").mkdir()
    with case.monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(checksums, "write_record", write_or_end)
        fit.write_fits(case.assigned(), names)
    assert case.folder.checkpoint("subset-01").exists()
    assert case.run() == []
    assert not case.folder.checkpoint("subset-01").exists()
    assert not case.folder.ended("subset-01").exists()


def test_records_that_were_not_written_and_are_of_another_model_do_not_stand(case):
    record = checksums.read_record(case.folder, "subset-02")
    case.folder.record("subset-02").unlink()
    content = as_json(dataclasses.replace(record, identity=record.identity | {"model": "other"}))
    ended = {"subset-02": content, "level-kind-01": {"fit": "level-kind-01"}}
    formats.write_json(case.folder.ended("subset-01"), ended)
    assert case.run() == ["subset-02"]


# Every key of the study file: another value, and whether it is part of what a fit is beside its rows.
KEYS = {
    "study": ("other", False),
    "seed": (7, True),
    "results": ("elsewhere", False),
    "data.file": ("other.csv", False),
    "data.outcome": ("x", True),
    "data.expand": ({"repeat": "w"}, False),
    "data.order": ("w", False),
    "data.unit": ("group", True),
    "data.categories": (("kind",), False),
    "data.axes": (("w",), False),
    "data.missing": ("drop", False),
    "data.made_by": ("make.py", False),
    "data.truth": ("truth.csv", False),
    "model.file": (None, False),  # its source is, and not its name
    "model.function": ("other", True),
    "model.arguments": ({"x": "w"}, True),
    "model.compare": (("mu",), False),  # what model.json says of it is
    "subsets.count": (9, False),
    "subsets.size": (9, False),
    "subsets.levels": (9, False),
    "increments.start": (9, False),
    "increments.factor": (3.0, False),
    "increments.end": (9, False),
    "increments.order": ("random", False),
    "increments.stop": ("never", False),
    "increments.warm": (False, True),
    "increments.cold_audit": (1, True),
    "sampler.engine": ("numpyro", True),
    "sampler.chains": (9, True),
    "sampler.warmup": (99, True),
    "sampler.draws": (99, True),
    "sampler.target_accept": (0.9, True),
    "sampler.max_tree_depth": (9, True),
    "sampler.metric": ("dense", True),
    "sampler.precision": ("float64", True),
    "sampler.keep": (("mu",), True),
    "sampler.start": ("uniform", True),
    "sampler.on_stall": ("stop", True),
    "sampler.max_gradients": (999, True),
    "sampler.reparam": ({"mu": 0.0}, True),
    "sampler.marginalise": ("units", True),
    "budget.seconds": (9.0, False),
    "budget.price_per_hour": (9.0, False),
    "verdict.alpha": (0.2, False),
    "verdict.simulate": (9, False),
    "approximation.when": ("always", False),
    "approximation.method": ("flow", False),
    "approximation.exact": ("nuts", False),
    "approximation.batch": (9, False),
    "approximation.steps": (9000, False),
    "approximation.simulate": (9, False),
    "remedies": ("auto", False),
    "batches": (9, False),
}
SCHEMA = Path(__file__).parents[1] / "workflow/schemas/study.schema.yaml"


def test_the_table_has_every_key_of_the_study_file():
    known = yaml.safe_load(SCHEMA.read_text())["properties"]
    keys = [
        key
        for name, part in known.items()
        for key in (
            [f"{name}.{own}" for own in part["properties"]] if "properties" in part else [name]
        )
    ]
    assert sorted(keys) == sorted(KEYS)


@pytest.fixture
def identify_last(prepared):
    """Identify the last increment under other settings."""
    _, small = prepared
    tasks = small.tasks("increment-01", "increment-02", "increment-03")

    def identify(study):
        found = fit_identity.identify_increments(small.folder, study, "cpu", tasks)
        return found["increment-03"].digest

    return identify, small.study


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_part_of_what_a_fit_is_or_not(identify_last, tmp_path, key):
    identify, study = identify_last
    value, is_part = KEYS[key]
    if key == "model.file":
        folder = Path(study.model.file).parent
        value = shutil.copytree(folder, tmp_path / "copy") / "model.py"
        value = str(value)
    section, _, name = key.partition(".")
    changed = dataclasses.replace(getattr(study, section), **{name: value}) if name else value
    other = dataclasses.replace(study, **{section: changed})
    assert (identify(other) != identify(study)) is is_part


# ---- rows


def column_digests(path, *slices, **taken):
    given = {"dtypes": {"y": "float32"}, "unit": None, "unit_labels": ()} | taken
    return row_digests.digest_slices(path, slices, row_digests.TakenColumns(**given))


def test_each_row_is_read_once_and_prefixes_have_the_digests_of_slices_alone(prepared, monkeypatch):
    _, small = prepared
    monkeypatch.setattr(row_digests, "_BLOCK", 7)
    ends = [Slice("arrival", 0, stop) for stop in (20, 80, 40)]
    seen, whole = [], store._read_slice
    with monkeypatch.context() as counted:
        counted.setattr(
            store,
            "_read_slice",
            lambda file, part, name: seen.append(part) or whole(file, part, name),
        )
        together = column_digests(small.folder.data, *ends)
    assert sorted(row for part in seen for row in range(part.start, part.stop)) == list(range(80))
    monkeypatch.setattr(row_digests, "_BLOCK", 1000)
    alone = {end: column_digests(small.folder.data, end)[end] for end in ends}
    assert together == alone
    assert len(set(alone.values())) == 3


def units(names, more=()):
    """A table of two rows a unit; further units come after the others."""
    every = [*names, *more]
    return pd.DataFrame({"y": np.arange(2.0 * len(every)), "x": 1.0, "unit": np.repeat(every, 2)})


def of_units(path, names, more=()):
    small = small_studies.make(
        path,
        units(names, more),
        small_studies.CONJUGATE,
        data={"unit": "unit"},
        subsets={"count": 0},
        increments={"start": 4, "end": 4},
    )
    labels = store.read_meta(small.folder.data).labels["unit"]
    first = Slice("arrival", 0, 4)
    return column_digests(small.folder.data, first, unit="unit", unit_labels=labels)[first]


def test_units_are_told_by_their_own_labels_whatever_units_other_rows_have(tmp_path):
    """Codes are those of all labels, sorted: a unit more in other rows changes them."""
    known = of_units(tmp_path / "a", ["m", "n"])
    assert of_units(tmp_path / "b", ["m", "n"], ["a", "z"]) == known
    assert of_units(tmp_path / "c", ["m", "k"]) != known


# ---- processes

NO_JAX = """
import json, sys
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.pipeline import fit
from scalecheck.pipeline.assignment import Assignment
from scalecheck.study.settings import parse_sections

def refuse():
    raise AssertionError("a device was asked for")

folder, settings = StudyFolder(sys.argv[1]), sys.argv[2]
job = Assignment(folder, parse_sections(settings), json.loads(settings), "cpu", print, refuse)
names = [row.fit for row in formats.read_plan(folder.plan) if row.kind != "increment"]
fit.write_fits(job, names, folder.path / "batch.json")
fit.write_increments(job, folder.path / "increments.json")
assert "jax" not in sys.modules
"""


def test_a_job_in_which_every_fit_stands_imports_no_jax(conjugate, tmp_path):
    folder = shutil.copytree(conjugate.folder.path, tmp_path / "small")
    records = sorted(folder.glob("fits/*/record.json"))
    before = [path.stat().st_mtime_ns for path in records]
    settings = conjugate.study.sections(*small_studies.FIT_SECTIONS)
    told = subprocess.run(
        [sys.executable, "-c", NO_JAX, str(folder), settings], capture_output=True, text=True
    )
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
    assert [path.stat().st_mtime_ns for path in records] == before
    assert len(formats.read_json(folder / "batch.json")["fits"]) == 5
    assert formats.read_json(folder / "increments.json")["fits"] == [
        f"increment-0{n}" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("gpus", "override", "expected"),
    [(0, "", "cpu"), (1, "", "gpu"), (1, "cpu", "cpu"), (0, "cuda", "gpu"), (0, "tpu", "tpu")],
)
def test_the_kind_of_device_is_known_before_jax_is(monkeypatch, gpus, override, expected):
    monkeypatch.setenv(device.PLATFORM, override)
    assert device.platform_of(gpus) == expected
