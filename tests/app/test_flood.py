"""A crowd is served, however large; a flood is one after three batches and a quarter of a second."""

import pytest

from app.flood import Flood


def after(*batches: tuple[int, int], batch_s: float = 0.1) -> Flood:
    """(came, went) from each batch to the next, all of them equally long; who comes does so at once."""
    flood = Flood()
    for number, (came, went) in enumerate(batches):
        for _ in range(came):
            flood.note_came(now_s=1000 + number * batch_s)
        flood.note_went(went, now_s=1000 + (number + 1) * batch_s)
    return flood


@pytest.mark.parametrize(
    ("batches", "is_on"),
    [
        pytest.param([(4, 1)] * 3, True, id="four times as many, three times"),
        pytest.param([(4, 1)] * 2, False, id="only twice"),
        pytest.param([(3, 1)] * 50, False, id="three times as many"),
        pytest.param([(7, 2)] * 50, False, id="not four times a batch of two"),
        pytest.param([(8, 2)] * 3, True, id="four times a batch of two"),
        pytest.param([(500, 1), *[(1, 1)] * 50], False, id="a crowd that came at once and waits"),
        pytest.param([(4, 1), (4, 1), (3, 1), (4, 1)], False, id="with a pause"),
        pytest.param([*[(10, 1)] * 50, (0, 1)], False, id="when it is over"),
    ],
)
def test_it_is_one_while_far_more_come_than_go(batches: list[tuple[int, int]], is_on: bool) -> None:
    assert after(*batches).is_on is is_on


@pytest.mark.parametrize(("batches", "is_on"), [(24, False), (26, True)])
def test_it_takes_a_quarter_of_a_second_however_short_batches_are(batches: int, is_on: bool) -> None:
    assert after(*[(10, 1)] * batches, batch_s=0.01).is_on is is_on
    assert after(*[(0, 1)] * 1000, *[(10, 1)] * batches, batch_s=0.01).is_on is is_on, "after a calm"
