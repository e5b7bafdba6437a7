"""The nodes of one cluster on this machine: format, start, signal, find. All state is in one folder."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from layout import HERE, ClusterError, Layout, render
from probe import live_brokers

READY_WITHIN, STOP_WITHIN = 120.0, 20.0  # seconds
USERS = ("admin", "hub")  # a password each, made with the cluster; all others `comity topics apply` makes
_PASSWORD = re.compile(r"[A-Za-z0-9_-]{12,128}")


class Cluster:
    """home: its folder. java, jars: what its nodes run on."""

    def __init__(self, home: Path, layout: Layout, java: str = "java", jars: Path = Path()) -> None:
        self.home, self.layout = home, layout
        options = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
        logging = f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}"
        self._java = [java, *options, logging, "-cp", f"{jars}/*"]

    def node(self, node: int) -> Path:
        return self.home / f"node-{node}"

    def start(self, only: Iterable[int] | None = None) -> float:
        """Starts what does not run, and waits until it is of use; the seconds that took. ClusterError."""
        begun = time.monotonic()
        wanted = list(only or self.layout.ids)
        if self.layout.mode == "sealed":
            self._make_secrets()
        formatting = {node: made for node in wanted if (made := self._format(node))}
        for node, made in formatting.items():
            failed = made.wait()
            (self.node(node) / "format.args").unlink()
            if failed:
                log = self.node(node) / "format.log"
                raise ClusterError(f"node {node} could not be formatted; {log} begins with:\n{log.read_text()[:500]}")
            (self.node(node) / "data" / ".formatted").touch()
        running = self.pids()
        launched = {node: self._launch(node) for node in wanted if node not in running}
        # One node alone may come back to a cluster of which others are down; a whole start is ready when all see all.
        enough = self.layout.nodes if only is None else 1
        while not all(self.sees(node) >= enough for node in wanted):
            ended = [node for node, made in launched.items() if made.poll() is not None]
            if ended or time.monotonic() - begun > READY_WITHIN:
                raise ClusterError(self._why_not_ready(ended))
            time.sleep(0.1)
        return time.monotonic() - begun

    def sees(self, node: int) -> int:
        """How many live brokers a node knows; 0 when it is not ready."""
        if self.layout.mode == "plaintext":
            return live_brokers(self.layout.address(node, "CLIENT"), self.layout.cluster)
        where = self.layout.address(node, "INTERNAL")
        return live_brokers(where, self.layout.cluster, self.home / "certificates")

    def pids(self) -> dict[int, int]:
        """node -> process id of what runs. Read from the processes themselves: a file of ids could be stale."""
        properties = {str(self.node(node) / "server.properties"): node for node in self.layout.ids}
        return {
            properties[words[-1]]: pid
            for pid, words in processes()
            if words[-1] in properties and words[-2:-1] == ["kafka.Kafka"]
        }

    def signal(self, number: signal.Signals, only: Iterable[int] | None = None) -> None:
        """To nodes that run; a node that does not is left alone."""
        wanted = set(only or self.layout.ids)
        for node, pid in self.pids().items():
            if node in wanted:
                _signal(pid, number)

    def stop(self, only: Iterable[int] | None = None) -> None:
        """A broker that ends hands its leaderships over. One that does not within its time is killed."""
        self.signal(signal.SIGTERM, only)
        self.signal(signal.SIGCONT, only)  # a paused one hears of it too
        if not self._gone(only, STOP_WITHIN):
            self.kill(only)

    def kill(self, only: Iterable[int] | None = None) -> None:
        self.signal(signal.SIGKILL, only)
        if not self._gone(only, STOP_WITHIN):
            raise ClusterError(f"nodes in {self.home} cannot be killed: {self.pids()}")

    def wipe(self) -> None:
        """Nothing of it is left but what the user put there: certificates, secrets."""
        self.kill()
        for node in self.layout.ids:
            shutil.rmtree(self.node(node), ignore_errors=True)
        (self.home / "layout.json").unlink(missing_ok=True)

    def _gone(self, only: Iterable[int] | None, within: float) -> bool:
        wanted, begun = set(only or self.layout.ids), time.monotonic()
        while wanted & self.pids().keys():
            if time.monotonic() - begun > within:
                return False
            time.sleep(0.05)
        return True

    def _format(self, node: int) -> subprocess.Popen[bytes] | None:
        """Writes the node's properties; begins to format its folder unless that was done, to its end, before."""
        place = self.node(node)
        place.mkdir(parents=True, exist_ok=True)
        properties = place / "server.properties"
        properties.write_text(render(self.layout.mode, self.layout.values(node, self.home)), encoding="utf-8")
        if (place / "data" / ".formatted").exists():
            return None
        shutil.rmtree(place / "data", ignore_errors=True)  # of a formatting that was cut short
        command = ["kafka.tools.StorageTool", "format", "-t", self.layout.cluster, "-c", str(properties)]
        command += ["--initial-controllers", self.layout.voters]
        if self.layout.mode == "sealed":
            for user, password in self.passwords().items():
                command += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
        # In a file that only we can read: a command line is for every user of the machine to see.
        arguments = place / "format.args"
        arguments.touch(mode=0o600)
        arguments.write_text("\n".join(f'"{word}"' for word in [*self._java[1:], *command]), encoding="utf-8")
        null = subprocess.DEVNULL  # what it prints goes nowhere: it shows the keys that passwords are checked with
        with (place / "format.log").open("wb") as log:
            return subprocess.Popen([self._java[0], f"@{arguments}"], stdin=null, stdout=null, stderr=log)

    def _launch(self, node: int) -> subprocess.Popen[bytes]:
        command = [*self._java, "kafka.Kafka", str(self.node(node) / "server.properties")]
        with (self.node(node) / "server.log").open("ab") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self.node(node)
            )

    def _why_not_ready(self, ended: list[int]) -> str:
        if not ended:
            return f"not ready within {READY_WITHIN:.0f} s; see {self.home}/node-*/server.log"
        log = self.node(ended[0]) / "server.log"
        return f"node {ended[0]} ended; {log} closes with:\n" + log.read_text(errors="replace")[-2_000:]

    def _make_secrets(self) -> None:
        """Development certificates and passwords, where the user put none."""
        if not (self.home / "certificates" / "broker.pem").exists():
            made = [sys.executable, str(HERE / "certificates"), str(self.home / "certificates")]
            if subprocess.run(made).returncode:
                raise ClusterError("no certificates, see above; make them with deploy/kafka/certificates")
        place = self.home / "secrets"
        place.mkdir(mode=0o700, exist_ok=True)
        for user in USERS:
            path = place / f"{user}.password"
            if not path.exists():
                path.touch(mode=0o600)
                given = os.environ.get(f"KAFKA_{user.upper()}_PASSWORD")
                path.write_text(given or secrets.token_urlsafe(24), encoding="utf-8")

    def passwords(self) -> dict[str, str]:
        """user -> password, from `secrets/<user>.password`; written at format, and not read again."""
        found = {}
        for user in USERS:
            path = self.home / "secrets" / f"{user}.password"
            found[user] = path.read_text(encoding="utf-8").strip()
            if not _PASSWORD.fullmatch(found[user]):
                raise ClusterError(
                    f"{path} holds no usable password: 12 to 128 letters, digits, dashes and underscores"
                )
        return found


def processes() -> Iterable[tuple[int, list[str]]]:
    """Every process of this machine that may be asked: its id, its words."""
    if not Path("/proc/self/cmdline").exists():  # macOS
        listed = subprocess.run(["ps", "-axww", "-o", "pid=,args="], capture_output=True, text=True).stdout
        for line in listed.splitlines():
            pid, _, rest = line.strip().partition(" ")
            yield int(pid), ["", *rest.split()]
        return
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        except OSError:
            continue  # it has ended
        yield int(entry.name), words


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
