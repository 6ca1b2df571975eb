"""The second fit of a subset whose leapfrogs stand out."""

import json
import shutil
from argparse import Namespace
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from scalecheck.errors import StudyError
from scalecheck.examine import confirmation, run_costs
from scalecheck.files import checksums, formats
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import checkpoint
from scalecheck.pipeline import confirm, open_job
from scalecheck.results import study_fits
from scalecheck.study import settings


@pytest.fixture
def study(conjugate, tmp_path):
    """A copy of the small study, to be doctored."""
    shutil.copytree(conjugate.folder.path, tmp_path / "small")
    return conjugate._replace(folder=StudyFolder(tmp_path / "small"))


@pytest.fixture
def slow(study):
    """The same, and subset-02 took three times the leapfrogs."""
    with netCDF4.Dataset(study.folder.posterior("subset-02"), "a") as file:
        n_steps = file["sample_stats"]["n_steps"]
        n_steps[:] = 3 * n_steps[:]
    record = checksums.read_record(study.folder, "subset-02")
    checksums.write_record(study.folder, checksums.with_files(study.folder, record))
    return study


def run(study, log=lambda line: None):
    settings.write_settings(study.folder.settings, study.study)
    path = study.folder.settings
    options = Namespace(settings=path, digest="", folder=study.folder.path, gpu=0, gres="")
    opened = open_job.assign(options, log).open_job
    confirm.write_confirmation(study.folder, study.study, log, opened)
    return formats.read_json(study.folder.confirmation)


def test_where_no_subset_stands_out_there_is_nothing_to_confirm(study):
    left = study.folder.confirmation_checkpoint.parent
    left.mkdir(parents=True)
    content = run(study)
    assert content["fit"] is None
    assert content["reason"].startswith("nothing to confirm: no subset takes anomalously many")
    assert confirm.read(study.folder) is None
    assert not left.exists()


def test_what_one_seed_took_by_luck_is_fitted_again_and_refuted(slow):
    lines = []
    content = run(slow, lines.append)
    first = slow.read("subset-02")
    assert content["fit"] == "subset-02"
    assert content["rows"] == first.record.rows
    assert lines[0].startswith("subset-02 takes many leapfrogs: fitting it again")
    assert run(slow, lines.append) == content
    assert lines[-1] == "subset-02 was fitted again before, and is kept"
    again = confirm.read(slow.folder)
    n_chains, n_draws = first.z.shape[:2]
    assert again.leapfrogs.shape == (n_chains,)
    assert content["step_size"] != first.record.step_size  # another seed
    found = study_fits.read_study_fits(slow.folder, "arrival")
    (alone,) = run_costs.run_effort(found, []).findings
    (both,) = run_costs.run_effort(found, [], again).findings
    assert alone.p < 0.05
    assert both.p == 1
    assert not both.large
    assert "a refit with another seed did not repeat it" in both.message


def test_a_second_fit_is_the_same_every_time(slow):
    (task,) = slow.tasks("subset-02")
    one, other = (confirm.refit(slow.job(), task) for _ in range(2))
    assert one["leapfrogs"] == other["leapfrogs"]
    assert one["step_size"] == other["step_size"]
    assert len(one["leapfrogs"]) == slow.study.sampler.chains
    gradients = np.array(one["gradients"]["sampling"])
    n_draws = gradients / np.array(one["leapfrogs"])
    assert np.allclose(n_draws, n_draws.round())
    json.dumps(one)


def test_a_subset_that_cannot_be_used_is_not_fitted_again(slow):
    subsets = confirm.read_subsets(slow.folder)
    chosen = confirmation.subset_to_confirm(subsets, 0.05)
    assert chosen[0] is not None
    assert chosen[0].fit == "subset-02"
    bad = [fit._replace(health=fit.health._replace(reason="R-hat of mu is 1.2")) for fit in subsets]
    task, reason = confirmation.subset_to_confirm([bad[1], *subsets[::2]], 0.05)
    assert task is None
    assert "nothing to confirm: effort needs at least 3 subsets that can be used" in reason


@pytest.mark.parametrize("n_fits", [0, 2])
def test_too_few_subsets_have_nothing_to_confirm(study, n_fits):
    subsets = confirm.read_subsets(study.folder)[:n_fits]
    task, reason = confirmation.subset_to_confirm(subsets, 0.05)
    assert task is None
    assert reason.startswith("nothing to confirm: effort needs at least 3")


def test_only_subsets_are_read(study):
    names = [fit.task.fit for fit in confirm.read_subsets(study.folder)]
    assert names == ["subset-01", "subset-02", "subset-03"]


def test_a_second_fit_that_was_told_to_end_goes_on_with_the_same_bits(slow, monkeypatch, tmp_path):
    whole = run(slow)
    slow.folder.confirmation.unlink()
    keep, times = checkpoint.Checkpointer.keep, []

    def told_to_end(self, *arguments, **options):
        times.append(1)
        self._last, self._is_told_to_end = 0.0, len(times) == 2
        return keep(self, *arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(checkpoint.Checkpointer, "keep", told_to_end)
        run(slow)
    assert slow.folder.confirmation_checkpoint.exists()
    lines = []
    again = run(slow, lines.append)
    assert "confirmation: goes on from its checkpoint" in lines
    assert again["leapfrogs"] == whole["leapfrogs"]
    assert not slow.folder.confirmation_checkpoint.parent.exists()


def test_a_second_fit_of_a_model_that_was_edited_meanwhile_is_not_written(slow, monkeypatch):
    def edit(job, task):
        path = Path(slow.study.model.file)
        path.write_text(path.read_text() + "\nWIDTH = 2\n")
        return {}

    before = Path(slow.study.model.file).read_text()
    slow.folder.confirmation.unlink(missing_ok=True)
    monkeypatch.setattr(confirm, "refit", edit)
    with pytest.raises(StudyError, match="changed while the study ran"):
        confirm.write_confirmation(slow.folder, slow.study, lambda line: None, slow.job)
    Path(slow.study.model.file).write_text(before)
    assert not slow.folder.confirmation.exists()
