"""Starts the command `often`, also as `python -m often_client`.

`often --help` prints a table without importing click, which alone takes three times as long as Python's
own start.
"""

import os
import sys

from often_client.cli import buffered_output, help_page

#: The scripts of `often completion` set this variable and run `often` without arguments, to get what
#: can follow on the command line.
COMPLETION_VARIABLE = "_OFTEN_COMPLETE"


def main() -> None:
    arguments = sys.argv[1:]
    if arguments in ([], ["--help"], ["-h"], ["help"]) and COMPLETION_VARIABLE not in os.environ:
        buffered_output.finish(help_page.text())
        sys.exit(0)
    try:
        from often_client.cli.often import run  # noqa: PLC0415 - see above
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich", "rich_click"):
            raise
        sys.exit(f"The command line needs {error.name}. Install it with: pip install 'often-client[cli]'")
    sys.exit(run(arguments))


if __name__ == "__main__":
    main()
