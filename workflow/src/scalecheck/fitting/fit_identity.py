"""What a fit is: digests of all that its draws depend on, so that what stands is known again.

No JAX here: a job of which every fit stands imports none. Versions of JAX, jaxlib and NumPyro are not part of it, for
an upgrade is no reason to fit a year of studies again; `record.json` has them. What changes draws in this
library raises ENGINE_VERSION, which is.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scalecheck import ENGINE_VERSION
from scalecheck.data import store
from scalecheck.errors import StudyError
from scalecheck.files import formats
from scalecheck.files.layout import StudyFolder
from scalecheck.fitting.row_digests import TakenColumns, digest_slices
from scalecheck.model import source
from scalecheck.study.plan import PlannedFit
from scalecheck.study.settings import Study, without_later_keys


class Identity(NamedTuple):
    """All that the draws of a fit depend on, but for its name.

    Attributes
    ----------
    rows
        Digest of its rows, as the model takes them.
    model
        Of the model's source and of how its arguments are filled.
    settings
        Of the seed and the settings of the sampler.
    engine
        ENGINE_VERSION.
    platform
        Kind of device, `cpu` or `gpu`.
    before
        Digest of the identity of the increment that it starts from; empty of one that starts from none.
    """

    rows: str
    model: str
    settings: str
    engine: int
    platform: str
    before: str = ""

    @property
    def digest(self) -> str:
        """All of it in one."""
        return digest_of(self._asdict())


# What is said where a part is another.
_IN_WORDS = {
    "rows": "its rows",
    "model": "the model",
    "settings": "its settings",
    "engine": "the version of the engine",
    "platform": "the kind of device",
    "before": "the increment that it starts from",
}


def difference(known: Identity, recorded: Mapping[str, Any]) -> str:
    """Say which parts a record has otherwise; empty where all are the same."""
    parts = known._asdict()
    return ", ".join(_IN_WORDS[name] for name in parts if recorded.get(name) != parts[name])


def digest_of(content: Any) -> str:
    """Digest of what JSON can hold."""
    text = json.dumps(content, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def identify(
    folder: StudyFolder, study: Study, platform: str, tasks: Sequence[PlannedFit]
) -> dict[str, Identity]:
    """Identify fits that start from no other, by their names.

    Parameters
    ----------
    folder
        With the store and model.json.
    study
        `seed`, `data`, `model` and `sampler`.
    platform
        From `device.platform_of`.
    """
    found = _read_model(folder)
    meta = store.read_meta(folder.data)
    every = [part for task in tasks for part in task.slices]
    rows = digest_slices(folder.data, every, _columns(found, meta, study.sampler.precision))
    model = digest_of(_model(study, found, meta))
    settings = digest_of(_settings(study, _cold_start(study)))
    return {
        task.fit: Identity(
            digest_of([rows[part] for part in task.slices]),
            model,
            settings,
            ENGINE_VERSION,
            platform,
        )
        for task in tasks
    }


def identify_increments(
    folder: StudyFolder, study: Study, platform: str, increments: Sequence[PlannedFit]
) -> dict[str, Identity]:
    """Identify all increments of a study, each of which may start from the one before.

    Parameters
    ----------
    folder, study, platform
        As of `identify`; `study` with `increments`, too.
    increments
        From the first on, in growing order.
    """
    found = identify(folder, study, platform, increments)
    if not starts_from_before(folder, study):
        return found
    before = ""
    for number, task in enumerate(increments):
        if number:
            how = {"warm": study.increments.warm, "audit": study.increments.is_audited(number)}
            settings = digest_of(_settings(study, study.sampler.start) | how)
            found[task.fit] = found[task.fit]._replace(settings=settings, before=before)
        before = found[task.fit].digest
    return found


def digest_columns(
    folder: StudyFolder, tasks: Sequence[PlannedFit], columns: Sequence[str]
) -> dict[str, str]:
    """Digest of some columns in the rows of fits, by their names: of what the checks read beside a model's own."""
    labels = store.read_meta(folder.data).labels
    dtypes = {name: "<f8" if labels[name] is None else "<i4" for name in columns}
    every = [part for task in tasks for part in task.slices]
    found = digest_slices(folder.data, every, TakenColumns(dtypes, None, ()))
    return {task.fit: digest_of([found[part] for part in task.slices]) for task in tasks}


def starts_from_before(folder: StudyFolder, study: Study) -> bool:
    """Whether increments start from what the one before left: warm, or at its draws."""
    asked = study.increments.warm or study.sampler.start == "previous"
    return asked and any(site["kind"] == "latent" for site in _read_model(folder)["sites"])


def _read_model(folder: StudyFolder) -> dict[str, Any]:
    found = formats.read_json(folder.model)
    if "columns" not in found:
        raise StudyError(f"{folder.model}: of an earlier version: delete it and run again")
    return found


def _columns(found: Mapping[str, Any], meta: store.StoreMeta, precision: str) -> TakenColumns:
    """Columns that the model takes, and those that name entries of its sites."""
    dtypes = {
        name: "<i4" if meta.labels[name] is not None else precision for name in found["columns"]
    }
    if any("rows" in site["indexed_by"] for site in _stored(found)):
        dtypes[store.FILE_ROW] = "<i8"
    named = meta.unit in dtypes
    labels = meta.labels[meta.unit] if meta.unit is not None and named else None
    return TakenColumns(dtypes, meta.unit, labels or ())


def _stored(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [site for site in found["sites"] if site["kind"] in ("latent", "deterministic")]


def _model(study: Study, found: Mapping[str, Any], meta: store.StoreMeta) -> dict[str, Any]:
    """All that the model is: its source, what fills its arguments, and what of it is compared."""
    model = study.model
    # The labels of a column that indexes a site name its entries; of others there are so many.
    dims = {dim for site in _stored(found) for dim in site["dims"]}
    labels = {name: meta.labels[name] for name in found["columns"] if name != meta.unit}
    return {
        "source": source.digest(model.file),
        "function": model.function,
        "arguments": {name: taken for name, taken in model.arguments.items() if taken != name},
        "outcome": study.data.outcome,
        "unit": study.data.unit,
        "compared": found["compared"],
        "columns": found["columns"],
        "labels": {name: own if name in dims else len(own) for name, own in labels.items() if own},
    }


def _settings(study: Study, start: str) -> dict[str, Any]:
    """Settings that draws depend on, of a fit that starts so."""
    sampler = without_later_keys(dataclasses.asdict(study.sampler))
    return {"seed": study.seed, **sampler, "start": start}


def _cold_start(study: Study) -> str:
    """Where a fit starts that no increment is before."""
    return "prior" if study.sampler.start == "previous" else study.sampler.start
