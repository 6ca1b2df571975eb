"""What the records of a study say about its devices."""

import json
from pathlib import Path


def gpus_of_batches(folder: Path) -> set[str]:
    """GPUs of the eight batches, by their records, of which none may say that it ran elsewhere."""
    found = [
        json.loads(path.read_text()) for path in folder.glob("results/putts/fits/*/record.json")
    ]
    fits = [one for one in found if one["kind"] == "subset"]
    assert len(fits) == 8
    assert {(one["platform"], one["device"], one["override"]) for one in fits} == {
        ("gpu", "pretended GPU", "")
    }
    by_batch = {frozenset(one["batch"]): one["gpu"] for one in fits}
    return set(by_batch.values())
