"""What the text of a compiled program says of its instructions."""

import math
import re
from dataclasses import dataclass

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
OTHER_BYTES = 4  # of all other types in programs of this package

_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([\w\-]+)\(")
_SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Instruction:
    """An instruction.

    Attributes:
        shape: shape of its result, as HLO.
        target: the function that a custom call calls, else empty.
        trips: of a loop, how many times round, None if the compiler does not know.
        function: the Python function that made the instruction, empty if unknown.
    """

    shape: str
    target: str
    trips: int | None
    function: str


def read_instructions(text: str) -> dict[str, Instruction]:
    """Names to the instructions of a compiled program."""
    functions = _functions_of_frames(text)
    found = {}
    for line in text.splitlines():
        if not (match := _INSTRUCTION.match(line)):
            continue
        target = re.search(r'custom_call_target="([^"]+)"', line)
        trips = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
        frame = re.search(r"stack_frame_id=(\d+)", line)
        found[match[1]] = Instruction(
            match[2],
            target[1] if target else "",
            int(trips[1]) if trips else None,
            functions.get(frame[1], "") if frame else "",
        )
    return found


def _functions_of_frames(text: str) -> dict[str, str]:
    """Numbers of stack frames to the names of their innermost functions."""

    def table(name: str, entry: str) -> dict[str, str]:
        """A table at the head of the text, up to the next empty line."""
        part = text.partition(f"\n{name}\n")[2].partition("\n\n")[0]
        return dict(re.findall(rf"^(\d+) {entry}", part, re.MULTILINE))

    names = table("FunctionNames", r'"([^"]*)"')
    places = table("FileLocations", r"\{.*function_name_id=(\d+)")
    frames = table("StackFrames", r"\{file_location_id=(\d+)")
    return {frame: names.get(places.get(place, ""), "") for frame, place in frames.items()}


def sizes(shape: str) -> list[tuple[int, tuple[int, ...]]]:
    """Bytes and dimensions of each array in a shape, which may be a tuple."""
    arrays = [(t, tuple(int(n) for n in dims.split(",") if n)) for t, dims in _SHAPE.findall(shape)]
    return [(BYTES.get(t, OTHER_BYTES) * math.prod(dims), dims) for t, dims in arrays]
