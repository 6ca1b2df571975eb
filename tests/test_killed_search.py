"""A search for remedies that is killed goes on after its last candidate."""

import dataclasses
import shutil

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import pytest
import small_studies

from scalecheck.errors import NotEnoughMemory
from scalecheck.files.layout import StudyFolder
from scalecheck.remedies import models_without_data, neutra, problem, search, study_search
from scalecheck.remedies.candidate import Candidate
from scalecheck.remedies.choose_fit import Choice
from scalecheck.remedies.ranking import Trial
from scalecheck.remedies.search_checkpoint import SearchCheckpoint


def correlated():
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(x, 0.1))


@pytest.fixture
def one():
    return problem.problem_of_batch(
        models_without_data.batch_without_data(correlated, "t.py: m"),
        models_without_data.default_sampler(5),
        0,
        1500,
    )


class Killed(Exception):
    """What ends a search."""


def drawn(one, candidate, log):
    """Draws that depend on the name of the candidate alone, as those of a seed do."""
    z = np.random.default_rng([*candidate.name.encode()]).normal(size=(4, 500, 2))
    return problem.TrialResult(Trial(z, np.full(4, 1500)), 0.0, 1, 0.2)


def counting(monkeypatch, most, run=problem.try_candidate):
    """Names of the candidates that are sampled, of which the one after `most` kills the search."""
    names = []

    def counted(one, candidate, log):
        if len(names) == most:
            raise Killed
        names.append(candidate.name)
        return run(one, candidate, log)

    monkeypatch.setattr(problem, "try_candidate", counted)
    return names


def test_a_killed_search_goes_on_after_its_last_candidate_and_finds_the_same(one, tmp_path):
    kept, lines = SearchCheckpoint(tmp_path / "searching", "this search"), []
    with pytest.MonkeyPatch.context() as patch:
        all_names = counting(patch, None, drawn)
        whole = search.search_remedies(one, lambda line: None)
    assert len(all_names) > 3
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        counting(patch, 2, drawn)
        search.search_remedies(one, lambda line: None, kept)
    with pytest.MonkeyPatch.context() as patch:
        names = counting(patch, None, drawn)
        resumed = search.search_remedies(one, lines.append, kept)
    assert names == all_names[2:]
    assert [line.endswith(", kept") for line in lines[:3]] == [True, True, False]
    pd.testing.assert_frame_equal(resumed.table, whole.table, check_exact=True)
    assert (resumed.best, resumed.lines) == (whole.best, whole.lines)


def test_a_candidate_that_lacks_memory_is_not_kept_and_the_fit_as_it_is_ends_the_search(
    one, tmp_path, monkeypatch
):
    kept = SearchCheckpoint(tmp_path / "searching", "this search")
    lacking = {"metric: dense"}

    def run(one, candidate, log):
        if candidate.name in lacking:
            raise NotEnoughMemory("needs about 9.2 GB")
        return drawn(one, candidate, log)

    monkeypatch.setattr(problem, "try_candidate", run)
    table = search.search_remedies(one, lambda line: None, kept).table.set_index("candidate")
    assert table["failure"]["metric: dense"] == "needs about 9.2 GB"
    assert kept.read("metric: dense") is None
    lacking.clear()
    more = search.search_remedies(one, lambda line: None, kept).table.set_index("candidate")
    assert more["failure"]["metric: dense"] == ""
    lacking.add("as it is")
    with pytest.raises(NotEnoughMemory):
        search.search_remedies(one, lambda line: None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("NaN from all starts", "JaxRuntimeError: NaN from all starts"),
        ("INTERNAL: CpuCallback error", "JaxRuntimeError: INTERNAL: CpuCallback error"),
        ("RESOURCE_EXHAUSTED: 9 GB", None),
    ],
)
def test_a_flow_that_cannot_be_trained_fails_but_for_memory(one, monkeypatch, words, expected):
    def run(*_, **__):
        raise jax.errors.JaxRuntimeError(words)

    monkeypatch.setattr(neutra.SVI, "run", run)
    if expected is None:
        with pytest.raises(NotEnoughMemory, match=words):
            neutra.try_neutra(one, lambda line: None)
    else:
        assert neutra.try_neutra(one, lambda line: None).failure == expected


def test_what_the_sampler_refuses_for_memory_says_nothing_of_the_candidate(one, monkeypatch):
    monkeypatch.setattr("scalecheck.runtime.free_memory.free_on_host", lambda: 1.0)
    with pytest.raises(NotEnoughMemory, match=r"needs .* \(of 1e-06 MB available\)"):
        problem.try_candidate(one, Candidate("as it is", {}), lambda line: None)


def test_a_candidate_is_kept_whole(one, tmp_path):
    kept = SearchCheckpoint(tmp_path / "searching", "this search")
    trial = Trial(np.ones((4, 3, 2), "float32"), np.array([1.5, 2, 3, 4]))
    seen = problem.TrialResult(trial, 0.25, 7, 0.5)
    kept.write("target_accept: 0.9", seen)
    kept.write("neutra", problem.failed_trial(one, "no start"))
    found = kept.read("target_accept: 0.9")
    assert found is not None
    assert found[1:] == seen[1:]
    for mine, its in zip(found.trial, seen.trial, strict=True):
        assert mine.dtype == its.dtype
        assert np.array_equal(mine, its)
    flow = kept.read("neutra")
    assert flow is not None
    assert flow.failure == "no start"
    assert kept.read("metric: dense") is None
    assert SearchCheckpoint(kept.folder, "another search").read("neutra") is None


def test_a_damaged_candidate_is_tried_again(one, tmp_path):
    kept = SearchCheckpoint(tmp_path / "searching", "this search")
    kept.write("neutra", problem.failed_trial(one, "no start"))
    (path,) = kept.folder.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    assert kept.read("neutra") is None


# ---- of a study


@pytest.fixture
def small(conjugate, tmp_path, monkeypatch):
    """A copy of the finished study, to be searched: two candidates, whatever extras are installed."""
    more = Candidate("target_accept", {"target_accept": 0.9})
    monkeypatch.setattr(search.propose, "first_candidates", lambda one, first: [more])
    shutil.copytree(conjugate.folder.path, tmp_path / "small")
    return small_studies.Small(conjugate.study, StudyFolder(tmp_path / "small"))


def search_increment(small, seed=1, gradients=300):
    study = dataclasses.replace(small.study, seed=seed)
    chosen = Choice("increment-01", "asked for")
    found = study_search.search_fit(
        small.folder, study, chosen, gradients, "cpu", lambda line: None
    )
    study_search.write_search(small.folder, chosen, found, gradients)
    return found


def kill_first(small, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(Killed):
        counting(patch, 1)
        search_increment(small)
    assert len(list(small.folder.searching.iterdir())) == 1
    assert not small.folder.remedies.exists()


def test_the_search_of_a_study_goes_on_and_keeps_nothing_when_it_is_written(small, monkeypatch):
    kill_first(small, monkeypatch)
    names = counting(monkeypatch, None)
    found = search_increment(small)
    assert "as it is" not in names
    assert found.table["candidate"].to_list().count("as it is") == 1
    assert small.folder.remedies.exists()
    assert not small.folder.searching.exists()


@pytest.mark.parametrize("change", [{"seed": 2}, {"gradients": 301}])
def test_a_search_of_another_seed_or_effort_begins_anew(small, monkeypatch, change):
    kill_first(small, monkeypatch)
    names = counting(monkeypatch, None)
    search_increment(small, **change)
    assert names[0] == "as it is"
