"""The first process inside the namespaces: mounts, names and a bridge of its own, then the command and its orphans."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.cluster.namespaces import CGROUPS, CONTROLLERS

NODE = "node1"
BRIDGE = "cni0"
ADDRESS = "10.244.0.1"  # of the bridge: here pods reach what runs beside them
RESOLVER = Path("/run/resolv.conf")

# The kubelet insists on these kernel-wide settings. It finds them in files of that content; the real ones stay.
WANTED = {
    "kernel/keys/root_maxbytes": 25_000_000,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
}


def enter(names: Mapping[str, str]) -> None:
    """Make the namespaces habitable; `names` (name -> address) are those that programs of the node look up."""
    _mounts(names)
    socket.sethostname(NODE)
    for command in (
        "ip link set lo up",
        f"ip link add {BRIDGE} type bridge",
        f"ip address add {ADDRESS}/24 dev {BRIDGE}",
        f"ip link set {BRIDGE} up",
    ):
        subprocess.run(command.split(), check=True)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _mounts(names: Mapping[str, str]) -> None:
    """Nothing mounted here is seen outside; below it is shared again, since the kubelet's mounts must reach pods."""
    _mount("--make-rprivate", "/")
    _mount("-t", "tmpfs", "-o", "mode=755", "none", "/run")
    _mount("-t", "tmpfs", "-o", "mode=755", "none", str(CGROUPS))
    for controller in CONTROLLERS:
        (CGROUPS / controller).mkdir()
        kind = "none,name=systemd" if controller == "systemd" else controller
        _mount("-t", "cgroup", "-o", kind, "none", str(CGROUPS / controller))
    for setting, value in WANTED.items():
        _over(Path("/proc/sys") / setting, f"{value}\n")
    known = {"localhost": "127.0.0.1", NODE: ADDRESS, **names}
    _over(Path("/etc/hosts"), "".join(f"{address} {name}\n" for name, address in known.items()))
    RESOLVER.write_text(f"nameserver {ADDRESS}\noptions timeout:1 attempts:1\n")
    _mount("--bind", str(RESOLVER), "/etc/resolv.conf")
    _mount("--make-rshared", "/")


def _over(file: Path, text: str) -> None:
    """Show other content in place of a file; writable, since the kubelet fails on a read-only one."""
    own = Path("/run/over") / str(file).strip("/").replace("/", ".")
    own.parent.mkdir(exist_ok=True)
    own.write_text(text)
    _mount("--bind", str(own), str(file))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def reaping(command: Callable[[], int]) -> int:
    """Run `command` in a child and collect every other process that ends meanwhile, as the first process has to."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            status = command()
        except BaseException:  # noqa: BLE001 - this process ends here whatever happened
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(status)
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status)
