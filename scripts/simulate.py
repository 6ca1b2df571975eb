#!/usr/bin/env python
"""Run the whole plan on data sets simulated from the posterior, and rank the study among them."""

from argparse import ArgumentParser, Namespace

from scalecheck import program, records, study


def add_options(parser: ArgumentParser) -> None:
    """Add what only this program needs."""
    program.add_devices(parser)


def run(options: Namespace, log: program.Log) -> None:
    """Simulate, fit, check and rank."""
    from scalecheck import device

    settings = study.Study(**study.parse_sections(options.settings))
    folder = records.StudyFolder(options.folder)
    gpus = device.count(options.gpu, options.gres)
    device.choose(gpus, settings.sampler.precision, folder.cache, log)
    from scalecheck import exact

    device.confirm(gpus)
    table = exact.calibrate_exactly(folder, settings, log)
    records.write_table(folder.table("simulated"), table)


if __name__ == "__main__":
    program.main("scalecheck-simulate", __doc__, run, add_options)
