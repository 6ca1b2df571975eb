"""Programs that XLA compiles beside the fits: compiling is most of what a small study waits for."""

import contextlib

import jax
from jax._src import monitoring

from scalecheck.examine import run_families
from scalecheck.pipeline import check_study
from scalecheck.results import study_fits


@contextlib.contextmanager
def compiled():
    """Names of events, one for each program that is compiled or taken from the cache."""
    found = []

    def listen(event, duration_secs, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        monitoring.unregister_event_duration_listener(listen)


def test_a_check_compiles_one_program_for_each_question_whatever_the_rows(conjugate):
    """Draws, information, and scores of replicates, and scores of rows: for all steps, axes and blocks."""
    study = study_fits.read_study_fits(conjugate.folder, "arrival")
    settings, evidence = conjugate.study, conjugate.evidence()
    asked = evidence, study, settings.data, settings.increments, lambda line: None
    with compiled() as first:
        run_families.examine(*asked)
    assert 4 <= len(first) <= 6
    with compiled() as again:
        run_families.examine(*asked)
    assert again == []


def test_to_check_a_study_compiles_few_programs(conjugate):
    study, folder = conjugate.study, conjugate.folder
    bound = check_study.load_model(folder, study.data.outcome, study.model, study.sampler)
    with compiled() as found:
        check_study.check_study(folder, bound, study.model, study.sampler, study.seed)
    assert 4 <= len(found) <= 8
