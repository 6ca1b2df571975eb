"""The line that a program failed with is found in the logs that Snakemake names."""

import pytest

from scalecheck.runtime import failures, program

TOLD = """\
[Sun Nov 29 03:14:41 2026]
Error in rule fit_batch:
    jobid: 5
    input: results/golf/data.nc
    output: results/golf/fits/batch-1-of-1.json
    log: {one}, {other} (check log file(s) for error details)
    shell:
        scalecheck-fit --part 1-of-1
        (command exited with non-zero exit code)
    log: {one} (check log file(s) for error details)
"""


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (("2026-11-29 03:14:41 failed: a.csv: row 3", ""), ["a.csv: row 3"]),
        (("no line of ours", None), []),
        (("", "2026-11-29 03:14:41 warmup 3/200"), []),
        (("2026-11-29 failed: one", "2026-11-29 failed: two"), ["one", "two"]),
    ],
)
def test_each_line_is_given_once(tmp_path, ends, expected):
    one, other = tmp_path / "one.log", tmp_path / "other.log"
    for path, end in zip((one, other), ends, strict=True):
        if end is not None:
            path.write_text(f"2026-11-29 03:14:40 a line before\n{end}\n")
    log = tmp_path / "snakemake.log"
    log.write_text(TOLD.format(one=one, other=other))
    assert failures.lines_of([log]) == expected


def test_what_a_program_fails_of_is_found_in_its_log(tmp_path):
    path, log = tmp_path / "prepare.log", tmp_path / "snakemake.log"
    with pytest.raises(SystemExit), program.logged(path):
        raise program.StudyError("study.yaml: the key data.file is missing")
    log.write_text(TOLD.format(one=path, other=path))
    assert failures.lines_of([log]) == ["study.yaml: the key data.file is missing"]


def test_what_a_run_before_failed_of_is_not_told_again(tmp_path, monkeypatch):
    monkeypatch.setattr(failures, "_BEFORE", {})
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "logs" / "golf"
    (folder / "fits").mkdir(parents=True)
    old, new = folder / "prepare_study.log", folder / "fits" / "increments.log"
    for path in (old, new):
        path.write_text("2026-11-29 03:14:40 failed: then\n")
    failures.note_logs(tmp_path / "logs" / "golf")
    failures.note_logs(tmp_path / "logs" / "none")
    new.write_text("2026-11-29 03:14:41 failed: and now\n")
    log = tmp_path / "snakemake.log"
    log.write_text(TOLD.format(one="logs/golf/prepare_study.log", other=new))
    assert failures.lines_of([log]) == ["and now"]


def test_without_a_log_of_snakemake_there_is_nothing_to_say(tmp_path):
    assert failures.lines_of([tmp_path / "none.log"]) == []
