"""Programs built from Go modules, each pinned by the go.mod and go.sum of its own folder in tools/go."""

import json
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from tools.cache import ROOT, Build, only

MODULES = ROOT / "tools/go"
PULUMI_SDK = "github.com/pulumi/pulumi/sdk/v3"
HOST_PROGRAMS = ("pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")
_one_at_a_time = threading.Lock()  # the Go command uses every core by itself


def inputs(module: str) -> tuple[Path, Path]:
    return MODULES / module / "go.mod", MODULES / module / "go.sum"


def built(module: str, packages: Mapping[str, str], ldflags: str = "") -> Callable[[Build], None]:
    """A maker for programs (name -> import path) of tools/go/<module>."""
    flags = ("-trimpath", "-ldflags", f"-s -w {ldflags}")

    def make(build: Build) -> None:
        with _one_at_a_time:
            for program, package in packages.items():
                go(build, module, "build", *flags, "-o", build.into / program, package)

    return make


def go(build: Build, module: str, *arguments: str | Path) -> str:
    """Run the Go command in a module; what it downloads and compiles (up to 6 GB) goes with the scratch folder."""
    env = {
        "CGO_ENABLED": "0",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOFLAGS": "-modcacherw -mod=readonly -buildvcs=false",
        "GOPATH": str(build.scratch / "go"),
        "GOMODCACHE": str(build.scratch / "go/mod"),
        "GOCACHE": str(build.scratch / "go-build"),
    }
    return build.run(build.programs["go"], *arguments, cwd=MODULES / module, env=env)


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
    go(build, "pulumi", "mod", "download", PULUMI_SDK)
    sdk = Path(json.loads(go(build, "pulumi", "list", "-m", "-json", PULUMI_SDK))["Dir"])
    for script in scripts:
        shutil.copy(only(sdk / "python", f"*/{script}"), build.into)
        (build.into / script).chmod(0o755)
