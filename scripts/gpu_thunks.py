"""What a compiled program launches on a GPU, read from the files that XLA dumps.

A thunk is one action of the host: it launches a kernel, a CUDA graph, a library call or a
collective, or goes round a loop. XLA dumps the thunks as an indented list, after it has put some of
them into CUDA graphs. A second file has their names, which are those of instructions of the HLO.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SEQUENCE = "*.thunk_sequence_after_thunk_passes.txt"
METADATA = "*.thunk_metadata.txt"

# Thunks that hold others, or only wait.
HOLDERS = ("kSequential", "kAsyncStart", "kAsyncDone", "kWhile", "kConditional", "kCommandBuffer")

_THUNK = re.compile(r"(\d{3,}): (k\w+)")
_NAMES = re.compile(r'profile_annotation: "([^"]*)"\s*thunk_id: (\d+)')


@dataclass
class Thunk:
    """A thunk.

    Attributes:
        kind: kind of the thunk, such as ``kCustomKernel``.
        name: name of its instruction in the HLO, empty if unknown.
        condition: of a loop, the thunks of its condition.
        body: the thunks that this one holds.
    """

    kind: str
    name: str
    condition: list["Thunk"] = field(default_factory=list)
    body: list["Thunk"] = field(default_factory=list)


def read_thunks(dump: Path, module: str) -> list[Thunk]:
    """The thunks of a module, from the folder into which XLA has dumped it.

    Raises:
        FileNotFoundError: XLA has not dumped the thunks of the module.
    """
    sequences, metadata = (sorted(dump.glob(f"*{module}{name}")) for name in (SEQUENCE, METADATA))
    if not sequences or not metadata:
        raise FileNotFoundError(f"XLA has dumped no thunks of {module} into {dump}")
    names = {int(number): name for name, number in _NAMES.findall(metadata[-1].read_text())}
    return parse_thunks(sequences[-1].read_text(), names)


def parse_thunks(text: str, names: Mapping[int, str]) -> list[Thunk]:
    """The tree of an indented list of thunks, whose numbers have ``names``."""
    root = Thunk("kSequential", "")
    # Thunks that hold the next line, each with its indentation and its list to append to.
    holders: list[tuple[int, Thunk, list[Thunk]]] = [(-1, root, root.body)]
    for line in text.splitlines():
        found = list(_THUNK.finditer(line))
        word = line.strip()
        if word == "condition:":  # printed without indentation
            indentation, loop, _ = holders.pop()
            holders.append((indentation, loop, loop.condition))
        indentation = len(line) - len(line.lstrip())
        if word == "body:":
            while holders[-1][0] >= indentation:
                holders.pop()
            indentation, loop, _ = holders.pop()
            holders.append((indentation, loop, loop.body))
        for match in found:
            # The first thunk of a sequence is on the line of the sequence.
            if match is found[0]:
                while holders[-1][0] >= indentation:
                    holders.pop()
            thunk = Thunk(match[2], names.get(int(match[1]), ""))
            holders[-1][2].append(thunk)
            if thunk.kind in HOLDERS and thunk.kind != "kAsyncDone":
                holders.append((indentation, thunk, thunk.body))
    return root.body
