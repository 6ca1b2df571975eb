"""Divergences: where they are, whether they bias what is compared, and what is said of them."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from recorded import recorded
from synthetic_results import golf

from scalecheck.checks import divergences
from scalecheck.checks.unusable_fits import UnusableFit, describe_unusable
from scalecheck.files import formats
from scalecheck.files.record import DivergingRegion, Move, as_json, of_json
from scalecheck.report.divergences_section import divergences_of
from scalecheck.results import diverged_fits, study_fits
from scalecheck.results.study_fits import StudyFits
from scalecheck.study.plan import PlannedFit

SHAPE = (4, 1000)


# ---- where


def draws(seed=1):
    """Three scalars on the model's scale."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(SHAPE) for name in ("mu", "beta[high]")} | {
        "tau": np.exp(rng.standard_normal(SHAPE))
    }


def among(chosen, n=60, seed=2):
    """So many draws of those that are chosen."""
    found = np.zeros(chosen.size, dtype=bool)
    found[np.random.default_rng(seed).choice(np.flatnonzero(chosen), n, replace=False)] = True
    return found.reshape(chosen.shape)


PLACES = {
    "small values": ("tau", lambda draws: draws["tau"] < 0.3),
    "large values": ("beta[high]", lambda draws: draws["beta[high]"] > 1.5),
    "both ends": ("mu", lambda draws: np.abs(draws["mu"]) > 2),
    "the middle": ("mu", lambda draws: np.abs(draws["mu"]) < 0.2),
}


@pytest.mark.parametrize("near", PLACES)
def test_the_scalar_is_named_near_whose_values_draws_diverge(near):
    name, chosen = PLACES[near]
    values = draws()
    diverging = among(chosen(values))
    found = divergences.locate_divergences(diverging, values.items())
    assert (found.parameter, found.near) == (name, near)
    inside = values[name][diverging]
    assert (found.low, found.high) == pytest.approx(np.quantile(inside, [0.055, 0.945]))
    outside = values[name][~diverging]
    assert (found.others_low, found.others_high) == pytest.approx(
        np.quantile(outside, [0.055, 0.945])
    )


def test_a_transform_of_a_scalar_does_not_change_what_is_named():
    values = draws()
    diverging = among(values["tau"] < 0.3)
    logs = values | {"tau": np.log(values["tau"])}
    one, other = (divergences.locate_divergences(diverging, v.items()) for v in (values, logs))
    assert (one.parameter, one.near) == (other.parameter, other.near)
    assert np.log(one.low) == pytest.approx(other.low, abs=1e-3)


def test_divergences_that_come_anywhere_have_no_place():
    values = draws()
    everywhere = np.ones(SHAPE, dtype=bool)
    found = [
        divergences.locate_divergences(among(everywhere, 30, seed), values.items())
        for seed in range(200)
    ]
    assert sum(one is not None for one in found) <= 6  # 1 % of them, and three sds of that


def test_divergences_of_one_run_are_one_event_and_tell_no_place():
    values = draws()
    diverging = np.zeros(SHAPE, dtype=bool)
    diverging[1, 100:160] = True
    slow = values | {"tau": values["tau"] + 9.0 * diverging}
    assert divergences.locate_divergences(diverging, slow.items()) is None


@pytest.mark.parametrize("which", ["none", "one", "all", "without parameters"])
def test_too_few_or_too_many_divergences_have_no_place(which):
    diverging = np.full(SHAPE, which == "all")
    diverging[0, 0] = which == "one"
    scalars = {} if which == "without parameters" else draws()
    diverging |= among(np.ones(SHAPE, bool)) if not scalars else False
    assert divergences.locate_divergences(diverging, scalars.items()) is None


# ---- whether they bias what is compared


@pytest.mark.parametrize(("given", "asked"), [(0.8, 0.95), (0.95, 0.9875), (0.6, 0.9)])
def test_smaller_steps_take_a_quarter_of_what_is_left_to_one(given, asked):
    assert divergences.refit_target(given) == pytest.approx(asked)


def sample(seed, shift=0.0, scale=1.0):
    """Draws of three parameters, of which the second is elsewhere or otherwise wide."""
    found = np.random.default_rng(seed).standard_normal((*SHAPE, 3))
    found[..., 1] = shift + scale * found[..., 1]
    return found


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_mean_that_moves_most_is_measured_in_sds_of_the_second_fit(sign):
    second = sample(2, shift=sign * 0.8, scale=2.0)
    mean, sd = divergences.largest_moves(sample(1), second, ["a", "b", "c"])
    assert (mean.parameter, sd.parameter) == ("b", "b")
    assert mean.gap == pytest.approx(sign * 0.4, abs=4 * mean.error)
    assert mean.error == pytest.approx(np.sqrt((1 + 0.25) / 4000), rel=0.2)
    assert sd.gap == pytest.approx(0.5, abs=4 * sd.error)
    assert max(mean.p, sd.p) < 1e-6


def test_a_clear_move_comes_before_a_larger_one_that_may_be_chance():
    rng = np.random.default_rng(3)
    slow = (
        rng.standard_normal((4, 1, 1)) * np.ones((4, 1000, 1)) * 3
    )  # chains apart, hence a large error
    first = np.concatenate([sample(1)[..., :2], slow + 0.1 * sample(4)[..., :1]], axis=-1)
    second = np.concatenate(
        [sample(2, shift=0.4)[..., :2], 3 - slow + 0.1 * sample(5)[..., :1]], -1
    )
    mean, _ = divergences.largest_moves(first, second, ["a", "b", "c"])
    assert mean.parameter == "b"


def test_a_clear_move_that_is_small_does_not_hide_a_larger_one():
    rng = np.random.default_rng(3)
    slow = 0.5 * rng.standard_normal((4, 1, 1)) * np.ones((4, 1000, 1))
    first = np.concatenate([sample(1)[..., :2], slow + 0.1 * sample(4)[..., :1]], axis=-1)
    second = np.concatenate(
        [sample(2, shift=0.2)[..., :2], 1 + slow + 0.1 * sample(5)[..., :1]], -1
    )
    mean, _ = divergences.largest_moves(first, second, ["a", "b", "c"])
    assert mean.parameter == "c"


def test_samples_of_one_posterior_show_no_clear_move():
    found = [
        divergences.largest_moves(sample(seed), sample(1000 + seed), ["a", "b", "c"])
        for seed in range(100)
    ]
    assert sum(min(mean.p, sd.p) < divergences.CLEAR for mean, sd in found) <= 5


NONE = Move("mu", 0.04, 0.05, 1.0)
FAR = Move("tau", -0.62, 0.06, 1e-9)
PERHAPS = Move("tau", 0.4, 0.3, 1.0)
CLEAR_AND_SMALL = Move("tau", 0.2, 0.02, 1e-9)


def diverged(n=240, again=3, mean=NONE, sd=NONE, usable=True, name="subset-01", **changes):
    """Record of a fit of 4 x 1000 draws that was fitted again."""
    refit = {
        "target_accept": 0.95,
        "divergences": [again, 0, 0, 0],
        "draws": 1000,
        "usable": usable,
        "mean": mean and dataclasses.asdict(mean),
        "sd": sd and dataclasses.asdict(sd),
        "gradients": {"warmup": [1], "sampling": [2]},
        "seconds": {"sampling": 2.0},
        "cpu_seconds": {},
    }
    return recorded(name, divergences=[n, 0, 0, 0], draws=1000, **{"refit": refit} | changes)


BIASES = {
    "no": diverged(),
    "yes, a mean": diverged(mean=FAR),
    "yes, an sd": diverged(sd=FAR),
    "no, too small a move": diverged(mean=CLEAR_AND_SMALL),
    "unknown, perhaps chance": diverged(sd=PERHAPS),
    "unknown, no draws to compare": diverged(mean=None, sd=None),
    "unknown, it still diverges": diverged(again=60),
    "no, it hardly diverges": diverged(again=9),
    "yes, though it diverges as often": diverged(again=200, mean=FAR),
}


@pytest.mark.parametrize("name", BIASES)
def test_the_bias_is_what_a_second_fit_tells(name):
    assert divergences.bias_of(BIASES[name]) == name.split(",")[0]


def test_without_a_second_fit_nothing_is_said_of_bias():
    assert divergences.bias_of(recorded(divergences=[9])) is None


# ---- in words

NEAR = dataclasses.asdict(
    DivergingRegion(
        parameter="tau", near="small values", low=0.01, high=0.1, others_low=0.1, others_high=2.0
    )
)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (recorded(divergences=[0, 0], draws=100), ""),
        (
            recorded(divergences=[1, 0, 0, 0], draws=1000),
            "1 divergence (0.025 % of the draws), too few for a second fit",
        ),
        (
            recorded(divergences=[400, 0, 0, 0], draws=1000),
            "400 divergences (10 % of the draws), raise sampler.target_accept",
        ),
        (
            diverged(diverging=NEAR),
            "240 divergences (6 % of the draws) near small values of tau (0.01 to 0.1, elsewhere 0.1 to 2), of"
            " which no bias is seen: with target_accept 0.95 (3 divergences) no mean moves by more than 0.04"
            " posterior sds (Monte Carlo error 0.05) and no sd by more than 0.04 posterior sds (Monte Carlo error"
            " 0.05)",
        ),
        (
            diverged(mean=FAR),
            "240 divergences (6 % of the draws), which bias what is compared: with target_accept 0.95 (3"
            " divergences) the mean of tau moves by 0.62 posterior sds (Monte Carlo error 0.06): set"
            " sampler.target_accept to 0.95",
        ),
        (
            diverged(sd=FAR, again=100),
            "240 divergences (6 % of the draws), which bias what is compared: with target_accept 0.95 (100"
            " divergences) the sd of tau moves by 0.62 posterior sds (Monte Carlo error 0.06): smaller steps do not"
            " mend it: write group effects non-centred (sampler.reparam), give their scale a tighter prior, or let"
            " scalecheck-remedies search",
        ),
    ],
)
def test_a_sentence_says_how_many_where_what_they_do_and_what_to_do(record, words):
    assert divergences.describe_divergences(record) == words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unknown, perhaps chance", "which can be chance: raise sampler.draws"),
        ("unknown, no draws to compare", "the chains do not agree, either: set sampler"),
        ("unknown, it still diverges", "it diverges as well: smaller steps do not mend it"),
    ],
)
def test_a_bias_that_is_not_known_is_not_denied(name, words):
    said = divergences.describe_divergences(BIASES[name])
    assert "which may bias what is compared" in said
    assert words in said


def test_a_record_says_it_all_again_when_it_is_read():
    record = diverged(diverging=NEAR, mean=FAR)
    again = of_json(json.loads(json.dumps(as_json(record))))
    assert as_json(again) == json.loads(json.dumps(as_json(record)))
    assert (again.diverging, again.refit.mean) == (record.diverging, FAR)
    assert record.refit.divergent_share == pytest.approx(3 / 4000)
    assert not {"refit", "diverging"} & set(as_json(recorded()))


# ---- a fit that is biased cannot be used


def health(result, **changes):
    record = dataclasses.replace(result.record, **changes)
    return study_fits.health_of(record, result.tree)


def test_a_fit_whose_estimates_smaller_steps_move_cannot_be_used(conjugate):
    """Of one that can: only the second fit speaks against it."""
    result = conjugate.read("subset-01")
    told = {name: getattr(diverged(mean=FAR), name) for name in ("divergences", "refit")}
    assert health(result).usable
    found = health(result, **told)
    assert (found.usable, found.cause, found.worst) == (False, "biased", "tau")
    assert found.advice == "set sampler.target_accept to 0.95"
    assert "the mean of tau moves by 0.62 posterior sds" in found.reason
    assert health(result, **told | {"refit": diverged().refit}).usable


def test_of_slow_chains_that_smaller_steps_mend_the_steps_are_named(conjugate):
    result = conjugate.read("subset-01")
    few = result.tree.isel(draw=slice(0, 60))
    slow = study_fits.health_of(result.record, few)
    assert slow.cause == "slow"
    record = dataclasses.replace(result.record, divergences=[7], refit=diverged().refit)
    found = study_fits.health_of(record, few)
    assert found.cause == "divergent"
    assert found.reason.startswith(slow.reason.removesuffix(slow.advice))
    assert found.reason.endswith(
        "7 divergences hold up the chains, which converge with smaller steps: set sampler.target_accept to 0.95"
    )


def test_the_verdict_gives_the_numbers_of_the_move_and_not_those_of_r_hat():
    said = UnusableFit("20 divergences, which bias", "biased", "tau", "set it", 1.003, 900.0)
    many = describe_unusable({"subset-01": said, "subset-02": said}, 12)
    assert many == "2 of 12 fits, as subset-01: 20 divergences, which bias"


# ---- the table, and the page


def table_of(*records):
    tasks = [
        PlannedFit(one.fit, one.kind, one.axis, one.level, one.rows, one.new_rows, ())
        for one in records
    ]
    recorded_fits = {one.fit: one for one in records}
    return diverged_fits.divergences_table(StudyFits(tasks, recorded_fits, {}))


def test_the_table_has_a_row_for_each_fit_that_diverged():
    sd = Move("tau", 0.2, 0.02, 1e-9)
    table = table_of(recorded("subset-01", divergences=[0]), diverged(name="subset-02", sd=sd))
    (row,) = table.to_dict("records")
    assert row["fit"] == "subset-02"
    assert (row["divergences"], row["share"]) == (240, pytest.approx(0.06))
    assert (row["widened"], row["sd_ratio"]) == ("tau", pytest.approx(1.25))
    assert row["bias"] == "no"
    assert table_of().columns.tolist() == list(diverged_fits.COLUMNS)


def said_on_page(tmp_path, *records):
    """Write the table, read it back, and say what the page of golf says of it."""
    path = tmp_path / "divergences.csv"
    formats.write_table(path, table_of(*records))
    inputs = dataclasses.replace(golf(), tables={"divergences": formats.read_table(path)})
    return divergences_of(inputs)


def test_the_page_says_which_fits_where_and_that_nothing_is_biased(tmp_path):
    level = {"kind": "level", "axis": "distance_ft", "level": "0.28"}
    few = recorded("subset-03", divergences=[2, 0, 0, 0], draws=1000)
    found = said_on_page(
        tmp_path, diverged(n=20), diverged(name="level-03", diverging=NEAR, **level), few
    )
    assert found.summary == (
        "262 divergences in 3 of 23 fits, the most (240) in distance_ft: 0.28, near small values of tau. No bias is"
        " seen in subset 1 and distance_ft: 0.28: fitted again with target_accept 0.95, no mean moves by more than"
        " 0.040 posterior sds, and no sd by more than a factor of 1.04. In 1 fit fewer than 0.25\N{NO-BREAK SPACE}% of"
        " the draws diverge, too few for a second fit."
    )
    cells = found.table.rows[1].cells
    assert cells[3] == "small values of tau: 0.0100 to 0.100, elsewhere 0.100 to 2.00"
    assert not any(row.marked for row in found.table.rows)


def test_the_page_names_what_is_biased_first_and_what_to_do(tmp_path):
    lost = recorded("subset-03", divergences=[800, 0, 0, 0], draws=1000)
    found = said_on_page(tmp_path, diverged(), diverged(name="subset-02", mean=FAR), lost)
    first, second, *rest = found.summary.split(". ")
    assert first.startswith("1,280 divergences in 3 of 23 fits, the most (800) in subset 3")
    assert second.startswith("subset 2: 240 divergences (6 % of the draws), which bias")
    assert "set sampler.target_accept to 0.95" in found.summary
    assert rest[-1] == "The chains of subset 3 are too far apart for a second fit to tell."
    assert [row.marked for row in found.table.rows] == [False, True, False]


def test_of_a_single_fit_the_page_has_one_sentence(tmp_path):
    found = said_on_page(tmp_path, diverged(mean=FAR))
    message = divergences.describe_divergences(diverged(mean=FAR))
    assert found.summary == f"1 of 23 fits diverged, subset 1: {message}."


def test_where_nothing_diverged_the_page_says_nothing_more():
    assert divergences_of(dataclasses.replace(golf(), tables={})) is None
    empty = {"divergences": pd.DataFrame(columns=list(diverged_fits.COLUMNS))}
    assert divergences_of(dataclasses.replace(golf(), tables=empty)) is None
