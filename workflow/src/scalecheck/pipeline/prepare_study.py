"""All that comes before the first fit: the store, what is known of the model, and the plan.

Reading and checking are done once for the same data, model and settings, whatever the dates of files say.
"""

import json

from scalecheck.files import kept
from scalecheck.files.layout import StudyFolder
from scalecheck.model import source
from scalecheck.pipeline import plan, prepare
from scalecheck.pipeline.identity import digest_of_file, hash_of
from scalecheck.runtime import device
from scalecheck.runtime.program import Log
from scalecheck.study.settings import Study


def prepare_study(folder: StudyFolder, study: Study, log: Log) -> None:
    """Write data.nc, model.json and plan.csv.

    Raises
    ------
    StudyError
        One line on what is wrong with the data, the model or the plan.
    """
    device.choose_device(0, "float32", folder.cache, log)  # a model's file may import JAX
    of_data = identify_data(study)
    if kept.give_back(folder.known("data"), of_data, [folder.data]):
        log("the data are the same, and are not read again")
    else:
        kept.forget(folder.data)
        prepare.write_data(folder, study, log)
        kept.keep(folder.known("data"), of_data, [folder.data])
    before = source.digest(study.model.file)
    of_model = identify_model(study, of_data, before)
    if kept.give_back(folder.known("model"), of_model, [folder.model]):
        log("the model is the same, and is not checked again")
    else:
        from scalecheck.pipeline import check_study

        kept.forget(folder.model)
        check_study.write_model(folder, study, log)
        source.refuse_change(study.model.file, before)
        kept.keep(folder.known("model"), of_model, [folder.model])
    plan.write_plan(folder, study, log)


def identify_data(study: Study) -> str:
    """Give a hash of all that the store is made from: of the model, the columns that it takes."""
    columns = prepare.columns_of(study.data, study.model)
    settings = study.sections("seed", "data", "subsets.levels")
    return hash_of(settings, json.dumps(columns), digest_of_file(study.data.file))


def identify_model(study: Study, of_data: str, of_source: str) -> str:
    """Give a hash of all that is checked before a fit.

    Parameters
    ----------
    of_data
        From `identify_data`.
    of_source
        From `source.digest`.
    """
    settings = study.sections("seed", "data", "model", "sampler", "subsets", "increments")
    return hash_of(of_data, settings, digest_of_file(study.data.truth), of_source)
