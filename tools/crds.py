"""The operators' own CustomResourceDefinitions, from the modules that the operators are released as."""

import shutil

from tools import golang
from tools.cache import Build

RABBITMQ = "github.com/rabbitmq"
SOURCES = (
    ("topology-operator", f"{RABBITMQ}/messaging-topology-operator", "config/crd/bases"),
    ("topology-operator", f"{RABBITMQ}/cluster-operator/v2", "config/crd/bases"),
    ("sources", "github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd"),
    ("sources", "github.com/kedacore/keda/v2", "config/crd/bases"),
)


def copied(build: Build) -> None:
    """One YAML file per definition, <group>_<plural>.yaml."""
    for module, path, folder in SOURCES:
        for file in (golang.source(build, module, path) / folder).glob("*_*.yaml"):
            shutil.copy(file, build.into)
