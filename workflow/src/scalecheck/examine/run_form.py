"""Ask all rows that were fitted whether covariates act in the form that the model gives them."""

import numpy as np

from scalecheck.checks import form
from scalecheck.evaluation.study_data import StudyData
from scalecheck.examine.check_results import CheckResults, family_not_run, join_results
from scalecheck.examine.fitted_rows import NO_INCREMENT, FittedRows


def run_form(study_data: StudyData, seen: FittedRows | None) -> CheckResults:
    """Does the model lack a square, a logarithm or a product of its covariates?

    Parameters
    ----------
    study_data
        Of the data that the fits saw.
    seen
        All rows that were fitted; None: no increment can be used.
    """
    likelihood = study_data.likelihood
    if seen is None:
        return family_not_run("form", NO_INCREMENT)
    # A column that tells which outcomes are censored depends on them.
    telling = likelihood.censoring_columns if not likelihood.no_rows() else ()
    numbers: dict[str, np.ndarray] = {
        name: seen.values[name]
        for name in likelihood.model.covariates
        if likelihood.labels[name] is None and name not in telling
    }
    if not numbers:
        return family_not_run("form", "the model takes no number beside the outcome")
    terms = form.terms_of(numbers)
    scores = seen.scores({"form": terms.along})["form"]
    if isinstance(scores, str):
        return family_not_run("form", scores)
    rng = study_data.rng("form")
    found = form.check_form(
        terms,
        scores,
        seen.replicates(terms.along._replace(labels=()), rng),
        names=study_data.names,
        fits=seen.names,
        weight=1.0,
        rng=rng,
    )
    return join_results("form", [found])
