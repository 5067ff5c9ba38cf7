"""Waiting for what comes by itself, some time after whatever brought it about.

Only what fails waits for as long as the bounds say, so these are for the slowest machine there is, and no measure of speed.
"""

import time

SECONDS = 120
# Of what was seen last, as much as a person reads: the end, as logs grow there.
SHOWN = 3000


def wait_for(what, look, condition=bool, seconds=SECONDS, pause=0.1, over=lambda: False):
    """Looks until what it sees is as it has to be; returns that.

    what: what is waited for, for whoever reads that it did not come.
    look: returns what is to be seen.
    over: whether nothing can come any more, as for a process that has ended.
    """
    deadline = time.monotonic() + seconds
    while True:
        # Asked first: what came until then is seen.
        reason = "and nothing can come any more" if over() else f"within {seconds} s" if time.monotonic() > deadline else None
        seen = look()
        if condition(seen):
            return seen
        if reason:
            raise AssertionError(f"not there {reason}: {what}; seen last: {str(seen)[-SHOWN:]}")
        time.sleep(pause)


def wait_for_words(process, words, count=1, seconds=SECONDS):
    """Waits until a process has said something so often, in its log; returns the log."""
    return wait_for(
        f"{words!r} in a log", process.text, lambda text: text.count(words) >= count, seconds, over=process.has_ended)
