"""``python -m kdescent_dist`` is the command ``kdescent-dist``."""

from kdescent_dist.cli import main

if __name__ == "__main__":
    main()
