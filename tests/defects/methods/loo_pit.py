"""LOO-PIT of ArviZ, held to a uniform distribution by its tests for dependent values (arXiv:2603.02928).

`arviz_stats.loo_pit` weighs the draws by Pareto smoothed importance sampling. A continuous outcome has
smoothed tails (`pareto_pit`) and the test `pot_c`. The ties of counts and labels are broken at random,
and the test is the one of ranks, `prit_c`. Both take a transform of exactly 0 or 1 as impossible: an
outcome beyond all draws is put half a draw inside.
"""

import warnings

import numpy as np
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
        y = case.table["y"]
        discrete = bool((y == np.round(y)).all())
        pit = loo_pit(tree, pareto_pit=not discrete)["y"]
        half = 0.5 / tree["posterior_predictive"]["y"][..., 0].size
        pit = pit.clip(half, 1 - half) if discrete else pit
        test = "prit_c" if discrete else "pot_c"
        p = pit.azstats.uniformity_test(dim=pit.dims, method=test)[0]
    return Answer(min(1.0, max(0.0, float(p))), "misfit", **spent(case.posterior))
