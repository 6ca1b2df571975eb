"""scalecheck: a whole study of the table, with its smallest adjusted p-value and its attribution."""

import studies
import summary
from cases import Answer, Case
from in_memory import from_table

from scalecheck.simulation import simulated_checks

USES_CHECKS = True


def check(case: Case) -> Answer:
    """Plan, fit, check and judge, as the calibration does."""
    # The second number keeps what the library draws apart from what the table was drawn with.
    planned = from_table(case.settings, case.columns, 1_000_003 + case.seed, studies.KINDS)
    (outcome,) = simulated_checks.run_studies(
        case.settings, *case.prepared, [planned], lambda line: None, share=True
    )
    line = studies.line_of(case.name, case.model.scenario, case.seed, outcome)
    covariates = case.model.scenario.covariates
    # Fits of the same rows share their draws, and are counted once.
    own = {id(one.tree): one.record for one in outcome.fits.done.values()}.values()
    gradients = [
        (one.gradients.total + (one.audit.gradients.total if one.audit else 0), one.rows)
        for one in own
    ]
    return Answer(
        float(line["smallest_p_adjusted"]),
        summary.named_kind(line, covariates),
        line["axis"],
        sum(count for count, _ in gradients),
        sum(count * rows for count, rows in gradients),
        "inconclusive" if outcome.unusable else "",
    )
