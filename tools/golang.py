"""Programs built from Go modules, each pinned by the go.mod and go.sum of its own folder in tools/go."""

import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tools.cache import ROOT, Build, cache, only

MODULES = ROOT / "tools/go"
PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3"
HOST_PROGRAMS = ("pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")


def inputs(module: str) -> tuple[Path, ...]:
    """The files that pin a module, and its program where that is ours."""
    return (*sorted((MODULES / module).glob("*.go")), MODULES / module / "go.mod", MODULES / module / "go.sum")


def built(
    module: str, packages: Mapping[str, str], ldflags: str = "", place: Callable[[Build], Path] | None = None
) -> Callable[[Build], None]:
    """A maker for programs (name -> import path) of tools/go/<module>, or of the module in the folder `place` finds."""
    # what debuggers want is dropped in the end: not to make it saves a tenth of the time
    flags = ("-trimpath", "-gcflags", "all=-dwarf=false", "-ldflags", f"-s -w {ldflags}")

    def make(build: Build) -> None:
        folder = place(build) if place else MODULES / module
        go(build, folder, "list", "-deps", "-f", "", *packages.values())  # downloads, while another part compiles
        with _one_at_a_time():
            go(build, folder, "build", *flags, "-o", f"{build.scratch}/bin/", *packages.values())
        for program, package in packages.items():
            shutil.move(build.scratch / "bin" / Path(package).name, build.into / program)

    return make


def go(build: Build, folder: Path, *arguments: str | Path) -> str:
    """Run the Go command in a folder; what it downloads (up to 2 GB) goes with the scratch folder."""
    env = {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-modcacherw -mod=readonly -buildvcs=false",
        "GOPATH": str(build.scratch / "go"),
        "GOMODCACHE": str(build.scratch / "go/mod"),
        "GOCACHE": str(_compiled() if arguments[0] == "build" else build.scratch / "go-build"),
    }
    return build.run(build.programs["go"], *arguments, cwd=folder, env=env)


def source(build: Build, module: str, path: str) -> Path:
    """The folder of a module at the version that tools/go/<module> pins, downloaded."""
    go(build, MODULES / module, "mod", "download", path)
    return Path(json.loads(go(build, MODULES / module, "list", "-m", "-json", path))["Dir"])


def sweep() -> None:
    """Delete what was compiled (up to 9 GB): the parts of one run share it."""
    with _one_at_a_time():
        shutil.rmtree(_compiled(), ignore_errors=True)


def _compiled() -> Path:
    return cache() / "go-build"


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """The Go command uses every core by itself."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / ".go.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pulumi(version: str) -> Callable[[Build], None]:
    """A maker for the CLI and its Python language host, side by side as in an official release."""
    flags = f"-X {PULUMI_SDK}/go/common/version.Version={version}"
    cli = built("pulumi", {"pulumi": "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"}, flags)

    def make(build: Build) -> None:
        _language_host(build)
        cli(build)

    return make


def _language_host(build: Build) -> None:
    """The host, and the two scripts that it starts, as the CLI's own version ships them."""
    host, *scripts = HOST_PROGRAMS
    built("language-python", {host: f"{PULUMI_SDK}/python/cmd/{host}"})(build)
    sdk = source(build, "pulumi", PULUMI_SDK)
    for script in scripts:
        shutil.copy(only(sdk / "python", f"*/{script}"), build.into)
        (build.into / script).chmod(0o755)
