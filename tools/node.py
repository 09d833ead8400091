"""Programs from npm, exactly as tools/npm/package-lock.json pins them."""

import os
import shutil

from tools.cache import ROOT, Build

PACKAGE = ROOT / "tools/npm/package.json"
LOCK = ROOT / "tools/npm/package-lock.json"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # whom the machine trusts; node by itself knows its own list only


def locked(build: Build) -> None:
    for file in (PACKAGE, LOCK):
        shutil.copy(file, build.into)
    node = build.programs["node"]
    env = {
        "PATH": f"{node.parent}:{os.environ['PATH']}",
        "NODE_EXTRA_CA_CERTS": os.environ.get("NODE_EXTRA_CA_CERTS", AUTHORITIES),
        "npm_config_cache": str(build.scratch / "npm"),
    }
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--ignore-scripts")
    # "Exit handler never called!": npm gives up without a word where the registry breaks off (npm/cli #9728)
    build.run(node, build.programs["npm"], "ci", *quiet, cwd=build.into, env=env, tries=3)
