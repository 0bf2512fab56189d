"""Run the command line: ``python -m archcost``."""

from archcost.cli import main

if __name__ == "__main__":  # a process of `verify --jobs` imports this file
    main()
