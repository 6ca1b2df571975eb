"""What `scalecheck-remedies` does: before it looks at a fit, the device is chosen."""

from argparse import Namespace
from pathlib import Path

from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.runtime import device, program
from scalecheck.study import read_study
from scalecheck.study.settings import Study, parse_sections


def run(options: Namespace) -> str:
    """Search as the options say, write what was found, and give it as text.

    A study is claimed for it, like by every program that writes into one.

    Parameters
    ----------
    options
        `study`, `target` or `settings`, and the others of the program.

    Raises
    ------
    StudyError
        When an option is wrong, there is nothing to search, or another process searches.
    """
    if options.gradients is not None and options.gradients < 1:
        raise StudyError(f"--gradients must be at least 1, got {options.gradients}")
    if options.target is not None:
        with program.logged(options.log) as log:
            return _of_target(options, log)
    if options.settings is not None:
        if options.folder is None:
            raise StudyError("--settings needs --folder, the results of the study")
        study, folder = parse_sections(options.settings), StudyFolder(options.folder)
    else:
        study = read_study.read_study(options.study)
        folder = StudyFolder(Path(study.results) / study.study)
    with program.claimed(folder, ("scalecheck-remedies",), options.log) as log:
        return _of_study(options, study, folder, log)


def _of_target(options: Namespace, log: program.Log) -> str:
    if not 1 <= options.depth <= 20:
        raise StudyError(f"--depth must be from 1 to 20, got {options.depth}")
    gpus = device.count_gpus(options.gpu, options.gres)
    device.choose_device(gpus, "float32", Path("results/.jax"), log)
    from scalecheck.remedies import models_without_data, problem, search

    gradients = options.gradients or problem.GRADIENTS
    settings = models_without_data.default_sampler(options.depth)
    one = models_without_data.problem_of_target(options.target, settings, gradients)
    found = search.search_remedies(one, log)
    if options.csv is not None:
        formats.write_table(options.csv, found.table)
    return search.search_as_text(found, _title(options.target, gradients))


def _of_study(options: Namespace, study: Study, folder: StudyFolder, log: program.Log) -> str:
    from scalecheck.remedies import choose_fit

    # The workflow asks of every study, a person of one that is to be searched.
    chosen = choose_fit.choose_fit_of_study(
        folder, study.verdict.alpha, always=options.settings is None
    )
    if not chosen.fit:
        choose_fit.write_no_search(folder, chosen)
        log(f"nothing to search: {chosen.reason}")
        return f"nothing to search: {chosen.reason}"
    gpus = device.count_gpus(options.gpu, options.gres)
    device.choose_device(gpus, study.sampler.precision, folder.cache, log)
    from scalecheck.remedies import problem, search, study_search

    found_on = device.check_device(gpus)["device"]
    gradients = options.gradients or problem.GRADIENTS
    found = study_search.search_fit(folder, study, chosen, gradients, found_on, log)
    study_search.write_search(folder, chosen, found, gradients)
    title = _title(f"{study.study}, {chosen.fit}: {chosen.reason}", gradients)
    return search.search_as_text(found, title)


def _title(what: str, gradients: int) -> str:
    return f"{what}\nEach candidate: 4 chains of {gradients} gradients at most, warmup included"
