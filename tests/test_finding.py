"""What a finding refuses, and how numbers are written."""

import pytest

from scalecheck.checks.finding import Finding, not_run, notable, rounded


@pytest.mark.parametrize("p", [float("nan"), -0.1, 1.1])
def test_a_p_value_outside_the_unit_interval_is_an_error(p):
    with pytest.raises(ValueError, match=r"p-value of drift must lie in \[0, 1\], but got"):
        Finding(family="drift", p=p, weight=1.0, large=False, effect=None, message="")


def test_a_check_that_was_not_run_says_why_and_where_and_claims_nothing():
    finding = not_run("surprise", "no new rows", fit="increment-02", fits=("increment-02",))
    assert (finding.p, finding.effect, finding.large, finding.kind) == (None, None, False, "")
    assert (finding.message, finding.fit, finding.axis) == ("no new rows", "increment-02", None)


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1230"), (0.000012345, "0.0000123"), (2.0, "2"), (-0.5, "-0.5")]
)
def test_numbers_have_three_digits_and_no_exponent(value, text):
    assert rounded(value) == text


def test_a_small_p_value_is_notable_only_for_its_share_of_the_error_rate():
    assert notable(0.02, 1.0)
    assert not notable(0.02, 0.1)
