"""Picks a bin of a report by its name, a part of the name, or its number."""

from collections.abc import Sequence

from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.report.data.records import Bin

MOST_NAMED = 6


def pick(bins: Sequence[Bin], wanted: str) -> Bin:
    """Find a bin.

    Args:
        bins: all bins of the run.
        wanted: the name of a bin, an unambiguous part of the name, or the number of the bin in the
            config, from 1, as in the table of the report.

    Raises:
        InputError: no bin matches, or several bins match; names similar bins.
    """
    names = {b.name: b for b in bins}
    if wanted in names:
        return names[wanted]
    if wanted.isdecimal():
        if not 1 <= int(wanted) <= len(bins):
            raise InputError(f"report.bin={wanted}: the bins have numbers from 1 to {len(bins)}")
        return bins[int(wanted) - 1]
    found = [b for b in bins if wanted.casefold() in b.name.casefold()]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(repr(b.name) for b in found[:MOST_NAMED])
        more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
        raise InputError(
            f"report.bin={wanted}: {len(found)} bins have this in their names: {some}"
            f"{more}; give one of them in full"
        )
    hint = closest(wanted, names)
    if hint.startswith("there are"):
        shown = ", ".join(list(names)[:MOST_NAMED])
        hint = f"there are {len(names)} bins: {shown}{', ...' if len(names) > MOST_NAMED else ''}"
    raise InputError(f"report.bin={wanted}: no bin has such a name; {hint}")
