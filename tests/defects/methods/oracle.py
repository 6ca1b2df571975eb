"""The oracle: the score or likelihood-ratio test that knows the defect (score_tests.py).

A null has as many oracles as its model has defects; which of them is asked changes with the seed.
"""

import score_tests
from benchmark_models import NULL
from cases import Answer, Case
from defect_kinds import KINDS


def check(case: Case) -> Answer:
    """Test for the defect that was simulated."""
    defects = case.model.defects
    asked = defects[case.seed % len(defects)] if case.defect == NULL else case.defect
    p = score_tests.p_value(case.name, asked, case.table)
    return Answer(p, KINDS[asked].kind, min(KINDS[asked].axes), note=asked)
