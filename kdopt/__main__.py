"""``python -m kdopt``: the same as the ``kdopt`` command."""

from kdopt.cli import main

main()
