"""Search the fit of a study for remedies, or a model without data: before JAX is imported, the device is chosen."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from scalecheck.errors import StudyError
from scalecheck.files import checksums, formats, kept
from scalecheck.files.layout import StudyFolder
from scalecheck.model import source
from scalecheck.pipeline.identity import hash_of
from scalecheck.runtime import device, program
from scalecheck.runtime.versions import digest_of_library
from scalecheck.study import read_study
from scalecheck.study.settings import Study

if TYPE_CHECKING:
    from scalecheck.fitting.fit_job import Job
    from scalecheck.remedies.choose_fit import Choice


def run(options: Namespace) -> str:
    """Search as the options say, write what was found, and give it as text.

    A study is claimed for it, like by every program that writes into one.

    Parameters
    ----------
    options
        `study` or `target`, and the others of the program.

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
    study = read_study.read_study(options.study)
    folder = StudyFolder(Path(study.results) / study.study)
    with program.claimed(folder, ("scalecheck-remedies",), options.log) as log:
        return _of_study(options, study, folder, log)


def search_study(
    folder: StudyFolder, study: Study, log: program.Log, open_job: Callable[[], "Job"]
) -> None:
    """Search the fit of a study that shows trouble, if one does and the same search was not done yet.

    Parameters
    ----------
    folder
        Of a study whose fits are checked.
    open_job
        Takes the device, which is not wanted where there is nothing to search.
    """
    from scalecheck.remedies import choose_fit

    before = source.digest(study.model.file)
    chosen = choose_fit.choose_fit_of_study(folder, study.verdict.alpha, always=False)
    own = _identify(folder, study, chosen.fit) if chosen.fit else ""
    written = [folder.remedies, folder.remedies_table]
    if not chosen.fit:
        choose_fit.write_no_search(folder, chosen)
        log(f"nothing to search: {chosen.reason}")
    elif kept.give_back(folder.known("remedies"), own, written):
        log(f"{chosen.fit} was searched before")
    else:
        for path in written:
            kept.forget(path)
        _search(folder, study, chosen, None, open_job().device["device"], log)
        source.refuse_change(study.model.file, before)
        kept.keep(folder.known("remedies"), own, written)


def _identify(folder: StudyFolder, study: Study, fit: str) -> str:
    """Give a hash of all that a search of a fit depends on."""
    searched = checksums.read_record(folder, fit).sha256
    settings = study.sections("seed", "data", "model", "sampler")
    parts = (fit, json.dumps(searched, sort_keys=True), settings, source.digest(study.model.file))
    return hash_of(digest_of_library(), *parts)


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

    chosen = choose_fit.choose_fit_of_study(folder, study.verdict.alpha, always=True)
    if not chosen.fit:
        choose_fit.write_no_search(folder, chosen)
        log(f"nothing to search: {chosen.reason}")
        return f"nothing to search: {chosen.reason}"
    gpus = device.count_gpus(options.gpu, options.gres)
    device.choose_device(gpus, study.sampler.precision, folder.cache, log)
    found_on = device.check_device(gpus)["device"]
    return _search(folder, study, chosen, options.gradients, found_on, log)


def _search(
    folder: StudyFolder,
    study: Study,
    chosen: "Choice",
    asked: int | None,
    found_on: str,
    log: program.Log,
) -> str:
    """Search a fit, write what was found, and give it as text."""
    from scalecheck.remedies import problem, search, study_search

    gradients = asked or problem.GRADIENTS
    found = study_search.search_fit(folder, study, chosen, gradients, found_on, log)
    study_search.write_search(folder, chosen, found, gradients)
    title = _title(f"{study.study}, {chosen.fit}: {chosen.reason}", gradients)
    return search.search_as_text(found, title)


def _title(what: str, gradients: int) -> str:
    return f"{what}\nEach candidate: 4 chains of {gradients} gradients at most, warmup included"
