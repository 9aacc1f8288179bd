"""What a launch costs: the prices of a computed step.

No card was at hand for these numbers. Each is the upper end of what is published for launches on an
H100 and its host. The prices stay as they are, so that computed times can be compared; a measured
time replaces a computed one. No price is known for going round a loop in a graph: it costs the
kernels of its condition and its body.
"""

from collections.abc import Mapping

# Microseconds.
PRICES = {
    "kernels alone": 4.0,  # a launch by the host
    "kernels in graphs": 2.0,  # a node of a CUDA graph
    "graphs": 10.0,  # a launch of a graph
    "round trips": 15.0,  # the host waits for the card, and the card for the host
    "library calls": 20.0,
    "collectives": 30.0,
}


def computed_us(launches: Mapping[str, float]) -> float:
    """Microseconds of launches, by the names of ``PRICES``; the kernels' own work is not in it."""
    return sum(price * launches.get(name, 0.0) for name, price in PRICES.items())
