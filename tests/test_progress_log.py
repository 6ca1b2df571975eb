"""The lines that running fits leave, one a second."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from told import told

from scalecheck.files import formats
from scalecheck.fitting.progress_log import ProgressLog, line


def test_real_fits_leave_lines_up_to_their_last_iteration(conjugate):
    for row in formats.read_plan(conjugate.folder.plan):
        path = conjugate.folder.progress(row.fit)
        lines = [json.loads(text) for text in path.read_text().splitlines()]
        record = formats.read_json(conjugate.folder.record(row.fit))
        assert {one["fit"] for one in lines} == {row.fit}
        assert [one["phase"] for one in lines] == sorted(one["phase"] for one in lines)[::-1]
        begins = next(one for one in lines if one["phase"] == "sampling")
        assert min(begins["iterations"]) >= 200 == begins["warmup"]
        last = lines[-1]
        assert last["iterations"] == [last["total"]] * 4
        gradients = np.add(record["gradients"]["warmup"], record["gradients"]["sampling"])
        assert last["gradients"] == gradients.tolist()
        assert last["step_size"] == pytest.approx(record["step_size"], rel=1e-5)
        assert last["divergences"] == record["divergences"]
        assert last["seconds_left"] == [0, 0, 0]


def journal(folder, clock):
    paths = [folder / "a.jsonl", folder / "b.jsonl"]
    return paths, ProgressLog(paths, ["a", "b"], 500, clock=clock)


def test_a_line_is_written_once_a_second_and_when_something_ends(tmp_path):
    times = iter([0.0, 0.5, 0.9, 1.2, 1.3, 1.4, 1.5])
    (path, other), lines = journal(tmp_path, lambda: next(times))
    for done in (10, 20, 30, 40):
        lines.tell([told(iterations=np.full(4, done))])
    for done in (500, 550, 600):
        lines.tell([told(iterations=np.full(4, done), phase="sampling")])
    written = [json.loads(text)["iterations"][0] for text in path.read_text().splitlines()]
    assert written == [10, 40, 500, 600]
    assert other.read_text() == ""


def test_files_begin_anew_with_a_run(tmp_path):
    (path, _), lines = journal(tmp_path, lambda: 0.0)
    lines.tell([told()])
    assert path.read_text()
    journal(tmp_path, lambda: 0.0)
    assert path.read_text() == ""


def test_a_line_is_json_with_a_time_in_utc_and_null_for_what_is_not_known():
    found = line("increment-01", 500, told(leapfrogs=np.array([1 / 3, np.nan, np.inf, 2])))
    assert datetime.fromisoformat(found["time"]).tzinfo == UTC
    assert found["step_size"] == [0.123457] * 4
    assert found["seconds_left"] == [30, 61.2, 150]
    assert found["stalled"] == [False] * 4


def test_appended_lines_are_null_where_json_has_no_number(tmp_path):
    path = tmp_path / "lines"
    formats.append_line(path, {"leapfrogs": [0.5, np.nan, np.inf]})
    assert path.read_text() == '{"leapfrogs":[0.5,null,null]}\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", None),
        (b'{"n":1}\n', 1),
        (b'{"n":1}\n{"n":2}\n', 2),
        (b'{"n":1}\n{"n":2', 1),
        (b'{"n":1}\n{"n":2}', 2),
        (b'{"n":', None),
        (b'{"n":1}\n7\n\n', 1),
        (b'{"n":1}\n\xff\xfe\x00', 1),
        (b"x" * 2**17 + b'\n{"n":3}\n', 3),
    ],
)
def test_the_last_whole_line_is_read(tmp_path, text, expected):
    path = tmp_path / "lines"
    path.write_bytes(text)
    found = formats.read_last_line(path)
    assert (found["n"] if found else None) == expected


def test_a_run_goes_on_after_half_a_line_with_a_line_of_its_own(tmp_path):
    path = tmp_path / "lines"
    path.write_bytes(b'{"n":1}\n{"n":')
    formats.append_line(path, {"n": 3})
    assert path.read_text().splitlines() == ['{"n":1}', '{"n":', '{"n":3}']
