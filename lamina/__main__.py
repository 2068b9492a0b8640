"""`python -m lamina` is `lamina`."""

from __future__ import annotations

import sys


def main() -> None:
    """The command line. Exits with 2 where what it needs is not installed, as beside the runtime alone."""
    try:
        from lamina.cli import main as run
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("lamina"):
            raise
        print(f"error: the command line needs {error.name}, which is not installed; pip install lamina[compile]", file=sys.stderr)
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
