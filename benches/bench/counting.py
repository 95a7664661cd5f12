"""What counting requests costs in Redis: commands, and processor time."""

from dataclasses import dataclass

from . import measure, store

# Called by the scripts of cjs-proxy alone: what they call is no command that was sent. A command that is missing here
# counts as sent.
_OF_SCRIPTS = frozenset(
    f"cmdstat_{name}" for name in (
        "del", "hdel", "hget", "hincrby", "hmget", "hset", "pexpire", "time", "zadd", "zcard", "zremrangebyscore",
    )
)


@dataclass(frozen=True)
class Reading:
    """What Redis has done so far."""

    sent: int
    """Commands that came to it, those of other purposes included."""
    run: int
    """The same, with those that scripts have called."""
    cpu_seconds: float

    def per_request(self, before: "Reading", requests: int) -> dict[str, float]:
        requests = max(requests, 1)
        return {
            "sent_per_request": (self.sent - before.sent) / requests,
            "run_per_request": (self.run - before.run) / requests,
            "redis_us": (self.cpu_seconds - before.cpu_seconds) * 1e6 / requests,
        }


def read(port: int, pid: int) -> Reading:
    calls = store.calls(port)
    sent = sum(count for name, count in calls.items() if name not in _OF_SCRIPTS)
    return Reading(sent, sum(calls.values()), measure.cpu_seconds(pid))
