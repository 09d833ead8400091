"""What the broker at hand can do, read once from the version it announces."""

from __future__ import annotations

import re
from dataclasses import dataclass

OLDEST = (4, 0)
DEFAULT = (4, 3)


class UnsupportedBroker(ValueError):
    """The broker is older than the oldest that is supported."""


@dataclass(frozen=True)
class Capabilities:
    """`delays_retries`: a policy can delay what was rejected. `nack_is_free`: a nack does not count as a try.

    Source: RabbitMQ 4.3 release notes and quorum queue guide, both measured on 4.0.5 and 4.3.6.
    """

    delays_retries: bool
    nack_is_free: bool

    @classmethod
    def of(cls, version: str) -> Capabilities:
        """Raises UnsupportedBroker for anything older than 4.0, or not a version."""
        match = re.match(r"(\d+)\.(\d+)", version)
        if not match or (number := (int(match[1]), int(match[2]))) < OLDEST:
            raise UnsupportedBroker(
                f"the broker announces version {version!r}: 4.0 is the oldest supported (3.x is past its end of life);"
                " upgrade it, or point the stack at a newer one"
            )
        return cls(delays_retries=number >= (4, 3), nack_is_free=number >= (4, 3))
