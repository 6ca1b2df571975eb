"""What a fit left is checked when it is read: damage is said, and the fit made again with the same draws."""

import shutil

import pytest
import small_studies

from scalecheck.errors import StudyError
from scalecheck.files import checksums, posterior_file
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import run_fits
from scalecheck.pipeline import fit
from scalecheck.results import study_fits

FIT = "subset-01"


def flip(path):
    """Flip one bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def empty(path):
    path.write_bytes(b"")


def rename_key(path):
    path.write_text(path.read_text().replace('"sha256"', '"sha257"'))


@pytest.fixture
def small(conjugate, tmp_path):
    """A copy of the finished study, to be damaged."""
    shutil.copytree(conjugate.folder.path, tmp_path / "small")
    return small_studies.Small(conjugate.study, StudyFolder(tmp_path / "small"))


def read(small):
    return study_fits.read_study_fits(small.folder, "arrival")


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("posterior.nc", flip, "its checksum is another"),
        ("posterior.nc", cut, "its checksum is another"),
        ("posterior.nc", empty, "its checksum is another"),
        ("posterior.nc", lambda path: path.unlink(), "it is missing"),
        ("record.json", flip, ""),
        ("record.json", cut, ""),
        ("record.json", empty, ""),
        ("record.json", rename_key, "it is no record"),
    ],
)
def test_damage_is_said_and_the_fit_removed_with_what_says_that_it_is_done(
    small, name, damage, reason
):
    path, manifest = small.folder.record(FIT).with_name(name), small.folder.manifests()
    assert manifest
    damage(path)
    with pytest.raises(StudyError) as caught:
        read(small)
    message = str(caught.value)
    assert message.startswith(f"{path}: damaged: {reason}")
    assert message.endswith(": the fit subset-01 was removed: run again, which makes it again")
    left = [small.folder.record(FIT), small.folder.posterior(FIT), *manifest]
    assert not any(one.exists() for one in left)
    assert small.folder.record("subset-02").exists()


def test_a_damaged_fit_that_is_made_again_has_the_same_draws(small):
    """It was made beside others, and is made alone now."""
    whole = posterior_file.read_posterior(small.folder.posterior(FIT))
    flip(small.folder.posterior(FIT))
    with pytest.raises(StudyError, match="damaged"):
        read(small)
    fit.write_fits(small.assigned(), [FIT, "subset-02"])
    again = read(small).done[FIT].tree
    for group in whole.groups:
        assert again[group].to_dataset().identical(whole[group].to_dataset())


def test_a_damaged_manifest_does_not_hide_a_damaged_fit(small):
    (manifest,) = small.folder.manifests()
    cut(manifest)
    flip(small.folder.posterior(FIT))
    with pytest.raises(StudyError, match="damaged"):
        read(small)
    assert not manifest.exists()


def test_a_record_says_the_same_however_it_is_laid_out(small):
    path = small.folder.record(FIT)
    record = checksums.read_record(small.folder, FIT)
    path.write_text(path.read_text().replace("\n", ""))
    assert checksums.read_record(small.folder, FIT) == record


def test_a_fit_that_is_made_again_has_no_record_meanwhile(small, monkeypatch):
    """Or whoever watches would take the old one for its own, by dates that a clock may turn round."""

    def ended(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_fits, "run_batch", ended)
    small.folder.posterior(FIT).unlink()
    with pytest.raises(KeyboardInterrupt):
        fit.write_fits(small.assigned(), [FIT, "subset-02"])
    assert not small.folder.record(FIT).exists()
    assert small.folder.record("subset-02").exists()
