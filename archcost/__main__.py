"""Run the command line: ``python -m archcost``."""

from archcost.cli import main

main()
