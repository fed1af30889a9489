"""What `moorings bench` found out, as one document of plain data; tables are made from the document alone."""

from __future__ import annotations

import ssl
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from moorings.benchmarks.figures import Spread, spread
from moorings.benchmarks.processes import MALLOC_SETTINGS, ServerKind, machine
from moorings.benchmarks.tcp import AGAINST, INSTRUCTIONS, MIB, Measured, Plan, Scenario

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from moorings.benchmarks.processes import Sample
    from moorings.benchmarks.tcp import Contest

#: Changes with the shape of the document.
SCHEMA = 1
#: What `missing` names where Python has to do the generator's work.
GENERATOR = "the load generator in C"
#: Those of ours to which the tables of `ws` compare, and what stands above the column.
WEB_SOCKET_COLUMNS = (("event-uvloop", "events"), ("awaited-uvloop", "async for"), ("pure-awaited", "pure"))
Document = dict[str, Any]


def document(plan: Plan, measured: Measured, missing: Mapping[str, str]) -> Document:
    """Everything that was measured, and what a reader needs to know about it; times in µs, sizes in bytes."""
    whole: Document = {
        "schema": SCHEMA,
        "benchmark": plan.contest.name,
        "machine": machine(),
        "versions": _versions(plan.contest),
        "pairs": plan.pairs,
        "seconds": plan.seconds,
        "missing": dict(missing),
        "servers": [_server(kind, measured) for kind in plan.servers],
        "scenarios": [_scenario(scenario, plan, measured) for scenario in plan.scenarios],
        "idle_connections": measured.idle_connections,
        "memory": {name: {"rss": growth.rss, "pss": growth.pss} for name, growth in measured.growth.items()},
        "instructions": {
            name: {"mean": counted.mean, "runs": [counted.first, counted.second], "agree": counted.agree}
            for name, counted in measured.counted.items()
        },
    }
    if measured.deflate_growth:
        whole["memory_deflate"] = {name: {"rss": it.rss, "pss": it.pss} for name, it in measured.deflate_growth.items()}
    if measured.crowds:
        whole["crowds"] = {
            name: {"before": it.before * 1e6, "after": it.after * 1e6, "growth": it.growth}
            for name, it in measured.crowds.items()
        }
    return {key: rounded(value) for key, value in whole.items()}


def _versions(contest: Contest) -> dict[str, str]:
    found = {name: version_of(name) for name in ("moorings", *contest.libraries)}
    if contest.tls:
        found["OpenSSL"] = ssl.OPENSSL_VERSION.split()[1]
    return {name: number for name, number in found.items() if number}


def rounded(value: Any) -> Any:
    """Numbers with six digits; nothing here is known better."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        entries = cast("dict[str, Any]", value)
        return {key: rounded(entry) for key, entry in entries.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(entry) for entry in cast("list[Any]", value)]
    return value


def version_of(package: str) -> str:
    """The installed version, "" where there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _server(kind: ServerKind, measured: Measured) -> dict[str, Any]:
    mode = measured.modes.get(kind.name, "")
    return {"name": kind.name, "label": kind.label, "library": kind.library, "ours": kind.ours, "mode": mode}


def _scenario(scenario: Scenario, plan: Plan, measured: Measured) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    for kind in plan.servers:
        samples = measured.samples.get((scenario.name, kind.name), [])
        if samples:
            figures[kind.name] = _figures(scenario, samples) | {"peak": measured.peaks[scenario.name, kind.name]}
    ours = [kind.name for kind in plan.servers if kind.ours]
    return {
        "name": scenario.name,
        "title": scenario.title,
        "message": scenario.message,
        "request": scenario.request,
        "answer": scenario.answer,
        "connections": scenario.connections,
        "bulk": scenario.bulk,
        "figures": figures,
        "ratios": [
            _ratio(scenario, measured, mine, kind.name)
            for mine in ours
            for kind in plan.servers
            if not kind.ours and {mine, kind.name} <= set(figures)
        ],
    }


def _figures(scenario: Scenario, samples: Sequence[Sample]) -> dict[str, float]:
    def median(values: list[float]) -> float:
        return spread(values).median

    rate = median([sample.rate for sample in samples])
    return {
        "cpu": median([sample.cpu * 1e6 for sample in samples]),
        "rate": rate,
        "mib_per_second": rate * max(scenario.request, scenario.answer) / MIB,
        "p50": median([sample.p50 * 1e6 for sample in samples]),
        "p99": median([sample.p99 * 1e6 for sample in samples]),
        "busy": median([sample.busy for sample in samples]),
        "rounds": len(samples),
    }


def _ratio(scenario: Scenario, measured: Measured, ours: str, peer: str) -> dict[str, Any]:
    ratio, void = measured.ratio(scenario, ours, peer)
    return {
        "ours": ours,
        "peer": peer,
        "median": None if ratio is None else ratio.median,
        "quartiles": None if ratio is None else [ratio.low, ratio.high],
        "pairs": 0 if ratio is None else ratio.size,
        "void": void,
    }


class Table(NamedTuple):
    """A title, headings, and rows of text."""

    title: str
    headings: list[str]
    rows: list[list[str]]


def tables(results: Document) -> list[Table]:
    """A table for each scenario, then memory and instructions."""
    labels = {server["name"]: server["label"] for server in results["servers"]}
    columns = dict(AGAINST if results["benchmark"] != "ws" else WEB_SOCKET_COLUMNS)
    against = {name: short for name, short in columns.items() if name in labels}
    if not against:
        twins = {name.replace("uvloop", "asyncio"): short for name, short in columns.items()}
        against = {name: short for name, short in twins.items() if name in labels}
    found = [_scenario_table(scenario, labels, against) for scenario in results["scenarios"]]
    for key, what in (("memory", ""), ("memory_deflate", ", with permessage-deflate")):
        if results.get(key):
            title = f"Memory for each of {results['idle_connections']:,} idle connections{what}"
            rows = [
                [labels[name], f"{growth['rss'] / 1024:.2f}", f"{growth['pss'] / 1024:.2f}"]
                for name, growth in results[key].items()
            ]
            found.append(Table(title, ["server", "Rss KiB", "Pss KiB"], rows))
    if results.get("crowds"):
        found.append(_crowd_table(results["crowds"], labels))
    if results["instructions"]:
        rows = [
            [labels[name], f"{counted['mean']:,.0f}", "" if counted["agree"] else "two runs differ"]
            for name, counted in sorted(results["instructions"].items(), key=lambda item: item[1]["mean"])
        ]
        found.append(Table("User-space instructions for one echo of 64 B", ["server", "instructions", ""], rows))
    return found


def _crowd_table(crowds: Mapping[str, Mapping[str, float]], labels: Mapping[str, str]) -> Table:
    rows = [
        [
            labels[name],
            f"{crowd['before']:,.0f}",
            f"{crowd['after']:,.0f}",
            f"{crowd['after'] / crowd['before']:.2f}",
            f"{crowd['growth'] / MIB:.1f}",
        ]
        for name, crowd in crowds.items()
    ]
    headings = ["server", "p50 µs before", "p50 µs with them", "ratio", "growth MiB"]
    return Table("Clients that never read: what the others notice", headings, rows)


def _scenario_table(scenario: dict[str, Any], labels: Mapping[str, str], against: Mapping[str, str]) -> Table:
    ratios = {(entry["ours"], entry["peer"]): entry for entry in scenario["ratios"]}
    headings = ["server", f"CPU µs/{scenario['message']}", "MiB/s" if scenario["bulk"] else "per second"]
    headings += ["p50 µs", "p99 µs", "peak MiB", *(f"{short} / it" for short in against.values())]
    rows: list[list[str]] = []
    for name, figures in sorted(scenario["figures"].items(), key=lambda item: item[1]["cpu"]):
        rows.append(
            [
                labels[name],
                f"{figures['cpu']:,.2f}",
                f"{figures['mib_per_second' if scenario['bulk'] else 'rate']:,.0f}",
                f"{figures['p50']:,.0f}",
                f"{figures['p99']:,.0f}",
                f"{figures['peak'] / MIB:.1f}",
                *(_ratio_text(ratios.get((ours, name))) for ours in against),
            ]
        )
    return Table(scenario["title"], headings, rows)


def _ratio_text(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    if entry["median"] is None:
        return f"void ({entry['void']})"
    return str(Spread(entry["median"], entry["quartiles"][0], entry["quartiles"][1], entry["pairs"]))


def failures(results: Document) -> list[str]:
    """What could not be measured."""
    labels = {server["name"]: server["label"] for server in results["servers"]}
    lost = [
        f"{scenario['title']}: no pair counts, since a server was not busy; is the machine doing something else?"
        for scenario in results["scenarios"]
        if any(entry["median"] is None for entry in scenario["ratios"])
    ]
    differ = [
        f"instructions of {labels[name]}: two runs differ by more than a tenth"
        for name, counted in results["instructions"].items()
        if not counted["agree"]
    ]
    return lost + differ


def notes(results: Document) -> list[str]:
    """What a reader of the tables should know."""
    found = [
        f"{name} is missing, so {'Python takes the load on' if name == GENERATOR else 'what needs it is left out'} "
        f"({command})"
        for name, command in results["missing"].items()
    ]
    if any("(M)" in server["label"] for server in results["servers"]):
        settings = " ".join(f"{name}={value}" for name, value in MALLOC_SETTINGS.items())
        found.append(f"(M) servers ran with {settings}, which suits them better")
    if results["machine"]["processors"] < 2:
        found.append("one processor only: servers and generators share it, and the figures are worth little")
    pure = [
        server["label"]
        for server in results["servers"]
        if server["ours"] and not server["label"].endswith(", pure") and server["mode"] not in {"", "compiled"}
    ]
    if pure:
        found.append(f"{pure[0]} ran in pure Python; 'moorings doctor' says why")
    return found


def heading(results: Document) -> str:
    """Machine and versions in a line."""
    place = results["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    return (
        f"{place['processor']}, {place['processors']} processors, Linux {place['kernel']}, Python {place['python']}, "
        f"load {place['load_average']:.1f}, {place['time']}\n{versions}"
    )


def parts(contest: Contest, *, quick: bool, only: str, count: bool, extra: bool = False) -> tuple[str, ...]:
    """The parts of a run: by name or title with `only`, else all of them or those of a quick run.

    What a contest calls extra is among them where it is named, or with `extra`.
    """
    text = only.lower()
    if text in contest.parts:
        return (text,) if count or text != INSTRUCTIONS else ()
    names = [name for name, title in contest.parts.items() if text in name or text in title.lower()]
    slow = {scenario.name for scenario in contest.scenarios if not scenario.quick} | {INSTRUCTIONS}
    if quick and not only:
        names = [name for name in names if name not in slow]
    elif not only and not extra:
        names = [name for name in names if not contest.extra(name)]
    return tuple(name for name in names if count or name != INSTRUCTIONS)
