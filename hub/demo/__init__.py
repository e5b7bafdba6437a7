"""The demo: the main job on realistic, fictitious input, from signing to a verified ledger, with nothing simulated."""

from hub.demo.runner import run

__all__ = ["run"]
