"""The command line: `comity <noun> <verb>`. Data on stdout, messages on stderr, exit codes that scripts can rely on."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """`comity`, the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character must not end the program
    try:
        from hub.cli.app import run  # takes a moment, in which Ctrl-C is no fault either
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(run(sys.argv[1:]))
