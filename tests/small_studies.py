"""Studies of a few hundred rows, prepared and planned as the programs do it, in a folder of their own."""

import dataclasses
import json
import textwrap
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scalecheck.data import planned_fits, store
from scalecheck.evaluation.study_data import open_study_data
from scalecheck.files import checksums, formats, record
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import fit_job, sample_batch
from scalecheck.model import batches
from scalecheck.model.coupling import Coupling
from scalecheck.pipeline import check, check_study, increments, prepare, verdict
from scalecheck.pipeline import fit as fit_program
from scalecheck.pipeline import plan as plan_program
from scalecheck.pipeline.assignment import Assignment
from scalecheck.results import study_fits
from scalecheck.study import plan, read_study
from scalecheck.study.settings import Study, parse_sections

FIT_SECTIONS = (
    "seed",
    "data",
    "model",
    "sampler",
    "subsets.size",
    "increments",
    "verdict.alpha",
    "budget",
)
DEVICE = {"platform": "cpu", "device": "cpu", "gpu": None, "override": "", "note": ""}

IMPORTS = """
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
"""
# Takes a covariate, which it does not use, so that its rows can be padded.
CONJUGATE = """
def model(x, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
"""
COUNTED = """
def model(n_rows, y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", n_rows):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)
"""
EVERYTHING = """
def model(x, group, n_group, patient, n_patient, y=None, width=2.0):
    mu = numpyro.sample("mu", dist.Normal(0, 1))
    rate = numpyro.sample("rate", dist.Uniform(0, 3))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    beta = numpyro.sample("beta", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    effect = numpyro.sample("effect", dist.Normal(0, 0.5).expand([n_group]).to_event(1))
    with numpyro.plate("patients", n_patient):
        base = numpyro.sample("base", dist.Normal(0, 0.5))
    numpyro.deterministic("scale", width * rate)
    mean = mu + x @ beta + effect[group] + base[patient] + share @ jnp.arange(3.0)
    numpyro.deterministic("mean", mean)
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(mean, 0.5 + rate), obs=y)
"""


class Small(NamedTuple):
    """A planned study."""

    study: Study
    folder: StudyFolder

    def job(self, log=lambda line: None):
        raw = self.study.sections(*FIT_SECTIONS)
        return fit_job.Job(
            self.folder, parse_sections(raw), json.loads(raw), DEVICE, (0.3, 0.2), log
        )

    def assigned(self, log=lambda line: None):
        return assigned(self.job(log))

    def evidence(self):
        study = self.study
        return open_study_data(self.folder, study.model, study.data.outcome, study.seed)

    def tasks(self, *names):
        return planned_fits.read_planned(self.folder, self.study.increments.order, names)

    def fit(self, *names):
        """Fit these together; give their results by name."""
        fit_program.write_fits(self.assigned(), names)
        return [self.read(name) for name in names]

    def read(self, name):
        (task,) = self.tasks(name)
        return study_fits.read_fit(self.folder, task, self.read_record(name))

    def read_record(self, name):
        return record.read(self.folder.record(name))

    def whole(self):
        """All rows as a batch of one fit."""
        meta = store.read_meta(self.folder.data)
        task = plan.PlannedFit(
            "all", "all", "", "", meta.n_rows, 0, (plan.Slice("random", 0, meta.n_rows),)
        )
        settings = self.study
        (batch,) = batches.read_batches(
            self.folder, [task], settings.data.outcome, settings.model, settings.sampler.precision
        )
        return batch

    def values(self, name, *columns):
        (task,) = self.tasks(name)
        return store.read_rows(self.folder.data, task.slices, columns)


def make(path, table, source=CONJUGATE, *, outcome="y", **settings) -> Small:
    """Prepare and plan a study of a pandas table; `settings` are its other sections."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    table.to_csv(path / "data.csv", index=False)
    (path / "model.py").write_text(IMPORTS + textwrap.dedent(source), encoding="utf-8")
    given = {
        "study": "small",
        "seed": 1,
        "subsets": {"count": 2, "size": 50},
        "increments": {"start": 50, "end": 50},
        **settings,
        "data": {"file": "data.csv", "outcome": outcome} | settings.get("data", {}),
        "model": {"file": "model.py"} | settings.get("model", {}),
        "sampler": {"chains": 2, "warmup": 150, "draws": 150} | settings.get("sampler", {}),
    }
    study = read_study.build(given, str(path / "study.yaml"))
    folder = StudyFolder(path / "results" / "small")
    prepare.prepare(folder, study.data, study.model, study.subsets.levels, study.seed)
    bound = check_study.load_model(folder, study.data.outcome, study.model, study.sampler)
    found = check_study.check_study(
        folder, bound, study.model, study.sampler, study.seed, study.data.truth
    )
    formats.write_json(folder.model, found)
    plan_program.write_plan(folder, study, lambda line: None)
    return Small(study, folder)


def assigned(job) -> Assignment:
    """Give what a program of fits has before it opens this job."""
    return Assignment(job.folder, job.study, job.raw, "cpu", job.log, lambda: job)


def write_increment(assigned: Assignment, name: str) -> None:
    """Make one increment where it does not stand, after those before it, which are there."""
    chain = increments.open_chain(assigned)
    number = [task.fit for task in chain.tasks].index(name)
    before = chain.tasks[:number]
    increments.write_next(
        chain, [checksums.read_record(assigned.folder, one.fit) for one in before]
    )


def take_any_model(monkeypatch):
    """Let models take statistics of their rows, as no study may."""
    monkeypatch.setattr(check_study, "find_coupling", lambda *arguments: Coupling())


def conjugate(path) -> Small:
    """Fit everything of a study of a normal mean with unit variances, in three groups of unequal size."""
    rng = np.random.default_rng(3)
    group = np.repeat(["south", "north", "east"], [100, 90, 24])
    table = pd.DataFrame({"y": 0.4 + rng.standard_normal(214), "x": 1.0, "group": group})
    study = make(
        path,
        table.sample(frac=1, random_state=1),
        data={"axes": ["group"]},
        subsets={"count": 3, "size": 40},
        # Cold, so that any increment can be fitted without the others.
        increments={"start": 8, "factor": 8, "end": "all", "warm": False},
        sampler={"chains": 4, "warmup": 200, "draws": 300},
    )
    names = [row.fit for row in formats.read_plan(study.folder.plan)]
    together = [name for name in names if name.startswith(("subset", "level"))]
    manifest = study.folder.path / "fits" / "batch-1-of-1.json"
    fit_program.write_fits(study.assigned(), together, manifest)
    fit_program.write_increments(study.assigned())
    return study


def everything(path) -> Small:
    """A study of a model with bounds, a simplex, groups, units, a matrix, deterministic sites."""
    rng = np.random.default_rng(4)
    n_rows = 240
    table = pd.DataFrame(
        {
            "y": rng.standard_normal(n_rows),
            "x1": rng.standard_normal(n_rows),
            "x2": rng.standard_normal(n_rows),
            "group": rng.choice(["b", "a", "c"], n_rows, p=[0.6, 0.3, 0.1]),
            "patient": [f"p{code:02d}" for code in rng.integers(30, size=n_rows)],
        }
    )
    return make(
        path,
        table,
        EVERYTHING,
        data={"unit": "patient", "axes": ["group"]},
        model={"arguments": {"x": ["x1", "x2"]}},
        increments={"start": 100, "end": 100},
        sampler={"chains": 2, "warmup": 100, "draws": 50},
    )


class Rich(NamedTuple):
    """A sampled batch of a study."""

    small: Small
    fitted: sample_batch.Fitted


def rich(small) -> Rich:
    """Sample subsets and levels of `everything`."""
    names = [row.fit for row in formats.read_plan(small.folder.plan)]
    together = [name for name in names if name.startswith(("subset", "level"))]
    (batch,) = batches.read_batches(
        small.folder, small.tasks(*together), "y", small.study.model, "float32"
    )
    fitted = sample_batch.fit_batch(batch, small.study.sampler, small.study.seed, lambda line: None)
    return Rich(small, fitted)


def decide(small, log=lambda line: None):
    """Write the verdict of a study that was checked; give its content."""
    never = dataclasses.replace(small.study.approximation, when="never")
    study = dataclasses.replace(small.study, approximation=never)
    return verdict.conclude(small.folder, study, log)


def judge(small):
    """Check and conclude as the programs do: the findings, and the content of verdict.json."""
    study, folder = small.study, small.folder
    sections = parse_sections(study.sections("seed", "data", "model", "increments"))
    found = check.write_checks(folder, sections, lambda line: None)
    decide(small)
    return found, formats.read_json(folder.verdict)
