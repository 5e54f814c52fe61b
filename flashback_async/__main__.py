"""Run the command line with ``python -m flashback_async``."""

from flashback_async.cli import main

if __name__ == "__main__":
    main()
