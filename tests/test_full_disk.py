"""A disk that is full: said in one line, nothing half-written, and gone on from when there is room."""

import contextlib
import errno
import os
import shutil
import subprocess
import sys

import pytest
import small_studies

from scalecheck.files import formats, posterior_file
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting import checkpoint
from scalecheck.fitting.checkpoint import Checkpointer
from scalecheck.pipeline import fit
from scalecheck.runtime import program


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, of 8 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "scalecheck", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("only root can mount a file system")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk):
    """Leave no room."""
    with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(2**12)):
            pass
    assert shutil.disk_usage(disk).free < formats.FULL


GROUPS = {"posterior": posterior_file.Group({}, {"draw": list(range(50_000))}, {})}
WRITERS = {
    "record.json": lambda path: formats.write_json(path, {"draws": list(range(50_000))}),
    "posterior.nc": lambda path: posterior_file.write_posterior(path, GROUPS),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_program_says_so_in_one_line_and_leaves_what_was_there(disk, monkeypatch, capsys, name):
    folder = StudyFolder(disk / "small")
    path = folder.path / name
    WRITERS[name](path)
    before, log = path.read_bytes(), disk / "prepare.log"
    log.write_text("")
    (folder.path / "settings.json").write_text("{}")
    fill(disk)
    options = ["--settings", str(folder.path / "settings.json"), "--log", str(log)]
    monkeypatch.setattr(sys, "argv", ["scalecheck-prepare", *options])
    with pytest.raises(SystemExit) as ended:
        program.main("scalecheck-prepare", None, lambda options, log: WRITERS[name](path))
    assert ended.value.code == 1
    assert capsys.readouterr().err == (
        f"{path}: cannot be written: No space left on device: make room and run again, which goes on from what is"
        " there\n"
    )
    assert path.read_bytes() == before
    assert sorted(folder.path.iterdir()) == sorted([path, folder.path / "settings.json"])


def test_a_fit_goes_on_when_there_is_room_again_and_ends_with_the_same_draws(
    conjugate, disk, monkeypatch
):
    monkeypatch.setenv(checkpoint.VARIABLE, "1e-9")
    folder = StudyFolder(disk / "small")
    for name in ("data.nc", "plan.csv", "model.json"):
        folder.path.mkdir(exist_ok=True)
        shutil.copy(conjugate.folder.path / name, folder.path / name)
    fits = formats.read_json(conjugate.folder.manifests()[0])["fits"]
    lines, keep, calls = [], Checkpointer.keep, []
    job = small_studies.Small(conjugate.study, folder).job(lines.append)

    def keep_then_fill(self, take):
        keep(self, take)
        calls.append(take)
        if len(calls) == 1:
            fill(disk)

    monkeypatch.setattr(Checkpointer, "keep", keep_then_fill)
    with pytest.raises(OSError) as caught:
        fit.write_fits(small_studies.assigned(job), fits)
    assert (caught.value.errno, caught.value.filename) == (
        errno.ENOSPC,
        str(folder.posterior("subset-01")),
    )
    assert any("cannot save (No space left on device)" in line for line in lines)
    assert not folder.posterior("subset-01").exists()
    assert not folder.record("subset-01").exists()
    os.unlink(disk / "filler")
    fit.write_fits(small_studies.assigned(job), fits)
    whole, again = (
        posterior_file.read_posterior(one.posterior("subset-01"))
        for one in (conjugate.folder, folder)
    )
    for group in whole.groups:
        assert again[group].to_dataset().identical(whole[group].to_dataset())
