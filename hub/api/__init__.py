"""The HTTP interface: `create_app` builds it over a running hub, `serve` runs it."""

from hub.api.app import create_app
from hub.api.serve import ListenError, serve

__all__ = ["ListenError", "create_app", "serve"]
