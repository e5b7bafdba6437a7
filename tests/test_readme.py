"""What the README tells a newcomer to type is typed, in an empty directory, and does what it says."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCKS = re.findall(r"```sh\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_ready(url: str, hub: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and hub.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    pytest.fail(f"the hub is not ready: exit code {hub.poll()}")


@pytest.mark.slow
def test_the_walk_through_works_as_printed(tmp_path: Path) -> None:
    """Only the port differs, so that a hub which happens to run on this machine is left alone."""
    up, *rest = BLOCKS
    port = free_port()
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {
        "PATH": commands,
        "HOME": str(tmp_path),
        "COMITY_PORT": str(port),
        "COMITY_CLIENT_URL": f"http://127.0.0.1:{port}",
    }
    hub = subprocess.Popen(["bash", "-c", f"exec {up}"], cwd=tmp_path, env=env)
    try:
        wait_until_ready(env["COMITY_CLIENT_URL"], hub)
        script = "set -euo pipefail\n" + "".join(rest)
        ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True)
        hub.send_signal(signal.SIGTERM)
        assert hub.wait(30) == 0
    finally:
        hub.kill()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for said in ("de-bsi", "without source_detail", "the proof holds", "the ledger holds"):
        assert said in ran.stdout + ran.stderr
