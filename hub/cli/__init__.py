"""The command line: `comity <noun> <verb>`. Data on stdout, messages on stderr, exit codes that scripts can rely on."""

from hub.cli.app import main

__all__ = ["main"]
