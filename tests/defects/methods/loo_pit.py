"""LOO-PIT of ArviZ, held to a uniform distribution by its test for dependent values (arXiv:2603.02928).

`arviz_stats.loo_pit` weighs the draws by Pareto smoothed importance sampling and breaks the ties of
discrete outcomes at random; the test is its `pot_c`.
"""

import warnings

from arviz_stats import loo_pit
from cases import Answer, Case, spent
from trees import tree_of


def check(case: Case) -> Answer:
    """Test the probability integral transforms of all rows."""
    tree = tree_of(case)
    if tree is None:
        return Answer(None, note="no draws")
    with warnings.catch_warnings():
        # Of rows whose weights are too long-tailed ArviZ warns; the method is what its user has.
        warnings.simplefilter("ignore", UserWarning)
        pit = loo_pit(tree)["y"]
        p = pit.azstats.uniformity_test(dim=pit.dims, method="pot_c")[0]
    return Answer(min(1.0, max(0.0, float(p))), "misfit", **spent(case.posterior))
