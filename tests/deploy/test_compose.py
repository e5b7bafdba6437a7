"""What docker-compose.yml starts is contained, pinned, healthy or known not to be, and made of commands and settings that exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from hub.cli.app import app
from hub.config import variables
from hub.core.address import KafkaAddress
from tests.deploy import composition
from tests.deploy.composition import ROOT

DIGEST = re.compile(r"[a-z0-9./_-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}")
SERVICES: dict[str, dict[str, Any]] = composition.read()["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "comity:dev"}
COMMANDS = typer.main.get_command(app)
# One process a role.
ROLES = {"api", "router", "registry", "notary"}
every_service = pytest.mark.parametrize("service", SERVICES.values(), ids=list(SERVICES))


def test_every_role_is_a_service_of_its_own() -> None:
    assert {"kafka-1", "topics", "access", *ROLES} <= set(SERVICES)
    assert all(SERVICES[role]["command"] == [role] for role in ROLES)


def test_one_node_is_the_default_and_demo_and_three_are_asked_for() -> None:
    assert set(composition.read(profiles=frozenset())["services"]) == {"kafka-1", "topics", "access", *ROLES}
    three = composition.read(profiles=frozenset({"three"}))["services"]
    assert {name for name in three if name.startswith("kafka")} == {"kafka-1", "kafka-2", "kafka-3"}


@every_service
def test_a_service_has_no_rights_to_lose(service: dict[str, Any]) -> None:
    assert service["user"] == "1000:1000"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert "/var/run/docker.sock" not in str(service.get("volumes"))


@every_service
def test_a_service_is_limited_and_comes_back(service: dict[str, Any]) -> None:
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert service["pids_limit"] <= 1024
    runs_to_its_end = service.get("healthcheck", {}).get("disable", False)
    assert service["restart"] in (("no", "on-failure") if runs_to_its_end else ("unless-stopped",))


@every_service
def test_a_service_says_whether_it_is_healthy(service: dict[str, Any]) -> None:
    check = service["healthcheck"]
    assert check.get("disable") or check["test"][0] in ("CMD", "CMD-SHELL")


def test_images_of_others_are_named_by_digest_and_ours_are_built_here() -> None:
    for name, service in SERVICES.items():
        if name in OURS:
            assert "build" in service or "demo" in service["profiles"], name
        else:
            assert DIGEST.fullmatch(service["image"]), name
    assert set(OURS) == set(SERVICES) - {"kafka-1", "kafka-2", "kafka-3"}


def test_secrets_are_files_that_no_commit_can_hold() -> None:
    document = composition.read()
    places = {secret["file"] for secret in document["secrets"].values()}
    assert all(place.startswith("deploy/secrets/") for place in places)
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/deploy/secrets/", "/.env"} <= set(ignored)
    used = {name for service in document["services"].values() for name in service["secrets"]}
    assert used == set(document["secrets"])


@every_service
def test_no_secret_stands_in_the_environment(service: dict[str, Any]) -> None:
    for name, value in service.get("environment", {}).items():
        assert not re.search(r"PASSWORD|SECRET|TOKEN|(KEY$)", name), f"{name}: name a file in /run/secrets"
        told = re.findall(r"/run/secrets/([\w.-]+)", str(value))
        assert set(told) <= set(service["secrets"]), name


def test_nobody_has_a_secret_that_is_not_his() -> None:
    """The administrator's password is the keeper's and, to format with, the brokers'; the operator's key is the registry's."""

    def holders(secret: str) -> set[str]:
        return {name for name, service in SERVICES.items() if secret in service["secrets"]}

    brokers = {"kafka-1", "kafka-2", "kafka-3"}
    assert holders("admin.password") == brokers | {"topics", "access"}
    assert holders("broker.pem") == brokers
    assert holders("operator.pem") == {"registry", "demo-setup"}
    assert holders("hub.pem") == ROLES - {"router"}


def test_every_setting_is_one_that_the_hub_reads() -> None:
    told = {
        name for service in SERVICES.values() for name in service.get("environment", {}) if name.startswith("COMITY_")
    }
    assert told - set(variables()) == set()
    assert told >= {"COMITY_KAFKA", "COMITY_HUB_KEY_FILE"}


def test_who_has_a_key_is_told_so_and_nobody_else() -> None:
    for name in ROLES:
        told = {Path(value).name for key, value in OURS[name]["environment"].items() if key.endswith("_KEY_FILE")}
        assert told == {"hub.pem", "operator.pem"} & set(OURS[name]["secrets"]), name


@pytest.mark.parametrize("name", [name for name in OURS if "COMITY_KAFKA" in OURS[name].get("environment", {})])
def test_every_address_can_be_understood(name: str) -> None:
    address = KafkaAddress.parse(OURS[name]["environment"]["COMITY_KAFKA"])
    assert address.brokers == ("kafka-1:9092",)
    assert address.user == ("admin" if name in ("topics", "access") else "hub")


def test_nobody_waits_for_what_never_comes() -> None:
    """Who is waited for to end does end, and who is waited for to be healthy says so."""
    for name, service in SERVICES.items():
        for other, wanted in service.get("depends_on", {}).items():
            ends = SERVICES[other]["healthcheck"].get("disable", False)
            assert wanted["condition"] == "service_started" or ends == (
                wanted["condition"] == "service_completed_successfully"
            ), f"{name} waits for {other}"


def fault(words: list[str]) -> str | None:
    """What of a command the program does not know."""
    command: Any = COMMANDS
    for word in words[1:]:
        if word.startswith("-"):
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            if word.partition("=")[0] not in known:
                return f"no option {word}"
        elif below := getattr(command, "commands", None):
            if word not in below:
                return f"no command {word}"
            command = below[word]
    return None


def test_every_command_exists_with_these_options() -> None:
    lines = [line for service in OURS.values() for line in composition.command_lines(service)]
    assert ["comity", "topics", "apply", "--watch"] in lines
    assert [told for line in lines if (told := fault(line))] == []
    assert fault(["comity", "topics", "apply", "--wotch"]) and fault(["comity", "ruoter"])


@pytest.mark.parametrize(
    "script", sorted((ROOT / "deploy" / "demo").glob("[a-z]*[!.json]")), ids=lambda path: path.name
)
def test_every_command_in_a_script_exists_with_these_options(script: Path) -> None:
    text = re.sub(r"\\\n|#.*", " ", script.read_text(encoding="utf-8"))
    lines = [shlex.split(line) for line in re.findall(r"\bcomity (?:[a-z]+ ){1,2}[^|\n;>']*", text)]
    assert lines
    assert [(line, told) for line in lines if (told := fault([word for word in line if word != "-"]))] == []


def test_what_is_mounted_is_there() -> None:
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name}: {volume}"
                assert volume.endswith(":ro"), f"{name}: {volume}"
            else:
                assert source in composition.read()["volumes"], f"{name}: {volume}"


def test_only_what_is_meant_for_outside_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "api": ["127.0.0.1:8470:8470"],
        "kafka-1": ["127.0.0.1:9093:9093"],
        "kafka-2": ["127.0.0.1:9193:9193"],
        "kafka-3": ["127.0.0.1:9293:9293"],
    }


@pytest.fixture(scope="module", params=[1, 3])
def prepared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """What deploy/prepare has made, for one node and for three."""
    folder = tmp_path_factory.mktemp("prepared")
    subprocess.run(
        [sys.executable, ROOT / "deploy" / "prepare", "--nodes", str(request.param), "--into", folder],
        check=True,
        capture_output=True,
    )
    return request.param, folder


def test_prepare_makes_every_secret_and_every_address_fits(prepared: tuple[int, Path]) -> None:
    nodes, folder = prepared
    environment = composition.environment_of(folder / ".env")
    assert set(environment) - {"COMPOSE_PROFILES"} <= composition.variables()
    assert environment.get("COMPOSE_PROFILES", "") == ("three" if nodes == 3 else "")
    document = composition.read(environment)
    for secret in document["secrets"].values():
        assert (folder / secret["file"]).read_bytes(), secret
    hosts = [f"kafka-{node}" for node in range(1, nodes + 1)]
    assert document["services"]["kafka-1"]["environment"]["NODES"] == ",".join(hosts)
    address = KafkaAddress.parse(document["services"]["router"]["environment"]["COMITY_KAFKA"])
    assert address.brokers == tuple(f"{host}:9092" for host in hosts)
    assert document["services"]["access"]["environment"]["COMITY_REPLICATION"] == str(nodes)
    partners = document["services"]["demo-publisher"]["environment"]["BROKERS"].split(",")
    ports = [document["services"][host]["environment"].get("MTLS_PORT", "9093") for host in hosts]
    assert partners == [f"{host}:{port}" for host, port in zip(hosts, ports, strict=True)]


def test_prepare_keeps_what_is_there(prepared: tuple[int, Path]) -> None:
    nodes, folder = prepared
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    subprocess.run(
        [sys.executable, ROOT / "deploy" / "prepare", "--nodes", str(nodes), "--into", folder],
        check=True,
        capture_output=True,
    )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_secrets_are_behind_a_folder_that_only_their_owner_enters(prepared: tuple[int, Path]) -> None:
    secrets = prepared[1] / "deploy" / "secrets"
    assert secrets.stat().st_mode & 0o077 == 0
    assert (secrets / "ca.key").stat().st_mode & 0o077 == 0
    assert (secrets / "hub.password").stat().st_mode & 0o004, "a container reads it as another user"


def test_docker_compose_itself_accepts_the_file(prepared: tuple[int, Path]) -> None:
    command = ["docker", "compose"]
    if not shutil.which("docker") or subprocess.run([*command, "version"], capture_output=True).returncode:
        pytest.skip("no docker compose here")
    folder = prepared[1]
    ran = subprocess.run(
        [*command, "--env-file", folder / ".env", "-f", composition.FILE, "config", "--quiet"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
