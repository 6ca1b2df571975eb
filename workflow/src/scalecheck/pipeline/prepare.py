"""From the file of a study to its store."""

from collections.abc import Iterator

from scalecheck.data import disk_columns, read_table, store
from scalecheck.data.csv_reader import MISSING_WORDS
from scalecheck.data.levels import cut_axis
from scalecheck.data.table import Table
from scalecheck.errors import StudyError
from scalecheck.files.layout import StudyFolder, slug
from scalecheck.model.binding import parameters_of, refuse_unknown
from scalecheck.runtime.program import Log
from scalecheck.study.settings import DataSettings, ModelSettings, Study

_OUTCOME = "data.outcome names"


def write_data(folder: StudyFolder, study: Study, log: Log) -> None:
    """Prepare the data of a study, and say how many rows there are."""
    meta = prepare(folder, study.data, study.model, study.subsets.levels, study.seed, log)
    log(f"{meta.n_rows} rows of {meta.file}; left out: {meta.dropped or 'none'}")


def prepare(
    folder: StudyFolder,
    settings: DataSettings,
    model: ModelSettings,
    levels: int,
    seed: int,
    log: Log = lambda line: None,
) -> store.StoreMeta:
    """Read, check, encode and order a study's data, and write the store.

    Parameters
    ----------
    folder
        Of the study's results.
    levels
        Levels of an axis at most.
    log
        Is told how labels were read where a reader might think otherwise.

    Raises
    ------
    StudyError
        One line that names the file, the column and the row.
    """
    if len({slug(axis) for axis in settings.axes}) < len(settings.axes):
        raise StudyError(
            f"{settings.file}: data.axes must differ in more than punctuation, got {', '.join(settings.axes)}"
        )
    named, possible = columns_of(settings, model)
    _refuse_outcome(settings, named)
    with disk_columns.column_folder(folder.spool) as columns:
        table = read_table.read_data(settings, named, possible, columns)
        for line in _told(table):
            log(line)
        axes = {name: cut_axis(table, name, levels) for name in settings.axes}
        return store.write_store(folder.data, table, settings, axes, seed)


def _told(table: Table) -> Iterator[str]:
    """Which labels are texts that others read as missing."""
    for name, column in table.columns.items():
        if words := [label for label in column.labels or () if label in MISSING_WORDS]:
            yield f"{name}: {', '.join(words)} is a label as it is written, and no missing value"


def _refuse_outcome(settings: DataSettings, named: dict[str, str]) -> None:
    """Rows chosen by what they observed differ in it, however right the model is."""
    used = [("axes", axis) for axis in settings.axes]
    for key, column in [*used, ("order", settings.order), ("unit", settings.unit)]:
        if column is not None and named.get(column) == _OUTCOME:
            raise StudyError(f"{settings.file}: data.{key} must not name the outcome, got {column}")


def columns_of(settings: DataSettings, model: ModelSettings) -> tuple[dict[str, str], list[str]]:
    """Columns that the model needs (and who says so, for messages), and columns that it takes if they are there.

    Raises
    ------
    StudyError
        When a setting names an argument that the model lacks.
    """
    parameters = parameters_of(model)
    refuse_unknown(parameters, model, settings.outcome)
    named: dict[str, str] = {}
    possible: list[str] = []
    for name, required in parameters.items():
        chosen = model.arguments.get(name, name)
        columns = [chosen] if isinstance(chosen, str) else chosen
        if name == settings.outcome:
            named |= dict.fromkeys(columns, _OUTCOME)
        elif name in model.arguments:
            named |= dict.fromkeys(columns, f"model.arguments.{name} names")
        elif required and not name.startswith("n_"):
            named[name] = f"the function {model.function} of {model.file} takes"
        else:
            possible.append(name)
            if name.startswith("n_") and name != "n_rows":
                possible.append(name.removeprefix("n_"))
    return named, possible
