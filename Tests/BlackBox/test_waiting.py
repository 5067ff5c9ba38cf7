"""What a test waits for comes, or it is said what did not, and what was there instead."""

import types

import pytest

from waiting import wait_for, wait_for_words


def test_what_was_seen_is_returned_as_soon_as_it_is_right():
    seen = iter([0, 1, 2, 3])
    assert wait_for("two", lambda: next(seen), lambda number: number == 2, pause=0) == 2
    assert next(seen) == 3


def test_what_does_not_come_is_named_with_what_was_seen_last():
    seen = iter(range(1000000))
    with pytest.raises(AssertionError, match=r"not there within 0.05 s: a goat; seen last: \d+$"):
        wait_for("a goat", lambda: next(seen), lambda _: False, seconds=0.05, pause=0.01)


def test_nothing_is_waited_for_that_cannot_come_any_more_and_the_last_words_count():
    process = types.SimpleNamespace(text=lambda: "first word\nlast word\n", has_ended=lambda: True)
    assert wait_for_words(process, "word", count=2).startswith("first")
    with pytest.raises(AssertionError, match="(?s)nothing can come any more: 'other' in a log; seen last: first word"):
        wait_for_words(process, "other")
