"""The only place where a stack's target decides anything: what a stack says -> where everything is put."""

import pulumi

from infra.local import Local
from infra.settings import Settings
from tools import PartError


def of(stack: Settings) -> Local:
    """Raises RunError, which Pulumi shows without a traceback, where the stack cannot be built here."""
    if stack.target == "local":
        try:
            return Local(stack)
        except PartError as missing:
            raise pulumi.RunError(str(missing)) from missing
    raise pulumi.RunError(
        f"Pulumi.{stack.stack}.yaml: target {stack.target} is not in this version, only local is:"
        " pulumi config set target local"
    )
