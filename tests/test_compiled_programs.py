"""Compiled programs are kept for all studies of a user, whole, and no more than they may take."""

import concurrent.futures
import os
import platform
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from scalecheck.errors import StudyError
from scalecheck.runtime import compiled_programs
from scalecheck.runtime.compiled_programs import SharedFolder

OWN = f"jax-python{sys.version_info.major}.{sys.version_info.minor}"
SET = ("JAX_COMPILATION_CACHE_DIR", "SCALECHECK_CACHE", "SCALECHECK_CACHE_GB", "XDG_CACHE_HOME")


def untold(line):
    pytest.fail(f"nothing was to be said: {line}")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user's home; nothing is set but HOME."""
    for name in SET:
        monkeypatch.setenv(name, "")  # so that what is set in a test is gone after it
        monkeypatch.delenv(name)
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ".cache/scalecheck"),
        ({"XDG_CACHE_HOME": "relative"}, ".cache/scalecheck"),
        ({"XDG_CACHE_HOME": "{home}/caches"}, "caches/scalecheck"),
        ({"SCALECHECK_CACHE": ""}, ".cache/scalecheck"),
        ({"SCALECHECK_CACHE": "~/mine"}, "mine"),
        ({"SCALECHECK_CACHE": "{home}/mine", "XDG_CACHE_HOME": "{home}/caches"}, "mine"),
    ],
)
def test_the_folder_is_the_one_that_is_named_else_in_the_users_cache(
    home, monkeypatch, given, expected
):
    for name, value in given.items():
        monkeypatch.setenv(name, value.format(home=home))
    assert compiled_programs.choose_folder(home / "results/.jax", untold) == 10**9
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert folder == home / expected / OWN
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_jax_was_told_stays_and_is_not_bounded(home, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    assert compiled_programs.choose_folder(home / "results/.jax", untold) is None
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
    assert not (home / ".cache").exists()


@pytest.mark.parametrize("reason", ["a file is in the way", "no home"])
def test_without_a_folder_of_the_users_that_of_the_results_serves_and_a_line_says_so(
    home, monkeypatch, reason
):
    if reason == "no home":
        monkeypatch.setattr(Path, "home", _no_home)
    (home / ".cache").write_text("")
    lines = []
    compiled_programs.choose_folder(home / "results/.jax", lines.append)
    assert os.environ["JAX_COMPILATION_CACHE_DIR"] == str(home / "results/.jax")
    (line,) = lines
    assert line.startswith(f"compiled programs are kept in {home}/results/.jax, not for all")


def _no_home():
    raise RuntimeError("Could not determine home directory.")


def test_a_bound_that_is_no_number_is_refused(home, monkeypatch):
    monkeypatch.setenv("SCALECHECK_CACHE_GB", "much")
    with pytest.raises(StudyError, match="SCALECHECK_CACHE_GB must be a positive number of gig"):
        compiled_programs.choose_folder(home / "results/.jax", untold)


# What is compiled, by other values and after damage: each line is the names of the programs that were written.
PROGRAM = """
import sys
from pathlib import Path
from scalecheck.runtime import device
device.choose_device(0, "float32", Path("unused"), sys.exit)
import jax
import jax.numpy as jnp

folder = Path(jax.config.jax_compilation_cache_dir)

@jax.jit
def model(x, key):
    return x @ x.T + jax.random.normal(key, (3, 3))

def run(seed):
    jax.clear_caches()
    before = {path: path.stat().st_ino for path in folder.glob("*-cache")}
    model(jnp.full((3, 4), float(seed)), jax.random.PRNGKey(seed))
    after = {path: path.stat().st_ino for path in folder.glob("*-cache")}
    print(*sorted(path.name.split("-")[0] for path in after.keys() if before.get(path) != after[path]))

run(1)
run(2)
path, = folder.glob("jit_model-*-cache")
whole = path.read_bytes()
for damaged in (whole[:-20], b"", b"else"):
    path.write_bytes(damaged)
    run(3)
"""


def test_other_values_compile_nothing_and_a_damaged_program_is_compiled_again(home):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**os.environ, "SCALECHECK_CACHE": str(home / "cache")},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first, second, *damaged = done.stdout.splitlines()
    assert "jit_model" in first
    assert second == ""
    assert damaged == ["jit_model"] * 3
    assert not list(home.rglob("*.part"))


def test_whoever_reads_beside_many_writers_gets_a_whole_program_or_none(tmp_path):
    values = [zlib.compress(bytes([number]) * 10**6 + os.urandom(10**5)) for number in range(4)]

    def work(number):
        mine = SharedFolder(tmp_path, None)
        found = []
        for turn in range(10):
            mine.put("key", values[(number + turn) % 4])
            found.append(mine.get("key"))
        return found

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = [one for each in pool.map(work, range(8)) for one in each]
    assert set(found) <= set(values)
    assert [path.name for path in tmp_path.iterdir()] == ["key-cache"]


def test_a_folder_that_cannot_be_written_to_gives_and_takes_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    shared = SharedFolder(tmp_path / "file", 10**9)
    shared.put("key", b"value")
    assert shared.get("key") is None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of features are those of x86")
def test_programs_are_named_by_the_features_of_the_processor():
    """Else a home that several machines share would have programs that some of them cannot run."""
    import jax
    from jax._src.lib import xla_client

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    flags = next(line for line in lines if line.startswith("flags")).split()
    hashed = xla_client.get_topology_for_devices(
        jax.devices()
    ).serialize()  # as JAX does for the key
    for feature in ("sse2", "avx", "avx2", "fma", "avx512f"):
        assert (f"+{feature}".encode() in hashed) == (feature in flags)


def write_used(folder, used):
    """Write programs of 100 bytes, by the hour in which each was used last."""
    for name, hour in used.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (hour * 3600, hour * 3600))


def names(folder):
    return {path.name for path in folder.rglob("*") if path.is_file()} - {"last-pruned"}


def test_what_was_not_used_for_longest_is_deleted_once_an_hour(tmp_path):
    write_used(tmp_path, {"b-cache": 3, "a-cache": 1, "gpu/c": 2, "d-cache": 4})
    compiled_programs.prune(tmp_path, 250)
    assert names(tmp_path) == {"d-cache", "b-cache"}
    write_used(tmp_path, {"e-cache": 5})
    compiled_programs.prune(tmp_path, 250)
    assert names(tmp_path) == {"d-cache", "b-cache", "e-cache"}
    os.utime(tmp_path / "last-pruned", (0, 0))
    compiled_programs.prune(tmp_path, 250)
    assert names(tmp_path) == {"d-cache", "e-cache"}


def test_what_is_read_counts_as_used_and_what_is_written_is_bounded(tmp_path):
    folder = tmp_path / "not yet there"
    shared = SharedFolder(folder, 250)
    shared.put("read", zlib.compress(os.urandom(60)))
    assert names(folder) == {"read-cache"}
    write_used(folder, {"old-cache": 1, "older-cache": 0})
    os.utime(folder / "read-cache", (0, 0))
    os.utime(folder / "last-pruned", (0, 0))
    assert shared.get("read") is not None
    shared.put("new", bytes(100))
    assert names(folder) == {"old-cache", "read-cache", "new-cache"}
