"""Are all true values of a simulated study together where nested Laplace says?

    make report STUDY=dose_response ARGS='--until prepare_study'
    .venv/bin/python tests/benchmarks/truth_together.py results/dose_response

Parameters of one posterior err together, so that their intervals are no independent trials. This finds the mode of
what units share over all rows, and takes the true values (`data.truth`) from it by its covariance: a chi-square on as
many degrees of freedom as there are parameters. The part of the principal axis of the correlations that has the
largest variance is told apart. Logistic_groups takes some 25 minutes.
"""

import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
from scipy.stats import chi2

from scalecheck.data import store
from scalecheck.files.true_values import read_truth
from scalecheck.pipeline import open_job
from scalecheck.study.plan import PlannedFit, Slice


def main(folder: Path) -> None:
    """Print the chi-square of all true values, and the errors that it is made of."""
    options = Namespace(settings=folder / "settings.json", digest="", folder=folder, gpu=0, gres="")
    job = open_job.assign(options, print).open_job()
    # JAX is imported once the device is chosen.
    import jax

    from scalecheck.fitting.fit_job import read_batch
    from scalecheck.laplace.marginal_density import MarginalDensity
    from scalecheck.laplace.population import find_population_mode
    from scalecheck.model import density

    n_rows = store.read_meta(job.folder.data).n_rows
    rows = (Slice(job.study.increments.order, 0, n_rows),)
    (batch,) = read_batch(job, [PlannedFit("all", "all", "", "", n_rows, n_rows, rows)])
    marginal = MarginalDensity(batch)
    mode = find_population_mode(marginal, marginal.evaluate, marginal.settle, print)

    model, block = marginal.model, marginal.blocks[0]
    truth = read_truth(job.study.data.truth)
    function = model.function_of(len(block.is_unit))
    names = [*model.vector.shapes, *(site.name for site in model.own)]
    drawn = density.prior_draws(
        function, names, block.arrays, jax.random.split(jax.random.key(0), 1)
    )
    values = {name: one[0] for name, one in drawn.items()}
    values |= model.vector.unpack(np.array([truth[name] for name in model.vector.names]))
    theta = np.asarray(model.vector.pack(density.unconstrain(function, values, block.arrays)))

    place = mode.coordinates.of_thetas(theta.astype("float64"))
    covariance = mode.root @ mode.root.T
    sd = np.sqrt(np.diag(covariance))
    errors = (place - mode.place) / sd
    variances, axes = np.linalg.eigh(covariance / np.outer(sd, sd))
    along = axes.T @ errors / np.sqrt(variances)
    total, d = float((along**2).sum()), len(along)
    print(f"chi-square {total:.1f} on {d} degrees of freedom, p {chi2.sf(total, d):.3f}")
    print(f"the widest axis: variance {variances[-1]:.2f}, truth {along[-1]:.2f} sds off")
    print(f"all others: chi-square {total - along[-1] ** 2:.1f} on {d - 1}")
    print(
        "errors in posterior sds:",
        dict(zip(model.vector.names, errors.round(2).tolist(), strict=True)),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
