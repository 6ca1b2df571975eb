#!/usr/bin/env python
"""Check a model against all rows of its data, before any fit."""

from argparse import Namespace

from scalecheck import program, records, study
from scalecheck.study_folder import StudyFolder


def run(options: Namespace, log: program.Log) -> None:
    """Check the study."""
    sections = study.parse_sections(options.settings)
    folder = StudyFolder(options.folder)
    from scalecheck import device

    device.choose(0, "float32", folder.cache, log)
    from scalecheck import demand, preflight

    data, model, sampler = (sections[name] for name in ("data", "model", "sampler"))
    bound = preflight.load_model(folder, data["outcome"], model, sampler)
    found = preflight.check_study(folder, bound, model, sampler, sections["seed"], data["truth"])
    found["demand"] = demand.of_study(folder, bound, model.compare, sampler)
    records.write_json(folder.model, found)
    log(f"compared across fits: {', '.join(found['compared'])}")


if __name__ == "__main__":
    program.main("scalecheck-check-study", __doc__, run)
