"""Ports of a local stack: who is just ending is waited for, who stays is named."""

from __future__ import annotations

import socket
import threading

import pulumi
import pytest

from infra.programs import check_ports
from tools.servers import free_ports


def test_a_port_that_is_let_go_in_time_is_free() -> None:
    """A process that ends loses its name some hundredths of a second before its port."""
    (port,) = free_ports(1)
    held = socket.create_server(("127.0.0.1", port))
    threading.Timer(0.3, held.close).start()

    check_ports({port: "azurite"}, set)


def test_a_port_of_our_own_is_no_obstacle_and_one_of_others_is_named() -> None:
    ours, theirs = free_ports(2)

    with (
        socket.create_server(("127.0.0.1", ours)),
        socket.create_server(("127.0.0.1", theirs)),
        pytest.raises(pulumi.RunError) as refusal,
    ):
        check_ports({ours: "azurite", theirs: "rabbitmq"}, lambda: {"azurite"})

    assert f"port {theirs}, which rabbitmq wants" in str(refusal.value)
    assert str(ours) not in str(refusal.value)
