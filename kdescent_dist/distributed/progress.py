"""The progress of a process, as a count that the watchdog compares between processes."""


class Progress:
    """Counts the exchanges with other processes, and the parts of work, that a process begins.

    Attributes:
        reached: the count. A process that waits for other processes in an exchange has counted one
            more than the other processes.
    """

    def __init__(self) -> None:
        self.reached = 0

    def moved(self) -> None:
        """Count one more."""
        self.reached += 1


# The default of all groups of processes: JAX has one group of processes.
OF_THIS_PROCESS = Progress()
