"""Between a service's pods and everybody else: who may talk to whom, all else refused in both directions; pure."""

from __future__ import annotations

from urllib.parse import urlsplit

import pulumi_kubernetes.networking.v1 as net
from pulumi_kubernetes.meta.v1 import LabelSelectorArgs

from infra.cluster.place import NAME
from infra.cluster.pods import HTTP, Pods
from infra.cluster.settings import ClusterSettings

NAMESPACE = "kubernetes.io/metadata.name"  # every namespace has it
AMQP_PORTS = {"amqp": 5672, "amqps": 5671}


def policy(pods: Pods) -> net.NetworkPolicySpecArgs:
    """Out: names, the broker, the stores. In: scraping.

    A policy knows no host names, so the stores are networks, and where a pod notes its deletion cost, the API server
    has to be in one of them too.
    """
    settings = pods.settings
    return net.NetworkPolicySpecArgs(
        pod_selector=LabelSelectorArgs(match_labels=pods.place.selector(pods.service.name)),
        policy_types=["Ingress", "Egress"],
        ingress=[
            net.NetworkPolicyIngressRuleArgs(
                from_=[_namespace(settings.watching.namespace)],
                ports=[net.NetworkPolicyPortArgs(protocol="TCP", port=HTTP)],
            )
        ],
        egress=[
            net.NetworkPolicyEgressRuleArgs(to=[_namespace("kube-system")], ports=[_port(53, "UDP"), _port(53)]),
            net.NetworkPolicyEgressRuleArgs(to=_broker(settings), ports=[_port(_amqp_port(settings.broker.amqp))]),
            *(
                net.NetworkPolicyEgressRuleArgs(to=[_network(place.cidr)], ports=[_port(place.port)])
                for place in settings.egress
            ),
        ],
    )


def _broker(settings: ClusterSettings) -> list[net.NetworkPolicyPeerArgs]:
    """The pods of a RabbitmqCluster (its operator labels them so), and a network outside."""
    peers = []
    if settings.broker.cluster:
        pods = LabelSelectorArgs(match_labels={NAME: settings.broker.cluster})
        peers.append(_namespace(settings.broker.cluster_namespace, pods))
    if settings.broker_network:
        peers.append(_network(settings.broker_network))
    return peers


def _namespace(name: str, pods: LabelSelectorArgs | None = None) -> net.NetworkPolicyPeerArgs:
    return net.NetworkPolicyPeerArgs(
        namespace_selector=LabelSelectorArgs(match_labels={NAMESPACE: name}), pod_selector=pods
    )


def _network(cidr: str) -> net.NetworkPolicyPeerArgs:
    return net.NetworkPolicyPeerArgs(ip_block=net.IPBlockArgs(cidr=cidr))


def _port(number: int, protocol: str = "TCP") -> net.NetworkPolicyPortArgs:
    return net.NetworkPolicyPortArgs(protocol=protocol, port=number)


def _amqp_port(address: str) -> int:
    parts = urlsplit(address)
    return parts.port or AMQP_PORTS[parts.scheme]
