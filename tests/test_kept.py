"""What is kept from Snakemake, which deletes the outputs of a job before it runs the job again."""

import errno
import os
from pathlib import Path

import pytest

from scalecheck.files import kept


@pytest.fixture
def files(tmp_path):
    """Two files in two folders, kept."""
    found = [tmp_path / "data.nc", tmp_path / "checks" / "fits.csv"]
    for path in found:
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"content of {path.name}")
    kept.keep(tmp_path / ".kept" / "all.identity.json", "one", found)
    return tmp_path / ".kept" / "all.identity.json", found


def test_files_that_were_deleted_come_back_where_they_are_made_from_the_same(files):
    known, paths = files
    for path in paths:
        path.unlink()
    assert not kept.give_back(known, "other", paths)
    assert not any(path.exists() for path in paths)
    assert kept.give_back(known, "one", paths)
    assert [path.read_text() for path in paths] == ["content of data.nc", "content of fits.csv"]


def test_files_that_were_written_anew_are_replaced_by_those_that_are_kept(files):
    known, paths = files
    for path in paths:
        path.unlink()
        path.write_text("half")
    assert kept.give_back(known, "one", paths)
    assert paths[0].read_text() == "content of data.nc"


@pytest.mark.parametrize("damage", ["changed", "missing", "not asked for before"])
def test_nothing_comes_back_where_one_file_is_damaged(files, damage):
    known, paths = files
    if damage == "changed":
        paths[1].write_text("content of fits.csw")  # the same inode
    elif damage == "missing":
        kept.forget(paths[1])
    else:
        paths = [*paths, known.parent.parent / "more.csv"]
    paths[0].unlink()
    assert not kept.give_back(known, "one", paths)
    assert not paths[0].exists()


def test_without_hard_links_nothing_is_kept(files, monkeypatch):
    known, paths = files
    paths[1].unlink()
    paths[1].write_text("another file")

    def refused(*arguments):
        raise PermissionError

    monkeypatch.setattr(kept.os, "link", refused)
    kept.keep(known, "two", paths)
    assert not kept.give_back(known, "two", paths)
    assert not kept.give_back(known, "one", paths)


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSPC, errno.EMLINK])
def test_where_hard_links_are_refused_now_the_files_are_made_again(files, monkeypatch, reason):
    known, paths = files
    for path in paths:
        path.unlink()

    def refused(*arguments):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(kept.os, "link", refused)
    assert not kept.give_back(known, "one", paths)
    assert not any(path.exists() for path in paths)


def test_a_link_that_gets_no_name_is_not_left_behind(files, monkeypatch):
    known, paths = files
    before = sorted(known.parent.parent.rglob("*"))

    def refused(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "replace", refused)
    paths[0].unlink()
    assert not kept.give_back(known, "one", paths)
    assert sorted(known.parent.parent.rglob("*")) == [one for one in before if one != paths[0]]


def test_keeping_again_takes_the_files_of_now(files):
    known, paths = files
    paths[0].unlink()
    paths[0].write_text("newer")
    kept.keep(known, "two", paths)
    paths[0].unlink()
    assert not kept.give_back(known, "one", paths)
    assert kept.give_back(known, "two", paths)
    assert paths[0].read_text() == "newer"
