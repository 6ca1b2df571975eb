"""Jobs of a workstation with eight GPUs."""

from pathlib import Path

import putts
import pytest
from gpus import gpus_of_batches

pytestmark = pytest.mark.long


def test_eight_batches_lease_eight_gpus(tmp_path: Path, cache: Path) -> None:
    folder = tmp_path / "putts"
    putts.write_study(folder)
    own = putts.environment(cache)
    profile = ["--workflow-profile", str(putts.ROOT / "workflow/profiles/gpu")]
    planned = putts.on_this_machine(
        folder, *profile, "--cores", "2", "--", "results/putts/plan.csv"
    )
    putts.run(planned, folder, own)
    pretended = putts.pretend_gpus(tmp_path / "pretended", own, listed=True)
    eight = [*profile, "--cores", "8", "--resources", "gpu=8", "--"]
    putts.run(putts.on_this_machine(folder, *eight, *putts.BATCHES), folder, pretended)
    assert gpus_of_batches(folder) == {str(number) for number in range(8)}
