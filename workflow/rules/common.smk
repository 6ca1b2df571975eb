"""Studies to run, and what rules ask of them."""

import csv
import os
import re
from pathlib import Path

from scalecheck import ENGINE_VERSION, allocation, rerun
from scalecheck.claims import claim_run
from scalecheck.configuration import select
from scalecheck.errors import StudyError
from scalecheck.records import StudyFolder
from scalecheck.study import may_approximate

# Whoever runs one study wants to see its mistakes in one line, not in a traceback.
try:
    STUDIES = select(config, workflow.configfiles)
except StudyError as error:
    raise WorkflowError(str(error)) from None

RESULTS = next(iter(STUDIES.values())).results


CLAIMS = []  # until the process of the run ends


def claim_studies():
    """Refuse a second run on the same results, whatever its working directory."""
    try:
        CLAIMS.extend(claim_run(StudyFolder(f"{RESULTS}/{study}")) for study in STUDIES)
    except StudyError as error:
        raise WorkflowError(str(error)) from None


def settings(*names):
    """Sections of a study as JSON: what a rule depends on, and nothing else."""
    return lambda wildcards: STUDIES[wildcards.study].sections(*names)


# Tables that a program of the study makes; two studies may share one.
MADE = {study.data.file: study.data.made_by for study in STUDIES.values() if study.data.made_by}


def file_of(section):
    """The data or the model file of a study."""
    return lambda wildcards: getattr(STUDIES[wildcards.study], section).file


# The Snakemake that runs inside a job of a queue is told nothing of `--resources`.
if workflow.is_main_process:
    os.environ["SCALECHECK_GPUS"] = str(workflow.global_resources.get("gpu").value or 0)


envvars:
    "SCALECHECK_GPUS",


def gpus(wildcards):
    """One, where Snakemake was told of some: whoever did not say what is there has asked for none."""
    return min(1, int(os.environ["SCALECHECK_GPUS"]))


def truth(wildcards):
    """What simulated data were drawn from, where it is known."""
    found = STUDIES[wildcards.study].data.truth
    return [found] if found else []


def planned(study, *kinds):
    """Names of the planned fits of some kinds, in plan order."""
    plan = checkpoints.plan_fits.get(study=study).output.plan
    with open(plan, newline="", encoding="utf-8") as file:
        return [row["fit"] for row in csv.DictReader(file) if row["kind"] in kinds]


def parts(study):
    """Names of the jobs among which the fits of one shape are divided."""
    fits = planned(study, "subset", "level")
    n_parts = min(STUDIES[study].batches, len(fits))
    return [f"{number}-of-{n_parts}" for number in range(1, n_parts + 1)]


def fits_of_part(wildcards):
    """Subsets and levels of one job."""
    number, n_parts = map(int, wildcards.part.split("-of-"))
    return planned(wildcards.study, "subset", "level")[number - 1 :: n_parts]


def before(wildcards):
    """The increment before this one, or nothing."""
    increments = planned(wildcards.study, "increment")
    index = increments.index(wildcards.increment)
    return increments[index - 1 : index] if index else []


def record_before(wildcards):
    """Record of the increment before this one."""
    return [f"{RESULTS}/{wildcards.study}/fits/{fit}/record.json" for fit in before(wildcards)]


def minutes(wildcards, attempt):
    """What a batch queue is asked for, once the increment before this one is done."""
    with open(f"{RESULTS}/{wildcards.study}/plan.csv", newline="", encoding="utf-8") as file:
        rows = {row["fit"]: int(row["rows"]) for row in csv.DictReader(file)}
    record = next(map(Path, record_before(wildcards)), None)
    growth = rows[wildcards.increment] / rows[before(wildcards)[0]] if record else 1.0
    return allocation.minutes(record, growth, attempt)


def batches(wildcards):
    """What the jobs of subsets and levels write last."""
    folder = f"{RESULTS}/{wildcards.study}/fits"
    return [f"{folder}/subsets-{part}.json" for part in parts(wildcards.study)]


def settings_of_increment(wildcards):
    """Settings of an increment: another budget alone refits none."""
    study, record = wildcards.study, f"fits/{wildcards.increment}/record.json"
    sections = ("seed", "data", "model", "sampler", "increments", "verdict.alpha", "budget")
    given = STUDIES[study].sections(*sections)
    return rerun.settings_of(Path(RESULTS, study, record), given)


def every_fit(wildcards):
    """What the jobs of all fits write last."""
    folder = f"{RESULTS}/{wildcards.study}/fits"
    singles = planned(wildcards.study, "axis", "increment")
    return batches(wildcards) + [f"{folder}/{fit}/record.json" for fit in singles]


def simulated(wildcards):
    """Ranks among simulated studies, where the study asks for them."""
    asked = STUDIES[wildcards.study].verdict.simulate
    return [f"{RESULTS}/{wildcards.study}/checks/simulated.csv"] if asked else []


def remedies(wildcards):
    """What the search for remedies found, where the study asks for it."""
    asked = STUDIES[wildcards.study].remedies == "auto"
    return [f"{RESULTS}/{wildcards.study}/remedies.json"] if asked else []


def increments(wildcards):
    """Records of all increments."""
    folder = f"{RESULTS}/{wildcards.study}/fits"
    return [f"{folder}/{fit}/record.json" for fit in planned(wildcards.study, "increment")]


def approximated(wildcards):
    """The approximation of all rows, where it may be asked for."""
    study = STUDIES[wildcards.study]
    asked = may_approximate(study.approximation, study.budget)
    return [f"{RESULTS}/{wildcards.study}/approximation.json"] if asked else []
