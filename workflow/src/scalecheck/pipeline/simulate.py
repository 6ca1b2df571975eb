"""Run the whole plan on simulated data sets, and write what the checks find in each."""

from scalecheck.files import formats
from scalecheck.fitting.fit_job import Job
from scalecheck.simulation import simulated_findings


def write_simulated(job: Job) -> None:
    """Simulate, fit and check; write checks/simulated_findings.csv."""
    table = simulated_findings.simulate_findings(job.folder, job.study, job.log)
    formats.write_table(job.folder.table("simulated_findings"), table)
