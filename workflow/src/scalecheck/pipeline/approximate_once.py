"""Approximate all rows once for the same increments, data, model and settings.

Nothing here imports JAX before there is something to approximate.
"""

from scalecheck.files import kept
from scalecheck.model import source
from scalecheck.pipeline.assignment import Assignment
from scalecheck.pipeline.identity import hash_of, identify_fits

SECTIONS = (
    "seed",
    "data",
    "model",
    "sampler",
    "subsets",
    "increments",
    "budget",
    "approximation",
)


def approximate_once(assigned: Assignment) -> None:
    """Write approximation.json and .nc, unless they were made from the same."""
    folder, study = assigned.folder, assigned.study
    before = source.digest(study.model.file)
    # The other fits may still run beside it.
    increments = identify_fits(folder, study, "increment")
    own = hash_of(increments, study.sections(*SECTIONS), assigned.platform)
    files = [folder.approximation, folder.approximate_posterior]
    if kept.give_back(folder.known("approximation"), own, files):
        assigned.log("the same was approximated before")
        return
    job = assigned.open_job()
    from scalecheck.pipeline import approximate

    approximate.write_approximation(job)
    source.refuse_change(study.model.file, before)
    # Without draws nothing was approximated, which costs nothing to say again.
    kept.keep(folder.known("approximation"), own, files)
