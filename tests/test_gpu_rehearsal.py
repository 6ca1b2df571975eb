"""What waits for a GPU runs on the processor, in small; what fails is said, and the rest runs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GPU = Path(__file__).parent / "benchmarks/gpu/gpu.py"
IN_LIBRARY = ("device", "gradient", "resume", "memory", "engines")


def rehearse(out, *parts):
    # A process that has looked for a device must not be forked: JAX would warn of it.
    command = [sys.executable, "-W", "error::RuntimeWarning", GPU, "--rehearse", "--out", out]
    done = subprocess.run([*command, "--only", *parts], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return out.read_text()


def test_every_part_in_the_library_runs_small_on_the_processor(tmp_path):
    text = rehearse(tmp_path / "gpu.md", *IN_LIBRARY)
    assert len(re.findall("^## ", text, flags=re.MULTILINE)) == len(IN_LIBRARY)
    assert "**Rehearsed on the processor, with small sizes.**" in text
    assert "Failed" not in text
    assert re.search(r"^\| 600 \| 60 \| 4 \| [\d.]+ \| ", text, flags=re.MULTILINE)
    assert "**the same bits** as the fit that was left alone" in text
    assert "- forecast: about " in text
    assert "| logistic, 2 fits | lanes |" in text


@pytest.mark.long
def test_golf_through_snakemake_runs_small_on_the_processor(tmp_path):
    text = rehearse(tmp_path / "gpu.md", "golf")
    assert re.search(r"- \d+ s to the verdict `\w+`, \d+ fits", text)
    assert "ran on cpu (`cpu`)" in text


# Two parts that fail and one that does not: what they are run by imports no JAX.
PROGRAM = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, sys.argv[1])
import gpu

def raises(size, say):
    say("a line before")
    raise ValueError("no such number")

def hangs(size, say):
    say("begun")
    time.sleep(600)

def ends(size, say):
    say(f"size {size}")

for function, limit in ((raises, 60), (hangs, 0.5), (ends, 60)):
    print(*gpu.run(SimpleNamespace(run=function, limit=limit), 3, Path(sys.argv[2])))
"""


def test_of_a_part_that_fails_or_takes_too_long_the_reason_and_what_it_said_are_kept(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(GPU.parent), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "['a line before'] ValueError: no such number",
        "['begun'] took longer than 0 s",
        "['size 3'] ",
    ]


def test_the_file_is_replaced_whole(tmp_path):
    sys.path.insert(0, str(GPU.parent))
    import gpu

    gpu.write(tmp_path / "gpu.md", "# Head", ["## One"])
    gpu.write(tmp_path / "gpu.md", "# Head", ["## One", "## Two"])
    assert (tmp_path / "gpu.md").read_text() == "# Head\n\n## One\n\n## Two\n"
    assert os.listdir(tmp_path) == ["gpu.md"]
