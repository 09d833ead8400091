"""How each real server is started on loopback, as data for a supervisor or for `running`."""

import os
import subprocess
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tools import folder, path
from tools.cache import ROOT
from tools.foreground import LOOPBACK, Server, answers, free_ports, port_is_free, reserve, running, write_files
from tools.parts import PARTS

__all__ = [
    "LOOPBACK",
    "BrokerPorts",
    "Server",
    "alertmanager",
    "answers",
    "azurite",
    "cosmos",
    "epmd",
    "free_ports",
    "port_is_free",
    "prometheus",
    "rabbitmq",
    "rabbitmqctl",
    "reserve",
    "running",
    "write_files",
]

BROKERS = {part.version: part.name for part in PARTS.values() if "rabbitmq-server" in part.programs}


class BrokerPorts(NamedTuple):
    """Where one broker node listens; nodes of a cluster share `epmd`."""

    amqp: int
    management: int
    prometheus: int
    dist: int
    epmd: int


def epmd(home: Path, port: int, *, version: str = "4.3") -> Server:
    """Erlang's name service; without one of its own a node leaves a daemon behind."""
    return Server(
        name="epmd",
        command=(str(path("epmd", BROKERS[version])), "-port", str(port), "-address", LOOPBACK),
        ready=f"tcp://{LOOPBACK}:{port}",
        ports=(port,),
        directory=home,
    )


def rabbitmq(  # noqa: PLR0913 - a node has these seven independent properties and no sensible group of them
    home: Path, *, ports: BrokerPorts, user: str, password: str,
    node: str = "rabbit", version: str = "4.3", conf: str = "", advanced: str = "[].",
) -> Server:  # fmt: skip
    """One broker node with management and Prometheus plugins; its data stays in `home`/<node>.

    Nodes with the same `home` share a cookie and so can form a cluster. `conf` is added to rabbitmq.conf, `advanced` is
    the text of advanced.config (Erlang terms).
    """
    part, place = folder(BROKERS[version]), home / node
    loopback_only = "-kernel inet_dist_use_interface {127,0,0,1}"
    main = f"""\
listeners.tcp.local = {LOOPBACK}:{ports.amqp}
management.tcp.ip = {LOOPBACK}
management.tcp.port = {ports.management}
prometheus.tcp.ip = {LOOPBACK}
prometheus.tcp.port = {ports.prometheus}
default_user = {user}
default_pass = {password}
log.console = true
log.console.level = info
log.file = false
{conf}
"""
    server = path("rabbitmq-server", BROKERS[version])
    env = {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": f"{part}/usr/lib/erlang/bin:/usr/bin:/bin",
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(ports.epmd),
        "RABBITMQ_NODENAME": f"{node}@localhost",
        "RABBITMQ_DIST_PORT": str(ports.dist),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": str(place / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(place / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(place / "enabled_plugins"),
        "RABBITMQ_PLUGINS_DIR": str(server.parent.parent / "plugins"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(place / "config"),
        "RABBITMQ_MNESIA_BASE": str(place / "data"),
        "RABBITMQ_LOG_BASE": str(place / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(place / "pid"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback_only,
        "RABBITMQ_CTL_ERL_ARGS": loopback_only,
        "detached": "1",  # the start script then becomes the Erlang VM instead of staying its parent
    }
    return Server(
        name=node,
        command=(str(server),),
        ready=f"http://{quote(user)}:{quote(password)}@{LOOPBACK}:{ports.management}/api/health/checks/port-listener/{ports.amqp}",
        ports=(ports.amqp, ports.management, ports.prometheus, ports.dist),
        directory=place,
        env=env,
        files={
            place / "rabbitmq.conf": main,
            place / "advanced.config": advanced,
            place / "enabled_plugins": "[rabbitmq_management,rabbitmq_prometheus].\n",
        },
    )


def rabbitmqctl(server: Server, *arguments: str) -> str:
    """What rabbitmqctl of the server's own version answers; raises CalledProcessError."""
    command = Path(server.command[0]).with_name("rabbitmqctl")
    environment = {**os.environ, **{key: value for key, value in server.env.items() if key != "detached"}}
    return subprocess.run(
        [command, "-q", *arguments], env=environment, check=True, capture_output=True, text=True
    ).stdout


# Every ten minutes azurite looks for what no blob refers to any more; with 50,000 blobs it answers nobody for minutes.
_WITHOUT_SWEEP = "require({constants!r}).DEFAULT_GC_INTERVAL_MS = 24 * 3600 * 1000; require({program!r})"


def azurite(home: Path, port: int, *, in_memory: bool = False) -> Server:
    """The blob store; its data stays in `home`.

    `in_memory`: for very many blobs and some hours. Nothing is kept, which otherwise is all written anew every few
    seconds, and nothing swept up.
    """
    program = path("azurite-blob")
    start: tuple[str, ...] = (str(program),)
    kept: tuple[str, ...] = ("--location", str(home))
    if in_memory:
        constants = program.with_name("utils") / "constants.js"
        start = ("-e", _WITHOUT_SWEEP.format(constants=str(constants), program=str(program)), "azurite")
        kept = ("--inMemoryPersistence",)
    return Server(
        name="azurite",
        command=(
            str(path("node")), *start, "--blobHost", LOOPBACK, "--blobPort", str(port),
            *kept, "--silent", "--skipApiVersionCheck", "--disableTelemetry",
        ),
        ready=f"http://{LOOPBACK}:{port}/",
        ports=(port,),
        directory=home,
    )  # fmt: skip


def cosmos(home: Path, port: int) -> Server:
    """The document store, over TLS and in memory only: a restart empties it."""
    place = path("cosmosdb-server").resolve().parent
    return Server(
        name="cosmos",
        command=(str(path("node")), str(ROOT / "tools/npm/cosmos.js"), str(place), LOOPBACK, str(port)),
        ready=f"tcp://{LOOPBACK}:{port}",
        ports=(port,),
        directory=home,
    )


def prometheus(home: Path, port: int, config_file: Path, *, retention: str = "15d") -> Server:
    """Prometheus with its data in `home`; SIGHUP or POST /-/reload make it read its files again."""
    return Server(
        name="prometheus",
        command=(
            str(path("prometheus")), f"--config.file={config_file}", "--web.enable-lifecycle",
            f"--storage.tsdb.path={home / 'data'}", f"--storage.tsdb.retention.time={retention}",
            f"--web.listen-address={LOOPBACK}:{port}",
        ),
        ready=f"http://{LOOPBACK}:{port}/-/ready",
        ports=(port,),
        directory=home,
    )  # fmt: skip


def alertmanager(home: Path, port: int, config_file: Path) -> Server:
    """Alertmanager on its own, with its data in `home`."""
    return Server(
        name="alertmanager",
        command=(
            str(path("alertmanager")), f"--config.file={config_file}", f"--storage.path={home / 'data'}",
            f"--web.listen-address={LOOPBACK}:{port}", "--cluster.listen-address=",
        ),
        ready=f"http://{LOOPBACK}:{port}/-/ready",
        ports=(port,),
        directory=home,
    )  # fmt: skip
