"""How far a process is, as a number that the watchdog compares with that of the others."""


class Progress:
    """Counts what a process begins: exchanges with other processes, and parts of its work.

    Attributes:
        reached: how many it has begun. A process that waits for the others in an exchange has
            begun one more than they have.
    """

    def __init__(self) -> None:
        self.reached = 0

    def moved(self) -> None:
        """Count one more."""
        self.reached += 1


# JAX has one group of processes, whose collectives all count here unless told otherwise.
OF_THIS_PROCESS = Progress()
