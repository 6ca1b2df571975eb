"""Studies to run, and what rules ask of them."""

import functools
import os
import re
from pathlib import Path

from scalecheck import ENGINE_VERSION
from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.runtime.locks import claim_run
from scalecheck.study import jobs, rerun
from scalecheck.study import resources as requests
from scalecheck.study.read_study import select
from scalecheck.study.settings import may_approximate

# As a module: the files of the workflow that uses this one are none of studies, and its rules may make their data.
IS_MODULE = not workflow.modifier.is_main_snakefile()

# Whoever runs one study wants to see its mistakes in one line, not in a traceback.
try:
    STUDIES = select(config, [] if IS_MODULE else workflow.configfiles, may_be_made=IS_MODULE)
except StudyError as error:
    raise WorkflowError(str(error)) from None


pathvars:
    results=next(iter(STUDIES.values())).results,
    logs="logs",


def folder_of(study):
    """Where Snakemake writes the results of a study: a module's `prefix` and `pathvars` are in it."""
    path = workflow.pathvars.apply(f"<results>/{study}")
    return StudyFolder(workflow.modifier.modify_path(path))


# Now: when functions of rules are called, the module is no longer known.
FOLDERS = {study: folder_of(study) for study in STUDIES}

CLAIMS = []  # until the process of the run ends


def claim_studies():
    """Refuse a second run on the same results, whatever its working directory."""
    try:
        CLAIMS.extend(map(claim_run, FOLDERS.values()))
    except StudyError as error:
        raise WorkflowError(str(error)) from None


def settings(*names):
    """Sections of a study as JSON: what a rule depends on, and nothing else."""
    return lambda wildcards: STUDIES[wildcards.study].sections(*names)


# Tables that a program of the study makes; two studies may share one.
MADE = {study.data.file: study.data.made_by for study in STUDIES.values() if study.data.made_by}


def file_of(section):
    """The data or the model file of a study: the user's, which lie where the study says, under no prefix."""
    return lambda wildcards: local(getattr(STUDIES[wildcards.study], section).file)


# The Snakemake that runs inside a job of a queue is told nothing of `--resources`.
if workflow.is_main_process:
    os.environ["SCALECHECK_GPUS"] = str(workflow.global_resources.get("gpu").value or 0)


envvars:
    "SCALECHECK_GPUS",


GPUS = int(os.environ["SCALECHECK_GPUS"])


def gpus(wildcards):
    """One, where Snakemake was told of some: whoever did not say what is there has asked for none."""
    return min(1, GPUS)


def truth(wildcards):
    """What simulated data were drawn from, where it is known."""
    found = STUDIES[wildcards.study].data.truth
    return [local(found)] if found else []


@functools.lru_cache
def read_plan(path, changed):
    """Rows of plan.csv: once for all jobs that ask, of which there may be thousands."""
    return formats.read_plan(Path(path))


def planned(study):
    """Rows of plan.csv, once it is there."""
    path = checkpoints.plan_fits.get(study=study).output.plan
    return read_plan(path, os.stat(path).st_mtime_ns)


def fits(study, *kinds):
    """Names of the planned fits of some kinds, in plan order."""
    return [row.fit for row in planned(study) if row.kind in kinds]


def batches(wildcards):
    """What the jobs of subsets and levels write last."""
    plan = planned(wildcards.study)
    names = jobs.parts(plan, n_jobs(wildcards.study, plan))
    return [f"<results>/{wildcards.study}/fits/subsets-{part}.json" for part in names]


def fits_of_part(wildcards):
    """Subsets and levels of one job, told apart by a few characters: the job finds their names in the plan."""
    return jobs.digest(jobs.fits_of(planned(wildcards.study), wildcards.part))


def before(wildcards):
    """The increment before this one, or nothing."""
    increments = fits(wildcards.study, "increment")
    index = increments.index(wildcards.increment)
    return increments[index - 1 : index] if index else []


def record_before(wildcards):
    """Record of the increment before this one."""
    return [f"<results>/{wildcards.study}/fits/{fit}/record.json" for fit in before(wildcards)]


def settings_of_increment(wildcards):
    """Settings of an increment: another budget alone refits none."""
    sections = ("seed", "data", "model", "sampler", "increments", "verdict.alpha", "budget")
    given = STUDIES[wildcards.study].sections(*sections)
    return rerun.settings_of(FOLDERS[wildcards.study].record(wildcards.increment), given)


def every_fit(wildcards):
    """What the jobs of all fits write last."""
    singles = fits(wildcards.study, "axis", "increment")
    return batches(wildcards) + expand(
        "<results>/{study}/fits/{fit}/record.json", study=wildcards.study, fit=singles
    )


def simulated(wildcards):
    """Ranks among simulated studies, where the study asks for them."""
    asked = STUDIES[wildcards.study].verdict.simulate
    return [f"<results>/{wildcards.study}/checks/simulated.csv"] if asked else []


def remedies(wildcards):
    """What the search for remedies found, where the study asks for it."""
    asked = STUDIES[wildcards.study].remedies == "auto"
    return [f"<results>/{wildcards.study}/remedies.json"] if asked else []


def increments(wildcards):
    """Records of all increments."""
    named = fits(wildcards.study, "increment")
    return [f"<results>/{wildcards.study}/fits/{fit}/record.json" for fit in named]


def approximated(wildcards):
    """The approximation of all rows, where it may be asked for."""
    study = STUDIES[wildcards.study]
    asked = may_approximate(study.approximation, study.budget)
    return [f"<results>/{wildcards.study}/approximation.json"] if asked else []
