"""What a batch queue is asked for: by what is planned, and by the shapes of the model (`model.json`)."""


def planned_rows(study):
    """Rows of each planned fit; none, where they are asked for before the plan is there."""
    path = FOLDERS[study].plan
    if not path.exists():
        return {}
    return {row.fit: row.rows for row in read_plan(path, os.stat(path).st_mtime_ns)}


def rows_of_part(wildcards):
    """Rows of the fits of one job."""
    rows = planned_rows(wildcards.study)
    return [rows[fit] for fit in jobs.fits_of(planned(wildcards.study), wildcards.part)]


def rows_of_increments(wildcards):
    """Rows of each increment, in their order."""
    rows = planned_rows(wildcards.study)
    return {fit: n for fit, n in rows.items() if fit.startswith("increment-")}


def rows_of_largest_increment(wildcards):
    """Rows of the largest increment: they run one after the other."""
    return [max(rows_of_increments(wildcards).values(), default=0)]


def every_rows(wildcards):
    """Rows of each fit."""
    return [*planned_rows(wildcards.study).values()]


def simulated_rows(wildcards):
    """Rows of each fit of each simulated data set."""
    return every_rows(wildcards) * STUDIES[wildcards.study].verdict.simulate


def memory_of(rows):
    """Megabytes of a job of fits, by their own rows, whatever the size of the table."""
    return lambda wildcards, attempt: requests.megabytes(
        FOLDERS[wildcards.study].model, rows(wildcards), attempt
    )


def memory_of_approximation(wildcards, attempt):
    """Megabytes of an approximation of all rows."""
    study = STUDIES[wildcards.study]
    by_unit = study.approximation.method in ("auto", "laplace") and study.data.unit is not None
    return requests.megabytes_of_approximation(
        FOLDERS[wildcards.study].model, attempt, by_unit=by_unit
    )


def iterations(study):
    """Of all chains of a fit."""
    sampler = STUDIES[study].sampler
    return sampler.chains * (sampler.warmup + sampler.draws)


def n_jobs(study, plan):
    """Jobs among which subsets and levels are divided."""
    rows = [row.rows for row in plan if row.kind in jobs.KINDS]
    asked, model = STUDIES[study].batches, FOLDERS[study].model
    try:
        return requests.n_jobs(asked, model, rows, iterations(study))
    except StudyError as error:
        raise WorkflowError(str(error)) from None


def minutes_of(rows, keeps=True):
    """Minutes of a job that waits for no other; whether its rule keeps what it has done, as the engine lanes does."""
    return lambda wildcards, attempt: requests.minutes_of_batch(
        FOLDERS[wildcards.study].model,
        rows(wildcards),
        iterations(wildcards.study),
        attempt,
        goes_on=keeps and STUDIES[wildcards.study].sampler.engine == "lanes",
    )


def minutes_of_increments(wildcards, attempt):
    """Minutes of all increments, done or not: a changed model makes them again."""
    folder = FOLDERS[wildcards.study]
    rows = rows_of_increments(wildcards)
    return requests.minutes([(folder.record(fit), n) for fit, n in rows.items()], attempt)
