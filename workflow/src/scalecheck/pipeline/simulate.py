"""Run the whole plan on simulated data sets, and write where the study ranks among them."""

from scalecheck.files import formats
from scalecheck.fitting.fit_job import Job
from scalecheck.simulation import ranks


def write_ranks(job: Job) -> None:
    """Simulate, fit, check and rank; write checks/simulated.csv."""
    table = ranks.rank_among_simulated(job.folder, job.study, job.log)
    formats.write_table(job.folder.table("simulated"), table)
