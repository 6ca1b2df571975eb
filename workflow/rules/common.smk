"""Studies to run, and what rules ask of them."""

import functools
import importlib.metadata
import os
import re
import sys
from pathlib import Path

from scalecheck import ENGINE_VERSION
from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.files.layout import TABLES, StudyFolder
from scalecheck.runtime import failures
from scalecheck.runtime.environment import find_programs
from scalecheck.runtime.locks import claim_run
from scalecheck.study import jobs
from scalecheck.study import resources as requests
from scalecheck.study.read_study import select
from scalecheck.study.settings import may_approximate, write_settings

VERSION = importlib.metadata.version("scalecheck")

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
LOGS = [
    Path(workflow.modifier.modify_path(workflow.pathvars.apply(f"<logs>/{study}")))
    for study in STUDIES
]

CLAIMS = []  # until the process of the run ends


def claim_studies():
    """Refuse a second run on the same results, whatever its working directory; and write what programs are to read."""
    try:
        CLAIMS.extend(map(claim_run, FOLDERS.values()))
    except StudyError as error:
        raise WorkflowError(str(error)) from None
    for folder in LOGS:
        failures.note_logs(folder)
    for study, folder in FOLDERS.items():
        write_settings(folder.settings, STUDIES[study])


def tell_failures(log):
    """Say at the very end what the programs of failed jobs ended with, where Snakemake has much to say after them."""
    failures.tell_at_exit([Path(path) for path in log])


def digest_of(*names):
    """A few characters that change with these sections of a study, or with any: what a rule depends on.

    The program compares them with the settings that it reads, which `claim_studies` has written.
    """
    return lambda wildcards: STUDIES[wildcards.study].digest(*names)


# Tables that a program of the study makes; two studies may share one.
MADE = {study.data.file: study.data.made_by for study in STUDIES.values() if study.data.made_by}


def file_of(section):
    """The data or the model file of a study: the user's, which lie where the study says, under no prefix."""
    return lambda wildcards: local(getattr(STUDIES[wildcards.study], section).file)


# Jobs find the programs of the environment that runs Snakemake, whether it was activated, or another, or none; those of
# `--sdm conda` come before them. The rules of a workflow that uses this one go on to find first what they found before.
find_programs(Path(sys.executable).parent, first=not IS_MODULE)

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
    path = checkpoints.prepare_study.get(study=study).output.plan
    return read_plan(path, os.stat(path).st_mtime_ns)


def batches(wildcards):
    """What the jobs of subsets and levels write last."""
    plan = planned(wildcards.study)
    names = jobs.parts(plan, n_jobs(wildcards.study, plan))
    return [f"<results>/{wildcards.study}/fits/batch-{part}.json" for part in names]


def digest_of_part(wildcards):
    """Fits of one job, told apart by a few characters: the job finds their names in the plan."""
    return jobs.digest(jobs.fits_of(planned(wildcards.study), wildcards.part))


def every_fit(wildcards):
    """What the jobs of all fits write last."""
    return [*batches(wildcards), f"<results>/{wildcards.study}/fits/increments.json"]


def simulated(wildcards):
    """Findings in simulated studies, where the study asks for them."""
    asked = STUDIES[wildcards.study].verdict.simulate
    return [f"<results>/{wildcards.study}/checks/simulated_findings.csv"] if asked else []


def approximated(wildcards):
    """The approximation of all rows, where it may be asked for."""
    study = STUDIES[wildcards.study]
    asked = may_approximate(study.approximation, study.budget)
    return [f"<results>/{wildcards.study}/approximation.json"] if asked else []
