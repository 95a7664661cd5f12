"""What a process and its children cost: processor time and resident memory, from /proc."""

import os
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """The process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := _stat(int(entry))):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, pending = [], [root]
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the tree so far, ended threads included."""
    ticks = 0
    for pid in tree(root):
        if fields := _stat(pid):
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def reset_peak(root: int) -> None:
    """Starts the peak of resident memory anew at what is resident now."""
    for pid in tree(root):
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_bytes(root: int) -> int:
    """The peak of resident memory, summed over the tree; pages that are shared count in each process."""
    return _memory(root, "VmHWM:")


def resident_bytes(root: int) -> int:
    """Resident memory now, summed over the tree."""
    return _memory(root, "VmRSS:")


def _memory(root: int, key: str) -> int:
    total = 0
    for pid in tree(root):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith(key):
                total += int(line.split()[1]) * 1024
    return total


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat after the name, which may hold spaces; None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def mb(size: int) -> str:
    """Bytes in words."""
    return f"{size / 2**20:.1f} MB"
