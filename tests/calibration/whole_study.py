"""Run whole studies in one process: what Snakemake runs, without a process and a compilation per job."""

import json
from pathlib import Path
from typing import Any

from scalecheck import chain, checkup, conclude, plan, preflight, prepare, records, store, study
from scalecheck.program import Log
from scalecheck.study import Study
from scalecheck.study_folder import StudyFolder

FITS = ("seed", "data", "model", "sampler", "increments", "verdict.alpha", "budget")
CHECKS = ("seed", "data", "model", "increments")


def run_study(settings: Study, path: Path, log: Log = lambda line: None) -> dict[str, Any]:
    """Prepare, plan, fit, check and decide; give the content of verdict.json."""
    folder = StudyFolder(path)
    prepare.prepare(folder, settings.data, settings.model, settings.subsets.levels, settings.seed)
    bound = preflight.load_model(folder, settings.data.outcome, settings.model, settings.sampler)
    found = preflight.check_study(folder, bound, settings.model, settings.sampler, settings.seed)
    records.write_json(folder.model, found)
    fits = plan.make_plan(*store.read_orders(folder.data), settings.subsets, settings.increments)
    records.write_plan(folder.plan, [fit[: len(records.PLAN_COLUMNS)] for fit in fits])
    text = settings.sections(*FITS)
    device = {"platform": "cpu", "device": "cpu", "gpu": None, "override": "", "note": ""}
    job = chain.Job(folder, study.parse_sections(text), json.loads(text), device, (0.0, 0.0), log)
    subsets = [fit.fit for fit in fits if fit.kind in ("subset", "level")]
    if subsets:
        chain.write_batch(job, subsets, None)
    for fit in fits:
        if fit.kind == "axis":
            chain.write_batch(job, [fit.fit], None)
    increments = [fit.fit for fit in fits if fit.kind == "increment"]
    for before, name in zip([None, *increments[:-1]], increments, strict=True):
        chain.write_increment(job, name, before)
    checkup.check_up(folder, study.parse_sections(settings.sections(*CHECKS)), log)
    return conclude.conclude(
        folder,
        settings.study,
        settings.increments.order,
        settings.verdict,
        settings.budget,
        "never",
        log,
    )
