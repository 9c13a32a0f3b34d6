"""Run the command line as ``python -m zgrid``."""

from zgrid.cli import main

if __name__ == "__main__":
    main()
