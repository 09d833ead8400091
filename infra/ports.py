"""Where a local stack listens: the ports people know, moved by one offset so that several stacks fit on a machine."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from catalog.kinds import Service


@dataclass(frozen=True)
class Ports:
    amqp: int = 5672
    management: int = 15672
    broker_metrics: int = 15692
    broker_nodes: int = 25672
    epmd: int = 4369
    blobs: int = 10000
    cosmos: int = 8081
    prometheus: int = 9090
    alertmanager: int = 9093
    offset: int = 0

    @classmethod
    def moved(cls, offset: int) -> Ports:
        return cls(*(port + offset for port in astuple(cls())))  # its own offset is 0 before

    def of(self, service: Service) -> list[int]:
        """One port for each replica."""
        return [service.port + self.offset + index for index in range(service.replicas)]


HIGHEST_OFFSET = 65535 - max(astuple(Ports()))
