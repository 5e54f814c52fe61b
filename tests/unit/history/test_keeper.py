"""How the keeper hands the rows of a chunk to its thread."""

from collections import deque

from flashback_async.history import keeper


def test_each_part_is_forgotten_and_followed_by_a_pause_before_the_next(monkeypatch):
    pauses = []
    parts = deque([["a"], ["b"], ["c"]])
    monkeypatch.setattr(keeper.time, "sleep", lambda _: pauses.append(len(parts)))
    assert [(part, len(parts), len(pauses)) for part in keeper._one_by_one(parts)] == [
        (["a"], 2, 0),
        (["b"], 1, 1),
        (["c"], 0, 2),
    ]
    assert pauses == [2, 1, 0]
