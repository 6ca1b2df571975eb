"""What is kept of a running fit: whole or not at all, used only where it belongs, and gone on from."""

import dataclasses
import errno
import itertools
import os
import shutil
import signal
import time

import jax
import numpy as np
import pytest
import small_studies

from scalecheck.errors import StudyError
from scalecheck.files import posterior_file
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import checkpoint
from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.pipeline import fit
from scalecheck.sampler import Snapshot


@pytest.fixture
def lines():
    return []


@pytest.fixture
def open_checkpointer(tmp_path, lines):
    """Checkpointers of one folder, as jobs that follow each other open it."""

    def open_checkpointer(identity="a", every=1e-9):
        return Checkpointer(tmp_path / "increment-03" / "checkpoint", identity, every, lines.append)

    return open_checkpointer


def snapshot(number):
    return Snapshot({"lane-0": np.arange(3.0) + number}, {"n_steps": np.arange(number)})


def same(one, two):
    jax.tree.map(np.testing.assert_array_equal, dict(one), dict(two))


def test_what_was_kept_is_read_back_with_all_its_history(open_checkpointer):
    checkpointer = open_checkpointer()
    assert checkpointer.saved() is None
    for number in (1, 2, 3):
        checkpointer.keep(lambda n=number: snapshot(n))
    again = open_checkpointer()
    found = again.saved()
    same(found.state, snapshot(3).state)
    assert len(found.news) == 3
    again.keep(lambda: snapshot(4))
    found = open_checkpointer().saved()
    for number, news in enumerate(found.news, start=1):
        same(news, snapshot(number).news)
    same(found.state, snapshot(4).state)


def test_history_is_written_once(open_checkpointer):
    checkpointer = open_checkpointer()
    checkpointer.keep(lambda: snapshot(5))
    (first,) = checkpointer.folder.glob("history-*.npz")
    before = first.stat()
    checkpointer.keep(lambda: snapshot(6))
    assert first.stat() == before


def test_nothing_is_taken_before_it_is_due(open_checkpointer):
    checkpointer = open_checkpointer(every=1e6)
    checkpointer.keep(lambda: pytest.fail("not due"))
    assert checkpointer.saved() is None


def test_a_checkpoint_of_something_else_is_refused_and_removed(open_checkpointer, lines):
    open_checkpointer("a").keep(lambda: snapshot(1))
    other = open_checkpointer("b")
    assert other.saved() is None
    assert "of other data, settings or versions: the fit starts anew" in lines[-1]
    assert not other.folder.exists()


def damage_bit(path):
    content = bytearray(path.read_bytes())
    place = content.index(b"\x93NUMPY") + 135  # in the first array's values
    content[place] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def damage_directory(offset, bit):
    """Flip a bit of the entry of the first array in the directory at the end of the file."""

    def damage(path):
        content = bytearray(path.read_bytes())
        content[content.index(b"PK\x01\x02") + offset] ^= bit
        path.write_bytes(content)

    return damage


# As if a newer program had packed it, and as if it were encrypted.
damage_version, damage_flags = damage_directory(6, 64), damage_directory(8, 1)
DAMAGES = (damage_bit, cut, damage_version, damage_flags)


@pytest.mark.parametrize("name", ["state.npz", "history-00001.npz"])
@pytest.mark.parametrize("harm", [*DAMAGES, lambda path: path.unlink()])
def test_a_damaged_checkpoint_is_reported_and_not_used(open_checkpointer, lines, name, harm):
    checkpointer = open_checkpointer()
    for number in (1, 2):
        checkpointer.keep(lambda n=number: snapshot(n))
    harm(checkpointer.folder / name)
    again = open_checkpointer()
    assert again.saved() is None
    if name != "state.npz" or harm in DAMAGES:
        assert "damaged" in lines[-1]
        assert "the fit starts anew" in lines[-1]
    again.keep(lambda: snapshot(7))
    assert len(open_checkpointer().saved().news) == 1


def test_a_job_killed_between_its_two_files_goes_on_from_the_time_before(
    open_checkpointer, monkeypatch
):
    checkpointer = open_checkpointer()
    checkpointer.keep(lambda: snapshot(1))
    whole = checkpoint.write_arrays

    def only_history(path, arrays):
        if path.name == "state.npz":
            raise KeyboardInterrupt
        whole(path, arrays)

    monkeypatch.setattr(checkpoint, "write_arrays", only_history)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.keep(lambda: snapshot(2))
    found = open_checkpointer().saved()
    same(found.state, snapshot(1).state)
    assert len(found.news) == 1


def test_told_to_end_a_job_saves_and_ends(open_checkpointer, lines):
    checkpointer = open_checkpointer(every=1e6)
    before = signal.getsignal(signal.SIGTERM)
    with checkpointer.answering_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as ended:
            checkpointer.keep(lambda: snapshot(1))
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert "run again to go on" in lines[-1]
    assert open_checkpointer().saved() is not None


@pytest.fixture
def received():
    """Signals to end that reach whoever was to have them before."""
    received = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    yield received
    signal.signal(signal.SIGTERM, before)


def test_told_to_end_after_the_last_time_of_saving_a_job_ends_all_the_same(
    open_checkpointer, received
):
    checkpointer = open_checkpointer()
    with checkpointer.answering_signals():
        checkpointer.keep(lambda: snapshot(1))
        os.kill(os.getpid(), signal.SIGTERM)
        assert received == []
    assert received == [signal.SIGTERM]


def test_a_signal_is_answered_once(open_checkpointer, received):
    checkpointer = open_checkpointer()
    with pytest.raises(SystemExit), checkpointer.answering_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        checkpointer.keep(lambda: snapshot(1))
    assert received == []


def test_a_job_that_fails_when_told_to_end_is_told_after_all(open_checkpointer, received):
    with pytest.raises(StudyError), open_checkpointer().answering_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        raise StudyError("cannot go on")
    assert received == [signal.SIGTERM]


def test_a_full_disk_does_not_end_the_fit(open_checkpointer, lines, monkeypatch):
    checkpointer = open_checkpointer()
    checkpointer.keep(lambda: snapshot(1))

    def full(path, arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "write_arrays", full)
    checkpointer.keep(lambda: snapshot(2))
    checkpointer.keep(lambda: pytest.fail("it was said once"))
    assert "cannot save (No space left on device)" in lines[-1]
    assert open_checkpointer().saved() is None


def test_told_to_end_after_a_full_disk_a_job_ends_and_keeps_no_part_of_itself(
    open_checkpointer, lines, monkeypatch
):
    checkpointer = open_checkpointer()

    def full(path, arrays):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(checkpoint, "write_arrays", full)
        checkpointer.keep(lambda: snapshot(1))
    # There is room again, but the first part is gone.
    with checkpointer.answering_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit):
            checkpointer.keep(lambda: snapshot(2))
    assert lines[-1].endswith("told to end, and not saved: run again to start anew")
    assert open_checkpointer().saved() is None


@pytest.mark.parametrize("given", ["often", "0", "-1", "nan"])
def test_how_often_must_be_a_positive_number(monkeypatch, given):
    monkeypatch.setenv(checkpoint.VARIABLE, given)
    with pytest.raises(StudyError, match=f"must be a positive number of seconds, not '{given}'"):
        checkpoint.seconds_between()


def test_what_another_form_of_states_was_saved_in_is_of_something_else(monkeypatch):
    before = checkpoint.identify_run(["subset-01"], "digest")
    monkeypatch.setattr(checkpoint, "FORMAT", checkpoint.FORMAT + 1)
    assert checkpoint.identify_run(["subset-01"], "digest") != before


def test_the_identity_depends_on_every_part():
    known = {
        checkpoint.identify_run(["a"], {"jax": "1"}, "cpu"),
        checkpoint.identify_run(["a", "b"], {"jax": "1"}, "cpu"),
        checkpoint.identify_run(["a"], {"jax": "2"}, "cpu"),
        checkpoint.identify_run(["a"], {"jax": "1"}, "NVIDIA H200"),
        checkpoint.identify_run(["a"], {"jax": "1cpu"}, ""),
    }
    assert len(known) == 5


@pytest.mark.long
def test_a_job_that_ends_in_the_middle_is_gone_on_from_and_leaves_nothing(
    conjugate, tmp_path, monkeypatch
):
    """Through the job: ended after its second block, run again, and equal to one that never was."""
    monkeypatch.setenv(checkpoint.VARIABLE, "1e-9")
    shutil.copytree(conjugate.folder.path, tmp_path / "small")
    sampler = dataclasses.replace(conjugate.study.sampler, engine="lanes")
    small = small_studies.Small(
        dataclasses.replace(conjugate.study, sampler=sampler), StudyFolder(tmp_path / "small")
    )
    lines, keep, calls = [], Checkpointer.keep, []
    job = small.job(lines.append)
    (whole,) = small.fit("subset-01")
    draws = posterior_file.read_posterior(job.folder.posterior("subset-01")).load()
    job.folder.record("subset-01").unlink()  # what stands is not made again

    def end(self, take):
        keep(self, take)
        calls.append(take)
        if len(calls) == 2:
            raise SystemExit(143)

    # A clock that goes back all the time, and files of the future: nothing is decided by them.
    clock = itertools.count(2e9, -1000)
    monkeypatch.setattr(time, "time", lambda: next(clock))
    monkeypatch.setattr(Checkpointer, "keep", end)
    with pytest.raises(SystemExit):
        fit.write_fits(small_studies.assigned(job), ["subset-01"])
    for path in job.folder.checkpoint("subset-01").iterdir():
        os.utime(path, (next(clock), next(clock)))
    fit.write_fits(small_studies.assigned(job), ["subset-01"])
    assert "subset-01: goes on from its checkpoint" in lines
    assert not job.folder.checkpoint("subset-01").exists()
    assert small.read("subset-01").record.gradients == whole.record.gradients
    found = posterior_file.read_posterior(job.folder.posterior("subset-01"))
    for group in draws.groups:
        assert found[group].to_dataset().identical(draws[group].to_dataset())
