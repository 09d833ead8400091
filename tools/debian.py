"""Programs of a newer Debian, unpacked beside the system without touching it."""

import os
import pwd
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tools.cache import Build, PartError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
ERLANG = """
    base asn1 crypto public-key mnesia runtime-tools ssl eldap inets os-mon parsetools syntax-tools tools xmerl
"""
ITS_LIBRARIES = "libc6 libgcc-s1 libstdc++6 libtinfo6 zlib1g libssl3t64 libzstd1 libsystemd0 libcap2"
BROKER = ["rabbitmq-server", *(f"erlang-{name}" for name in ERLANG.split()), *ITS_LIBRARIES.split()]
NODE = [
    *("containerd", "runc", "containernetworking-plugins", "iptables", "conntrack"),
    *("libseccomp2", "libmnl0", "libnetfilter-conntrack3", "libnfnetlink0", "libnftnl11", "libxtables12"),
    *("libip4tc2", "libip6tc2"),
]
LEFT_OUT = ["./usr/share/doc/*", "./usr/share/man/*", "./usr/share/locale/*", "./usr/lib/*/gconv", "*.so.debug"]


def unpacked(suite: str, packages: Sequence[str]) -> Callable[[Build], str]:
    """A maker that takes `packages` (the first one gives the version) from a Debian suite such as "trixie"."""

    def make(build: Build) -> str:
        debs = download(build, suite, packages)
        for deb in debs.values():
            with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as tar:
                subprocess.run(
                    ["tar", "-x", "-C", build.into, *(f"--exclude={pattern}" for pattern in LEFT_OUT)],
                    stdin=tar.stdout, check=True,
                )  # fmt: skip
        _settle(build)
        version = build.run("dpkg-deb", "--field", debs[packages[0]], "Version")
        return re.split("[-+~]", version.strip().split(":")[-1])[0]

    return make


def download(build: Build, suite: str, packages: Sequence[str]) -> dict[str, Path]:
    """Package name -> its file; apt works on lists of its own, so the system's are neither read nor changed."""
    work = build.scratch / "apt"
    debs = work / "debs"
    for folder in (debs, work / "lists/partial", work / "cache/archives/partial"):
        folder.mkdir(parents=True)
    (work / "status").touch()
    (work / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror(build)} {suite} main\n")
    settings = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State::Lists": work / "lists",
        "Dir::State::status": work / "status",
        "Dir::Cache": work / "cache",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "APT::Sandbox::User": pwd.getpwuid(os.getuid()).pw_name,
    }
    apt = ["apt-get", "-qq", *(f"-o{key}={value}" for key, value in settings.items())]
    build.run(*apt, "update")
    build.run(*apt, "download", *packages, cwd=debs)
    return {deb.name.split("_")[0]: deb for deb in debs.glob("*.deb")}


def _mirror(build: Build) -> str:
    """The address this machine takes Debian from."""
    targets = build.run("apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages")
    for origin, _, address in (line.partition(" ") for line in targets.splitlines()):
        if origin == "Debian" and "security" not in address:
            return address
    for line in targets.splitlines():
        if line.rstrip("/").endswith("/debian"):
            return line.split()[-1]
    raise PartError("apt knows no Debian mirror: this way needs a Debian 12 or newer with a line for it in its sources")


def _settle(build: Build) -> None:
    """Make programs use the libraries that came with them, and Erlang's scripts know where they live.

    RPATH, not LD_LIBRARY_PATH: programs that these start keep the system's own libraries.
    """
    libraries = next((build.into / "usr/lib").glob("*-linux-gnu"), None)
    if libraries:
        at_home = build.home / libraries.relative_to(build.into)
        change: list[str | Path] = ["--force-rpath", "--set-rpath", at_home]
        for loader in libraries.glob("ld-linux-*.so.*"):
            change += ["--set-interpreter", at_home / loader.name]
        for program in filter(_is_program, (build.into / "usr").rglob("*")):
            build.run(build.programs["patchelf"], *change, program)
    erlang = build.into / "usr/lib/erlang"
    for script in [erlang / "bin/erl", *erlang.glob("erts-*/bin/erl")]:
        if script.is_file():
            script.write_text(script.read_text().replace("/usr/lib/erlang", str(build.home / "usr/lib/erlang")))


def _is_program(file: Path) -> bool:
    if not file.is_file() or file.is_symlink() or ".so" in file.suffixes or not os.access(file, os.X_OK):
        return False
    with file.open("rb") as binary:
        return binary.read(4) == b"\x7fELF"
