"""What the probe's child may say, and what each line means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.drivers.machine.kvm_steps import LINE_LIMIT, Failure, Step, failed, judge, passed, verdict


@pytest.mark.parametrize("step", Step)
def test_a_step_passes_by_its_own_line(step: Step) -> None:
    assert judge(step, passed(step).encode() + b"\n") is None


@pytest.mark.parametrize("step", Step)
def test_a_step_fails_with_the_reason_the_child_gave(step: Step) -> None:
    line = failed(step, "the kernel refused: Device busy").encode() + b"\n"
    assert judge(step, line) == Failure(step, "the kernel refused: Device busy")


def test_the_end_of_the_output_is_a_death() -> None:
    assert judge(Step.LONG, b"") == Failure(Step.LONG, "the probe's process died")


def test_half_a_line_is_a_death_even_if_it_reads_like_a_pass() -> None:
    assert judge(Step.LONG, b"pass long") == Failure(Step.LONG, "the probe's process died")


@pytest.mark.parametrize(
    "line",
    [b"\n", b"pass real\n", b"pass long \n", b" pass long\n", b"fail real x\n", b"fail long \n", b"\xffpass long\n"],
)
def test_anything_else_is_garbage_and_counts_against_kvm(line: bytes) -> None:
    failure = judge(Step.LONG, line)
    assert failure is not None
    assert failure.reason.startswith("the probe answered garbage")


def test_garbage_is_shown_bounded_and_without_control_characters() -> None:
    failure = judge(Step.API, b"\x1b[31m" + b"A" * 10_000 + b"\n")
    assert failure is not None
    assert failure.reason.isprintable()
    assert len(failure.reason) < 120


@given(st.binary(max_size=80), st.sampled_from(Step))
def test_only_the_exact_line_passes(untrusted: bytes, step: Step) -> None:
    failure = judge(step, untrusted)
    assert (failure is None) == (untrusted == f"pass {step}\n".encode())
    assert failure is None or (failure.step is step and failure.reason.isprintable() and not failure.hung)


def test_a_reason_never_makes_more_than_one_line_within_the_limit() -> None:
    line = failed(Step.REAL, "two\nlines " + "x" * 2 * LINE_LIMIT)
    assert "\n" not in line
    assert len(line) < LINE_LIMIT


def test_a_verdict_names_the_step_that_failed() -> None:
    bad = verdict(Failure(Step.RING3, "no answer", hung=True), millis=7)
    assert (bad.usable, bad.step, bad.reason, bad.millis) == (False, Step.RING3, "no answer", 7)


def test_without_a_failure_kvm_is_usable() -> None:
    good = verdict(None, millis=7)
    assert (good.usable, good.step, good.millis) == (True, None, 7)


def test_each_step_can_be_told_to_a_person() -> None:
    assert len({step.what for step in Step}) == len(Step)
