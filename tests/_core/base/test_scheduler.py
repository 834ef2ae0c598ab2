"""Deficit round robin: whose turn it is. Costs are integers."""

from __future__ import annotations

from collections import Counter

from inferd._core.base.scheduler import Flow, Scheduler

QUANTUM = 100


def turns(scheduler: Scheduler, cost: dict[Flow, int], count: int, *, more: bool = True) -> list[Flow]:
    """So many turns, each as long as the flow's always are."""
    taken = []
    for _ in range(count):
        flow = scheduler.next()
        assert flow is not None
        scheduler.charge(flow, cost[flow], more)
        taken.append(flow)
    return taken


def test_flows_share_time_alike_whatever_a_turn_of_theirs_takes() -> None:
    scheduler, cost = Scheduler(QUANTUM), {Flow(): 10, Flow(): 100, Flow(): 250}
    for flow in cost:
        scheduler.add(flow)
    spent: Counter[int] = Counter()
    for flow in turns(scheduler, cost, 30_000):
        spent[cost[flow]] += cost[flow]
    assert max(spent.values()) < 1.01 * min(spent.values())


def test_a_flow_that_has_just_got_work_goes_before_a_thousand_that_have_used_up_theirs() -> None:
    scheduler, light = Scheduler(QUANTUM), Flow()
    scheduler.add(light)
    turns(scheduler, {light: 5}, 1, more=False)
    cost = {Flow(): QUANTUM for _ in range(1000)}
    for flow in cost:
        scheduler.add(flow)
    turns(scheduler, cost, 3000)  # by then each has had its quantum
    for _ in range(50):
        scheduler.add(light)
        waited = 0
        while (flow := scheduler.next()) is not light:
            assert flow is not None
            scheduler.charge(flow, QUANTUM, True)
            waited += 1
        scheduler.charge(light, 5, False)
        assert waited <= 1


def test_a_flow_that_begins_waits_behind_those_with_credit() -> None:
    scheduler, known, fresh = Scheduler(QUANTUM), Flow(), [Flow() for _ in range(3)]
    scheduler.add(known)
    turns(scheduler, {known: 5}, 1, more=False)
    for flow in (*fresh, known):
        scheduler.add(flow)
    assert turns(scheduler, dict.fromkeys((*fresh, known), 5), 4, more=False) == [known, *fresh]


def test_flows_that_come_and_go_do_not_starve_the_others() -> None:
    scheduler, heavy, light = Scheduler(QUANTUM), Flow(), [Flow() for _ in range(100)]
    for flow in light:
        scheduler.add(flow)
    turns(scheduler, dict.fromkeys(light, 5), 100, more=False)
    scheduler.add(heavy)
    turns(scheduler, {heavy: QUANTUM}, 1)
    had = 0
    for number in range(1000):
        scheduler.add(light[number % 100])
        flow = scheduler.next()
        assert flow is not None
        had += flow is heavy
        scheduler.charge(flow, 20, flow is heavy)
    assert had >= 1000 // 6, "a turn for each quantum that others used"


def test_a_debt_stays_when_a_flow_has_no_work_for_a_while() -> None:
    scheduler, greedy, other = Scheduler(QUANTUM), Flow(), Flow()
    scheduler.add(greedy)
    turns(scheduler, {greedy: 50 * QUANTUM}, 1, more=False)
    scheduler.add(greedy)
    scheduler.add(other)
    assert turns(scheduler, {greedy: 1, other: QUANTUM}, 20) == [other] * 20


def test_large_debts_of_many_are_passed_a_part_at_a_time() -> None:
    scheduler, flows = Scheduler(QUANTUM), [Flow() for _ in range(1500)]
    for flow in flows:
        scheduler.add(flow)
    turns(scheduler, dict.fromkeys(flows, 3 * QUANTUM), len(flows))
    found = [scheduler.next() for _ in range(4)]
    assert found[0] is None, "1,000 were passed"
    assert scheduler.has_work()
    assert found[-1] is not None


def test_a_flow_waits_once_however_often_it_is_added() -> None:
    scheduler, flow = Scheduler(QUANTUM), Flow()
    assert scheduler.next() is None
    for _ in range(3):
        scheduler.add(flow)
    assert scheduler.next() is flow
    scheduler.add(flow)
    assert not scheduler.has_work(), "it has its turn now"
    scheduler.charge(flow, 1, False)
    assert scheduler.next() is None
