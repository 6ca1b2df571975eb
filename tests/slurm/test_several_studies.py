"""Small jobs of several studies as one submission."""

import subprocess
import sys
from pathlib import Path

import pretending
import putts
import pytest
from cluster import Cluster

pytestmark = pytest.mark.long

N_STUDIES = 5


def test_jobs_of_five_studies_are_one_submission(
    cluster: Cluster, cache: Path, tmp_path: Path
) -> None:
    files = pretending.write_studies(tmp_path, N_STUDIES, n_subsets=20, batches=1)
    pretending.run(tmp_path, files, "--cores", "2", "--until", "prepare_study")
    own = putts.environment(cache, cluster)
    own |= {"PATH": f"{tmp_path / 'bin'}:{own['PATH']}", "PRETENDED_SECONDS": "0"}
    before = set(cluster.jobs("all"))
    targets = [f"results/{Path(name).stem}/fits/batch-1-of-1.json" for name in files]
    command = [
        *(sys.executable, str(Path(putts.__file__).parent / "polling.py")),
        *pretending.command(
            files,
            *targets,
            "--workflow-profile",
            str(putts.PROFILE),
            "--resources",
            "gpu=0",
            "--groups",
            "fit_batch=fits",
            "--group-components",
            f"fits={N_STUDIES}",
        )[1:],
    ]
    run = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert len(set(cluster.jobs("all")) - before) == 1
    assert all((tmp_path / target).exists() for target in targets)
