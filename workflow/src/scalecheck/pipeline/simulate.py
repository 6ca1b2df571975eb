"""Run the whole plan on simulated data sets, once for the same fits, and write what the checks find in each.

Nothing here imports JAX before there is something to simulate.
"""

from scalecheck.files import formats, kept
from scalecheck.model import source
from scalecheck.pipeline.assignment import Assignment
from scalecheck.pipeline.identity import hash_of, identify_fits

# `verdict.alpha` decides which subset of a simulated study is fitted again.
SECTIONS = ("seed", "data", "model", "sampler", "subsets", "increments", "verdict")


def write_simulated(assigned: Assignment) -> None:
    """Simulate, fit and check, unless that was done of the same; write checks/simulated_findings.csv."""
    folder, study = assigned.folder, assigned.study
    before = source.digest(study.model.file)
    own = hash_of(identify_fits(folder, study), study.sections(*SECTIONS), assigned.platform)
    table = folder.table("simulated_findings")
    if kept.give_back(folder.known("simulated"), own, [table]):
        assigned.log("the same was simulated before")
        return
    job = assigned.open_job()
    from scalecheck.simulation import simulated_findings

    found = simulated_findings.simulate_findings(folder, study, job.log)
    formats.write_table(table, found)
    source.refuse_change(study.model.file, before)
    kept.keep(folder.known("simulated"), own, [table])
