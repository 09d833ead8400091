"""The only place where a stack's target decides anything: what a stack says -> where everything is put."""

# ruff: noqa: PLC0415 - a program starts sooner without what its target does not need

import pulumi

from infra.program import Target
from infra.settings import Settings


def check(stack: Settings) -> None:
    """Look at what is there before anything is made. Raises RunError with everything that is missing or would break."""
    if stack.cluster:
        from infra import preflight
        from infra.cluster import handover

        preflight.check(stack)
        handover.check(stack)


def of(stack: Settings) -> Target:
    """Raises RunError, which Pulumi shows without a traceback, where the stack cannot be built here."""
    if stack.cluster:
        from infra.cluster.target import Cluster

        return Cluster(stack, stack.cluster)
    from infra.local import Local
    from tools import PartError

    try:
        return Local(stack)
    except PartError as missing:
        raise pulumi.RunError(str(missing)) from missing
