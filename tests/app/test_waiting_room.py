"""The waiting room: bounded, in order, and honest about when to come again."""

import threading
import time

import numpy as np
import pytest

from app.errors import NotReady, Overloaded
from app.waiting_room import Depth, Ticket, WaitingRoom
from model.contract import Decision


def ticket(
    pixels: int = 100, *, decision: Decision | None = None, want_probabilities: bool = False
) -> Ticket:
    image = np.zeros((1, pixels, 3), np.uint8)
    return Ticket(image, decision=decision, want_probabilities=want_probabilities)


def room(*tickets: Ticket, waiting_pixels: int = 1000, max_wait_s: float = 60.0) -> WaitingRoom:
    made = WaitingRoom(waiting_pixels=waiting_pixels, max_wait_s=max_wait_s)
    for one in tickets:
        made.enter(one)
    return made


def test_who_came_first_is_taken_first_up_to_the_budget() -> None:
    first, second, third = ticket(100), ticket(100), ticket(100)
    waiting = room(first, second, third)
    assert waiting.take(budget_px=200, gather_s=0) == [first, second]
    assert waiting.depth == Depth(requests=1, pixels=100)
    assert waiting.take(budget_px=200, gather_s=0) == [third]


def test_an_image_beyond_the_budget_goes_alone() -> None:
    large, small = ticket(500), ticket(1)
    waiting = room(large, small)
    assert waiting.take(budget_px=200, gather_s=0) == [large]
    assert waiting.take(budget_px=0, gather_s=0) == [small]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"decision": Decision(weights=(1.0, 2.0))}, id="another decision"),
        pytest.param({"want_probabilities": True}, id="probabilities wanted"),
    ],
)
def test_who_does_not_go_with_the_first_keeps_his_place(other: dict[str, bool | Decision]) -> None:
    first, passed_over, third = ticket(), ticket(**other), ticket()  # type: ignore[arg-type]
    last = ticket(500, **other)  # type: ignore[arg-type]
    waiting = room(first, passed_over, third, last)
    assert waiting.take(budget_px=200, gather_s=0) == [first, third]
    assert waiting.depth == Depth(requests=2, pixels=600)
    assert waiting.take(budget_px=600, gather_s=0) == [passed_over, last]


def test_equal_decisions_go_together() -> None:
    tickets = [ticket(decision=Decision(weights=(1.0, 2.0))) for _ in range(2)]
    assert room(*tickets).take(budget_px=1000, gather_s=0) == tickets


def test_a_full_room_refuses_and_a_place_given_up_is_free_again() -> None:
    first, second = ticket(600), ticket(400)
    waiting = room(first, second, waiting_pixels=1000)
    with pytest.raises(Overloaded, match=r"2 images of 0\.0 megapixels wait already"):
        waiting.enter(ticket(1))
    waiting.leave(first)
    waiting.leave(first)
    waiting.enter(ticket(600))
    assert waiting.depth == Depth(requests=2, pixels=1000)


def test_an_image_larger_than_the_room_is_let_in_where_nothing_waits() -> None:
    waiting = room(ticket(5000), waiting_pixels=1000)
    with pytest.raises(Overloaded):
        waiting.enter(ticket(1))


@pytest.mark.parametrize(
    ("entering_px", "retry_after"),
    [
        # 900 px wait, 1000 may: of 300 px more, 200 are too many, done in 200 / 100 = 2 s.
        pytest.param(300, "2", id="whole seconds"),
        pytest.param(301, "3", id="rounded up"),
        pytest.param(101, "1", id="at least one"),
    ],
)
def test_retry_after_is_when_there_is_room_at_the_speed_measured(entering_px: int, retry_after: str) -> None:
    waiting = room(ticket(900), waiting_pixels=1000)
    waiting.note_speed(500, busy_s=5.0)
    with pytest.raises(Overloaded, match=f"come again in {retry_after} s") as refused:
        waiting.enter(ticket(entering_px))
    assert refused.value.headers == {"Retry-After": retry_after}


def test_who_would_wait_too_long_is_refused_although_there_is_room() -> None:
    """At 100 px/s, 600 px that wait and 300 px that are computed take 9 s: 4 s more than allowed."""
    waiting = room(ticket(300), ticket(600), waiting_pixels=10_000, max_wait_s=5.0)
    waiting.note_speed(100, busy_s=1.0)
    waiting.take(budget_px=300, gather_s=0)
    with pytest.raises(Overloaded) as refused:
        waiting.enter(ticket(1))
    assert refused.value.headers == {"Retry-After": "4"}
    waiting.finish()
    with pytest.raises(Overloaded) as refused:
        waiting.enter(ticket(1), max_wait_s=2.0)
    assert refused.value.headers == {"Retry-After": "4"}
    waiting.note_speed(200, busy_s=1.0, afresh=True)
    waiting.enter(ticket(1))


def test_the_speed_forgets_slowly_or_at_once() -> None:
    waiting = room()
    assert waiting.px_per_s == 0.0
    waiting.note_speed(100, busy_s=1.0)
    assert waiting.px_per_s == 100.0
    waiting.note_speed(280, busy_s=0.2)
    assert waiting.px_per_s == pytest.approx((0.8 * 100 + 280) / (0.8 * 1.0 + 0.2))
    waiting.note_speed(50, busy_s=1.0, afresh=True)
    assert waiting.px_per_s == 50.0


def test_who_cancelled_is_not_taken_and_his_pixels_are_free() -> None:
    gone, there = ticket(600), ticket(400)
    waiting = room(gone, there)
    gone.answer.cancel()
    assert waiting.take(budget_px=400, gather_s=0) == [there]
    assert waiting.depth == Depth(requests=0, pixels=0)


def test_a_closed_room_lets_nobody_in_and_is_served_to_the_end() -> None:
    last = ticket()
    waiting = room(last)
    waiting.close()
    with pytest.raises(NotReady, match="stopping"):
        waiting.enter(ticket())
    assert waiting.wait()
    assert waiting.take(budget_px=1, gather_s=60) == [last], "and nobody is waited for"
    assert not waiting.wait()


def test_a_cleared_room_tells_who_still_wants_an_answer() -> None:
    gone, there = ticket(), ticket()
    waiting = room(gone, there)
    gone.answer.cancel()
    assert waiting.clear() == [there]
    assert waiting.depth == Depth(requests=0, pixels=0)


def test_a_batch_is_taken_as_soon_as_it_is_full() -> None:
    waiting = room(ticket(100))
    taken: list[Ticket] = []
    worker = threading.Thread(target=lambda: taken.extend(waiting.take(budget_px=300, gather_s=60)))
    worker.start()
    for _ in range(2):
        waiting.enter(ticket(100))
    worker.join(10)
    assert len(taken) == 3


def test_a_first_ticket_that_waited_long_enough_waits_for_nobody() -> None:
    early = Ticket(np.zeros((1, 1, 3), np.uint8), entered_s=0.0)
    assert room(early).take(budget_px=300, gather_s=0.001) == [early]


def test_when_all_have_left_while_more_was_hoped_for_the_batch_is_empty() -> None:
    only = ticket()
    waiting = room(only)
    waiting.leave(only)
    assert waiting.take(budget_px=300, gather_s=60) == []


def flooded(*, px_per_s: float) -> WaitingRoom:
    """Of three images of 100 px judged in 0.3 s, five came for each; twelve wait."""
    waiting = room(waiting_pixels=100_000)
    waiting.note_speed(100, busy_s=100 / px_per_s)
    for _ in range(3):
        for _ in range(5):
            waiting.check(1)
            waiting.enter(ticket(100))
        waiting.take(budget_px=100, gather_s=0)
        time.sleep(0.1)
        waiting.finish()
    assert waiting.depth.requests == 12
    return waiting


def test_in_a_flood_nobody_waits_for_more_than_one_and_a_half_images() -> None:
    """At 1000 px/s an image of 100 px takes 0.1 s, so 0.15 s may pass; one of 2000 px may wait for 3 s."""
    waiting = flooded(px_per_s=1000)
    with pytest.raises(Overloaded) as refused:
        waiting.enter(ticket(100))
    # 1200 px wait and 150 may: 1050 px take 1.05 s.
    assert refused.value.headers == {"Retry-After": "2"}
    waiting.enter(ticket(2000))


def test_in_a_flood_who_waited_too_long_is_sent_away_but_for_the_last() -> None:
    waiting = flooded(px_per_s=1e9)
    late = list(waiting._line)  # for 0.1 s at least; 0.02 s are granted to everybody
    assert waiting.take(budget_px=1000, gather_s=0) == late[-1:]
    for one in late[:-1]:
        with pytest.raises(Overloaded, match=r"1 images of 0\.0 megapixels wait already"):
            one.answer.result(timeout=0)
    assert waiting.depth == Depth(requests=0, pixels=0)


def test_when_a_flood_is_over_one_may_wait_for_long_again() -> None:
    waiting = flooded(px_per_s=1000)
    waiting.take(budget_px=100, gather_s=0)
    waiting.finish()
    for _ in range(50):
        waiting.enter(ticket(100))
