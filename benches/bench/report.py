"""From turns to figures: medians, spreads, ratios taken round by round, warnings, and the tables."""

from statistics import median

FIGURES = ("cpu_us", "requests_per_second", "p50_ms", "p99_ms", "peak_rss_mb")
STORE_FIGURES = (
    "changes_per_second", "reads_per_second", "sent_per_request", "run_per_request", "redis_us",
)
RATIOS = ("cpu_us", "requests_per_second", "p99_ms")
# Past these the figures of a scenario are marked: the ratios still hold, the absolute ones less so.
BUSY_SHARE = 0.10
STEAL_SHARE = 0.02
WIDE_SPREAD = 0.15

HEADINGS = ("proxy", "CPU µs/req", "spread", "req/s", "p50 ms", "p99 ms", "peak RSS MB", "errors")


def summarise(scenario, turns: dict[str, list[dict]]) -> dict:
    """All figures of one scenario. The first proxy is the one the others are compared with."""
    subject, *others = turns
    return {
        "name": scenario.name,
        "about": scenario.about,
        "proxies": {name: _figures(rounds) for name, rounds in turns.items()},
        "ratios": {other: _ratios(turns[subject], turns[other]) for other in others},
        "subject": subject,
        "reference": scenario.reference,
        "warnings": _warnings(turns),
    }


def _figures(rounds: list[dict]) -> dict:
    errors: dict[str, int] = {}
    for turn in rounds:
        for kind, count in turn["errors"].items():
            errors[kind] = errors.get(kind, 0) + count
    figures = {figure: median(turn[figure] for turn in rounds) for figure in FIGURES}
    figures["peak_rss_mb"] = max(turn["peak_rss_mb"] for turn in rounds)
    for figure in STORE_FIGURES:
        if figure in rounds[0]:
            figures[figure] = median(turn[figure] for turn in rounds)
    if "of_reference" in rounds[0]:
        shares = [turn["of_reference"] for turn in rounds]
        figures["of_reference"] = {"median": median(shares), "low": min(shares), "high": max(shares)}
    return figures | {"spread": _spread(rounds), "errors": errors, "rounds": rounds}


def _spread(rounds: list[dict]) -> float:
    """The width between the dearest and the cheapest round, as a share of the median one."""
    costs = [turn["cpu_us"] for turn in rounds]
    return (max(costs) - min(costs)) / max(median(costs), 1e-9)


def _ratios(subject: list[dict], other: list[dict]) -> dict:
    """The median over rounds of subject to other, with the lowest and the highest."""
    found = {}
    for figure in RATIOS:
        pairs = [own[figure] / max(its[figure], 1e-9) for own, its in zip(subject, other, strict=True)]
        found[figure] = {"median": median(pairs), "low": min(pairs), "high": max(pairs)}
    return found


def _warnings(turns: dict[str, list[dict]]) -> list[str]:
    every = [turn for rounds in turns.values() for turn in rounds]
    found = []
    busy = [turn["other"] for turn in every if turn["other"] > BUSY_SHARE]
    if busy:
        found.append(f"other work took up to {max(busy):.0%} of the machine in {len(busy)} of {len(every)} turns")
    stolen = [turn["steal"] for turn in every if turn["steal"] > STEAL_SHARE]
    if stolen:
        found.append(f"the hypervisor took up to {max(stolen):.0%} in {len(stolen)} of {len(every)} turns")
    for name, rounds in turns.items():
        if (spread := _spread(rounds)) > WIDE_SPREAD:
            found.append(f"{name}: rounds differ by {spread:.0%} in CPU per request")
    return found


def failures(document: dict) -> list[str]:
    """One line for each proxy that had errors under load."""
    return [
        f"{scenario['name']}: {name}: {_errors(figures['errors'])}"
        for scenario in document["scenarios"]
        for name, figures in scenario["proxies"].items()
        if figures["errors"]
    ]


def text(scenario: dict) -> str:
    """The table of one scenario, for a terminal."""
    lines = [f"{scenario['name']}: {scenario['about']}", aligned(HEADINGS, _rows(scenario))]
    lines += [f"  {line}" for line in _comparisons(scenario)]
    lines += [f"  WARNING: {warning}" for warning in scenario["warnings"]]
    return "\n".join(lines) + "\n"


def aligned(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table for a terminal: the first column is text, the others are figures."""
    every = [headings, *rows]
    widths = [max(len(row[column]) for row in every) for column in range(len(headings))]
    lines = []
    for row in every:
        figures = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))
        lines.append("  " + "  ".join([row[0].ljust(widths[0]), *figures]))
    return "\n".join(lines)


def _rows(scenario: dict) -> list[tuple[str, ...]]:
    return [
        (
            name,
            f"{figures['cpu_us']:.1f}",
            f"{figures['spread']:.0%}",
            f"{figures['requests_per_second']:.0f}",
            f"{figures['p50_ms']:.2f}",
            f"{figures['p99_ms']:.2f}",
            f"{figures['peak_rss_mb']:.1f}",
            _errors(figures["errors"]),
        )
        for name, figures in scenario["proxies"].items()
    ]


def _errors(errors: dict[str, int]) -> str:
    return ", ".join(f"{kind} {count}" for kind, count in errors.items()) or "0"


def _comparisons(scenario: dict) -> list[str]:
    lines = []
    for other, ratios in scenario["ratios"].items():
        cpu = ratios["cpu_us"]
        lines.append(
            f"{scenario['subject']} to {other}: CPU per request {cpu['median']:.2f} "
            f"({cpu['low']:.2f} to {cpu['high']:.2f}), requests/s {ratios['requests_per_second']['median']:.2f}, "
            f"p99 {ratios['p99_ms']['median']:.2f}"
        )
    for name, figures in scenario["proxies"].items():
        if "of_reference" in figures:
            share = figures["of_reference"]
            lines.append(
                f"{name}: CPU per request {share['median']:.2f} ({share['low']:.2f} to {share['high']:.2f}) "
                f"of its own {scenario['reference']}"
            )
        if "reads_per_second" in figures:
            lines.append(
                f"{name}: {figures['changes_per_second']:.0f} routes changed a second, "
                f"{figures['reads_per_second']:.0f} hosts read from Redis a second"
            )
        if "sent_per_request" in figures:
            lines.append(
                f"{name}: {figures['sent_per_request']:.4f} commands to Redis a request "
                f"({figures['run_per_request']:.4f} with those that scripts call), "
                f"{figures['redis_us']:.1f} µs of Redis's processor a request"
            )
    return lines


def markdown(document: dict) -> str:
    """The document as a section for docs/BENCHMARKS.md."""
    lines = [*_setting(document)]
    for scenario in document["scenarios"]:
        lines += ["", f"### {scenario['name']}", "", f"{scenario['about']}.", ""]
        lines += table(HEADINGS, _rows(scenario))
        lines += ["", *[f"- {line}" for line in _comparisons(scenario)]]
        lines += [f"- Warning: {warning}" for warning in scenario["warnings"]]
    return "\n".join(lines) + "\n"


def _setting(document: dict) -> list[str]:
    machine = document["machine"]
    said = [f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mb']} MB, Linux {machine['kernel']}"]
    said += [version for version in machine["versions"].values() if version]
    options = document["options"]
    lines = [f"Taken {document['taken']}, {options['rounds']} rounds of {options['seconds']} s.", ""]
    return lines + [f"- {line}" for line in said]


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table: the first column is text, the others are figures."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return [f"| {' | '.join(row)} |" for row in (headings, rule, *rows)]
