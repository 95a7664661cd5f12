"""Exact sliding windows: what they admit, and whether what was admitted keeps to them. Pure."""

from bisect import bisect_left, insort
from collections import deque


def admitted_by_log(times: list[float], limit: int, window: float) -> int:
    """Of requests at these rising times, how many a log of those admitted lets through."""
    log: deque[float] = deque()
    count = 0
    for at in times:
        while log and log[0] <= at - window:
            log.popleft()
        if len(log) < limit:
            log.append(at)
            count += 1
    return count


def most_in_a_window(times: list[float], window: float) -> int:
    """The most of these rising times that are less than a window apart."""
    most = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - window:
            first += 1
        most = max(most, last - first + 1)
    return most


def most_surely_in_a_window(spans: list[tuple[float, float]], window: float) -> int:
    """The most that were in one window, of events of which only spans are known that they happened in: whatever the truth
    is, no fewer were."""
    most, ends, falling = 0, [], sorted(spans, reverse=True)
    for begin, end in falling:
        insort(ends, end)
        most = max(most, bisect_left(ends, begin + window))
    return most
