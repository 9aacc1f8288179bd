"""The record of a benchmark: the machine, Markdown tables, and one figure."""

import datetime
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kdescent_dist.identity.versions import versions

Row = dict[str, Any]

TITLES = {
    "counts": "Counts: value and gradient in samples and weights",
    "fits": "Fits of the tutorials",
    "pretrain": "Pretraining",
    "bins": "Conditional bins with soft edges: value and gradient in the parameters",
    "keops": "Against KeOps",
    "memory": "Temporary memory: value and gradient of KDE + Fourier in 3-D",
    "collectives": "Collectives of one step, from the compiled program",
    "scale": "Time and memory against the number of samples",
}
# What the targets of a row are about, and whether less is better; by default the ratio.
MEASURES = {"memory": ("ours_bytes", True), "scale": ("added_bytes", True)}


def machine() -> Row:
    """Where and when, and how busy the machine was before the benchmark."""
    names = ("kdescent-dist", "jax", "jaxlib", "numpy", "diffopt", "pykeops")
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "platform": platform.platform(),
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "load_average": os.getloadavg(),
        "versions": versions(names),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    return fields.get("model name") or platform.processor() or platform.machine()


def finish(rows: list[Row]) -> None:
    """Add what follows from all rows: ratios, and the memory added over the smallest problem."""
    peaks = {r["samples"]: r["peak_bytes"] for r in rows if "peak_bytes" in r}
    for row in rows:
        for other in ("diffopt", "keops"):
            if "ours_s" in row and f"{other}_s" in row:
                row["ratio"] = row[f"{other}_s"] / row["ours_s"]
        if "peak_bytes" in row:
            row["added_bytes"] = row["peak_bytes"] - peaks[min(peaks)]


def verdict(section: str, row: Row) -> str:
    measure, less = MEASURES.get(section, ("ratio", False))
    if not row.get("targets") or measure not in row:
        return ""
    value = row[measure]
    must, aim = (value <= t if less else value >= t for t in row["targets"])
    return "aim met" if aim else "met" if must else "**missed**"


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def _bytes(value: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g} B"


FORMATS = {
    "ours_s": ("ours", _seconds),
    "diffopt_s": ("diffopt", _seconds),
    "keops_s": ("KeOps", _seconds),
    "ratio": ("ratio", lambda v: f"**{v:.3g}x**"),
    "ns_per_pair": ("ns/pair", lambda v: f"{v:.3g}"),
    "ns_per_sample": ("ns/sample", lambda v: f"{v:.3g}"),
    "ours_bytes": ("ours", _bytes),
    "diffopt_bytes": ("diffopt", _bytes),
    "temporary_bytes": ("XLA temporaries", _bytes),
    "peak_bytes": ("peak memory", _bytes),
    "added_bytes": ("added", _bytes),
    "number": ("collectives", str),
    "kinds": ("kinds", str),
    "bytes": ("bytes", str),
    "cores": ("cores", str),
    "must": ("at least", str),
    "aim": ("aim", str),
    "verdict": ("", str),
    "note": ("note", str),
}


def table(section: str, rows: Iterable[Row]) -> str:
    """A Markdown table of one section, with those columns that any row has."""
    rows = [dict(row) for row in rows]
    show = _bytes if section in MEASURES else lambda v: f"{v:g}x"
    for row in rows:
        if row.get("targets"):
            row["must"], row["aim"] = map(show, row["targets"])
            row["verdict"] = verdict(section, row)
    keys = [key for key in FORMATS if any(key in row for row in rows)]
    lines = [["", *(FORMATS[key][0] for key in keys)], ["---"] * (len(keys) + 1)]
    for row in rows:
        cells = [FORMATS[key][1](row[key]) if key in row else "" for key in keys]
        lines.append([row["case"], *cells])
    text = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return f"### {TITLES[section]}\n\n{text}\n"


def markdown(record: Row) -> str:
    about = record["machine"]
    load = " ".join(f"{value:.1f}" for value in about["load_average"])
    packages = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    text = (
        f"{about['cpu']}, {about['cores']} cores, {_bytes(about['memory_bytes'])}; "
        f"{', '.join(record['devices']) or 'no device'}; load average {load} at the start; "
        f"{packages}; {about['time']}\n"
    )
    if about["load_average"][0] > 0.5:
        text += "\nOther programs were running at the start: timings may be off.\n"
    sections = dict.fromkeys(row["section"] for row in record["rows"])
    for section in sections:
        chosen = [row for row in record["rows"] if row["section"] == section]
        text += "\n" + table(section, chosen)
    return text


def draw(record: Row, path: Path) -> None:
    """Ratios as bars, with what is asked for; time and memory against the number of samples."""
    from matplotlib.figure import Figure

    ratios = [row for row in record["rows"] if "ratio" in row]
    scale = [row for row in record["rows"] if row["section"] == "scale" and "ours_s" in row]
    panels = [panel for panel in ((_bars, ratios, 3), (_lines, scale, 2)) if panel[1]]
    figure = Figure(figsize=(13, max(5.0, 0.32 * len(ratios) + 1.5)), layout="constrained")
    if panels:
        widths = [width for _, _, width in panels]
        axes = figure.subplots(1, len(panels), width_ratios=widths, squeeze=False)[0]
        for axis, (panel, rows, _) in zip(axes, panels, strict=True):
            panel(axis, rows)
    about = record["machine"]
    figure.suptitle(f"{about['cpu']}, {about['cores']} cores; {', '.join(record['devices'])}")
    figure.savefig(path, dpi=120)


def _bars(axes: Any, rows: list[Row]) -> None:
    axes.barh(range(len(rows)), [row["ratio"] for row in rows], color="tab:blue")
    for place, row in enumerate(rows):
        end = max(row["ratio"], *(row.get("targets") or (0, 0)))
        axes.text(end, place, f"  {row['ratio']:.3g}", va="center", fontsize=8)
        for target, color in zip(row.get("targets") or (), ("tab:red", "tab:green"), strict=False):
            axes.plot([target] * 2, [place - 0.4, place + 0.4], color=color, lw=2)
    axes.set_yticks(range(len(rows)), [row["case"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.1)
    axes.axvline(1, color="black", lw=0.8)
    axes.set_xlabel("time of the other / ours (red: at least, green: aim)")


def _lines(axes: Any, rows: list[Row]) -> None:
    samples = [row["samples"] for row in rows]
    axes.plot(samples, [row["ours_s"] for row in rows], "o-", color="tab:blue")
    axes.set_xlabel("samples")
    axes.set_ylabel("seconds per step", color="tab:blue")
    axes.set_xscale("log")
    axes.set_yscale("log")
    memory = axes.twinx()
    memory.plot(samples, [row["peak_bytes"] / 1e6 for row in rows], "s--", color="tab:orange")
    memory.set_ylabel("peak memory [MB]", color="tab:orange")
    memory.set_ylim(0, 1.2 * max(row["peak_bytes"] for row in rows) / 1e6)
