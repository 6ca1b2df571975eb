"""Run whole studies in one process: what Snakemake runs, without a process and a compilation per job."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import fit_job
from scalecheck.pipeline import check, check_study, plan, prepare, verdict
from scalecheck.pipeline import fit as fit_program
from scalecheck.pipeline.assignment import Assignment
from scalecheck.runtime.program import Log
from scalecheck.study import settings as settings_module
from scalecheck.study.settings import Study

FITS = ("seed", "data", "model", "sampler", "increments", "verdict.alpha", "budget")
CHECKS = ("seed", "data", "model", "increments")


def run_study(settings: Study, path: Path, log: Log = lambda line: None) -> dict[str, Any]:
    """Prepare, plan, fit, check and decide; give the content of verdict.json."""
    folder = StudyFolder(path)
    prepare.prepare(folder, settings.data, settings.model, settings.subsets.levels, settings.seed)
    bound = check_study.load_model(folder, settings.data.outcome, settings.model, settings.sampler)
    found = check_study.check_study(folder, bound, settings.model, settings.sampler, settings.seed)
    formats.write_json(folder.model, found)
    fits = plan.plan_fits(folder, settings)
    formats.write_plan(folder.plan, fits)
    text = settings.sections(*FITS)
    device = {"platform": "cpu", "device": "cpu", "gpu": None, "override": "", "note": ""}
    job = fit_job.Job(
        folder, settings_module.parse_sections(text), json.loads(text), device, (0.0, 0.0), log
    )
    assigned = Assignment(folder, job.study, job.raw, "cpu", log, lambda: job)
    fit_program.write_fits(assigned, [fit.fit for fit in fits if fit.kind != "increment"])
    fit_program.write_increments(assigned)
    check.write_checks(folder, settings_module.parse_sections(settings.sections(*CHECKS)), log)
    never = dataclasses.replace(settings.approximation, when="never")
    return verdict.conclude(folder, dataclasses.replace(settings, approximation=never), log)
