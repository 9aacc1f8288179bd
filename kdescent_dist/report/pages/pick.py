"""Pick one bin of a report by its name, a part of it, or its number."""

from collections.abc import Sequence

from kdescent_dist.config.errors import InputError, closest
from kdescent_dist.report.data.records import Bin

MOST_NAMED = 6


def pick(bins: Sequence[Bin], wanted: str) -> Bin:
    """The bin that is meant.

    Args:
        bins: all bins of the run.
        wanted: the name of one, a part of the name that no other has, or its number from 1 in the
            order of the config, as in the table of the report.

    Raises:
        InputError: no bin is meant, or several; names those that come near.
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
