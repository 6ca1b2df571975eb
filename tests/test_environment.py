"""Programs are found in the environment that runs Snakemake, whichever was activated."""

import pytest

from scalecheck.runtime.environment import path_with


@pytest.fixture
def folders(tmp_path):
    """Two environments and a folder of programs alone, by name."""
    found = {name: tmp_path / name for name in ("own", "other", "alone")}
    for name, folder in found.items():
        folder.mkdir()
        for program in ("scalecheck-fit", "python3")[: 1 if name == "alone" else 2]:
            (folder / program).touch(mode=0o755)
    return found


@pytest.mark.parametrize(
    ("path", "first", "expected"),
    [
        ("own", True, "own"),
        ("own:other", True, "own:other"),
        ("other", True, "own:other"),
        ("other:own", True, "own:other:own"),  # another environment was activated after it
        ("alone:own:other", True, "alone:own:other"),  # as somebody wants it
        ("alone", True, "own:alone"),
        ("other", False, "other:own"),
        ("other:own", False, "other:own"),  # rules of others find what they found before
    ],
)
def test_own_programs_come_before_those_of_another_environment(folders, path, first, expected):
    def whole(names):
        return ":".join(str(folders[name]) for name in names.split(":"))

    assert path_with(folders["own"], whole(path), first=first) == whole(expected)
