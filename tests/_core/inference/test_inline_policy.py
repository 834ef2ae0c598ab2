"""The policy of inline models, with integers."""

from __future__ import annotations

from inferd._core.inference.inline_policy import FIRST_RETURN_RUNS, HELD_NS, MAX_PAUSE_LIMITS, MAX_RETURN_RUNS, WINDOW_NS, InlinePolicy

LIMIT_NS = 100_000


def runs_until_it_leaves(policy: InlinePolicy, durations_ns: list[int], gap_ns: int = 1_000_000) -> int | None:
    """How many runs it takes; None if it stays."""
    now_ns = 0
    for count, run_ns in enumerate(durations_ns, 1):
        now_ns += run_ns + gap_ns
        if policy.overrun(run_ns, now_ns):
            return count
    return None


def test_admission() -> None:
    policy = InlinePolicy(LIMIT_NS, 0.5)
    assert policy.admits(LIMIT_NS)
    assert not policy.admits(LIMIT_NS + 1)


def test_short_runs_stay() -> None:
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), [LIMIT_NS] * 10_000) is None


def test_slow_runs_leave_within_a_few() -> None:
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), [10**7] * 10) == 2
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), [LIMIT_NS + 1] * 10, gap_ns=0) == 8


def test_a_run_after_a_pause_may_take_longer() -> None:
    """A few requests a second find nothing of the model in the caches; on a thread they would find no more."""
    cold = [int(1.5 * LIMIT_NS)] * 1000
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), cold, gap_ns=5_000_000) is None
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), cold, gap_ns=100_000) == 6
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 1.0), [LIMIT_NS + 100_000] * 10, gap_ns=1_600_000) is None
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 1.0), [LIMIT_NS + 100_001] * 10, gap_ns=1_600_000) == 8
    most = (1 + MAX_PAUSE_LIMITS) * LIMIT_NS
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), [most] * 1000, gap_ns=WINDOW_NS) is None
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), [most + 1] * 1000, gap_ns=WINDOW_NS) == 8, "a pause is worth so much at most"


def test_one_run_that_holds_the_loop_up_is_enough() -> None:
    policy = InlinePolicy(LIMIT_NS, 0.5)
    assert policy.overrun(HELD_NS - 1, HELD_NS) == ""
    policy = InlinePolicy(LIMIT_NS, 0.5)
    assert policy.overrun(5 * HELD_NS, 5 * HELD_NS) == "a run held it up for 500 ms"
    assert policy.return_runs == 2 * FIRST_RETURN_RUNS
    allowed = InlinePolicy(2 * HELD_NS, 1.0)
    assert runs_until_it_leaves(allowed, [2 * HELD_NS] * 10, gap_ns=0) is None, "a run within the limit is what was asked for"


def test_an_interrupted_run_now_and_then_changes_nothing() -> None:
    interrupted = ([20_000] * 29 + [4_000_000]) * 1000
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), interrupted, gap_ns=10_000_000) is None


def test_one_slow_run_in_ten_is_too_many() -> None:
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), ([20_000] * 9 + [4_000_000]) * 100, gap_ns=10_000_000) is not None


def test_the_reason_names_the_limit() -> None:
    policy = InlinePolicy(LIMIT_NS, 0.5)
    policy.overrun(10**7, 1)
    assert policy.overrun(10**7, 2) == "its runs take longer than 100 us"


def test_a_busy_loop_is_left_after_a_window() -> None:
    policy = InlinePolicy(LIMIT_NS, 0.5)
    now_ns = 0
    reason = ""
    while not reason and now_ns < 10 * WINDOW_NS:
        now_ns += 100_000
        reason = policy.overrun(60_000, now_ns)
    assert reason == "its runs fill 60 % of the event loop's time"
    assert WINDOW_NS <= now_ns <= 2 * WINDOW_NS + 200_000
    assert runs_until_it_leaves(InlinePolicy(LIMIT_NS, 0.5), [40_000] * 100_000, gap_ns=60_000) is None


def back(policy: InlinePolicy, run_ns: int, gap_ns: int = 1_000_000, most: int = 200_000) -> int | None:
    """How many runs on a thread it takes until the model may return; None if it may not."""
    now_ns = 0
    for count in range(1, most + 1):
        now_ns += run_ns + gap_ns
        if policy.recovered(run_ns, now_ns):
            return count
    return None


def test_it_returns_only_well_within_the_limit() -> None:
    half = (LIMIT_NS + 160_000 // 16) // 2
    assert back(InlinePolicy(LIMIT_NS, 1.0), half, gap_ns=160_000) == FIRST_RETURN_RUNS
    assert back(InlinePolicy(LIMIT_NS, 1.0), half + 1, gap_ns=160_000, most=10_000) is None
    assert back(InlinePolicy(LIMIT_NS, 0.5), LIMIT_NS, gap_ns=5_000_000) == FIRST_RETURN_RUNS, "runs after pauses"


def test_it_returns_only_when_its_share_is_small() -> None:
    assert back(InlinePolicy(LIMIT_NS, 0.5), 40_000, gap_ns=40_000, most=10_000) is None
    assert back(InlinePolicy(LIMIT_NS, 0.5), 40_000, gap_ns=160_000) == FIRST_RETURN_RUNS


def test_a_slow_phase_is_forgotten() -> None:
    policy = InlinePolicy(LIMIT_NS, 0.5)
    assert back(policy, LIMIT_NS, most=5000) is None
    assert back(policy, 20_000) == FIRST_RETURN_RUNS


def test_each_time_it_leaves_the_return_takes_twice_as_long() -> None:
    policy = InlinePolicy(LIMIT_NS, 0.5)
    for expected in (2 * FIRST_RETURN_RUNS, 4 * FIRST_RETURN_RUNS):
        assert runs_until_it_leaves(policy, [10**7] * 2) == 2
        assert back(policy, 20_000) == expected
    for _ in range(20):
        runs_until_it_leaves(policy, [10**9] * 2)
    assert policy.return_runs == MAX_RETURN_RUNS


def test_runs_within_the_limit_pay_the_debt_back() -> None:
    policy = InlinePolicy(limit_ns=100_000, busy_share=0.5)
    assert policy.debt == 0
    assert not policy.overrun(150_000, 1)
    assert policy.debt == 1.5
    for now_ns in range(2, 8):
        assert not policy.overrun(10_000, now_ns)
    assert policy.debt == 0
