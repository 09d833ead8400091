"""A STAND-IN for the official pulumi-kubernetes plugin, which cannot be had from the registries that tests build from.

It speaks the provider protocol of Pulumi's engine and does server-side apply, so that the real CLI, engine, Python SDK
and state run against a real API server. What only the official plugin can show, and what was seen with it by hand
(docs/environments.md):

- its await rules: Deployment, Service endpoints, Job, and every form of `pulumi.com/waitFor`. The stand-in waits for
  Deployments, for `condition=`, and for a deleted object to be gone, and for nothing where STANDIN_AWAIT is "off";
- its replace rules: which fields of which kind force a new object. The stand-in knows name, namespace, a Deployment's
  selector, and the contents of Secrets and ConfigMaps;
- its own diff, its defaults and auto-naming (an object without a name is refused here), `renderYamlToDirectory`,
  Helm, Kustomize, `Patch` resources, imports, aliases of old API versions, a cluster that is out of reach on delete;
- its messages, logs and speed, and how it shares fields with other managers beyond `patchForce` and `ignoreChanges`:
  it creates on the client's side and changes by server-side apply, the stand-in does both by server-side apply.
"""
# ruff: noqa: N802 - the methods have the protocol's names

from __future__ import annotations

import os
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import wraps
from typing import Any

import grpc
from google.protobuf import json_format, struct_pb2
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from tests.kubernetes.standin.cluster import Cluster, NotReady, Refused
from tests.kubernetes.standin.values import cut, differences, marked, plain, secret, unknown

VERSION = "4.34.2"  # that of the SDK whose requests it answers
ON = ("true", True)  # how the SDK and the engine hand over a setting
USUAL_TIMEOUT = 600.0  # seconds, where a resource sets none
CONTENTS = ("data", "stringData", "binaryData", "type", "immutable")
REPLACED = {"Deployment": ("spec.selector",), "Secret": CONTENTS, "ConfigMap": CONTENTS}
ALWAYS_REPLACED = ("apiVersion", "kind", "metadata.name", "metadata.namespace")

Method = Callable[["Provider", Any, grpc.ServicerContext], Any]


def told(method: Method) -> Method:
    """What the API server refuses ends the call with its words."""

    @wraps(method)
    def call(self: Provider, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except Refused as refusal:
            context.abort(grpc.StatusCode.UNKNOWN, str(refusal))
        except NotReady as late:
            context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, str(late))

    return call


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One configured provider; the names of its methods are those of the protocol."""

    cluster: Cluster
    settings: dict[str, Any]

    def Attach(self, _request: Any, _context: grpc.ServicerContext) -> Empty:
        return Empty()

    def GetPluginInfo(self, _request: Empty, _context: grpc.ServicerContext) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, _request: Any, _context: grpc.ServicerContext) -> provider_pb2.GetSchemaResponse:
        return provider_pb2.GetSchemaResponse(schema=f'{{"name": "kubernetes", "version": "{VERSION}"}}')

    def CheckConfig(self, request: Any, _context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, _context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        return self._diff(plain(_dict(request.old_inputs)), plain(_dict(request.news)), replaced=())

    def Configure(self, request: Any, _context: grpc.ServicerContext) -> provider_pb2.ConfigureResponse:
        self.settings = plain(_dict(request.args))
        self.cluster = Cluster(self.settings.get("kubeconfig", ""), self.settings.get("context"))
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    @told
    def Check(self, request: Any, _context: grpc.ServicerContext) -> provider_pb2.CheckResponse:
        news = _dict(request.news)
        metadata = news.setdefault("metadata", {})
        if not metadata.get("name"):
            fault = provider_pb2.CheckFailure(
                property="metadata.name", reason="is missing, and the stand-in gives none"
            )
            return provider_pb2.CheckResponse(inputs=request.news, failures=[fault])
        if self.cluster.kind_of(plain(news))[1]:
            metadata.setdefault("namespace", self.settings.get("namespace", "default"))
        return provider_pb2.CheckResponse(inputs=_struct(news))

    def Diff(self, request: Any, _context: grpc.ServicerContext) -> provider_pb2.DiffResponse:
        old, new = plain(_dict(request.old_inputs)), plain(_dict(request.news))
        kind = new["kind"]
        may_change = self.settings.get(f"enable{kind}Mutable") in ON and not old.get("immutable")
        return self._diff(old, new, (*ALWAYS_REPLACED, *(() if may_change else REPLACED.get(kind, ()))))

    @staticmethod
    def _diff(old: Any, new: Any, replaced: tuple[str, ...]) -> provider_pb2.DiffResponse:
        found = dict(differences(old, new))
        again = {path for path in found if path.startswith(replaced)} if replaced else set()
        named = [[place["metadata"][key] for key in ("name", "namespace") if key in place["metadata"]]
                 for place in (old, new) if again]  # fmt: skip
        return provider_pb2.DiffResponse(
            changes="DIFF_SOME" if found else "DIFF_NONE",
            diffs=sorted({path.partition(".")[0] for path in found}),
            replaces=sorted(again),
            deleteBeforeReplace=bool(again) and named[0] == named[1],  # two of a name cannot be there at once
            hasDetailedDiff=True,
            detailedDiff={
                path: provider_pb2.PropertyDiff(kind=f"{change}_REPLACE" if path in again else change, inputDiff=True)
                for path, change in found.items()
            },
        )

    @told
    def Create(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.CreateResponse:
        inputs = _dict(request.properties)
        manifest = plain(inputs)
        takes_over = self.settings.get("upsertExistingObjects") in ON
        if not (request.preview or takes_over) and self.cluster.get(manifest):
            raise Refused(409, f"{manifest['kind']} {_id(manifest)} already exists, and nobody said to take it over")
        with _kept(context, _id(manifest), inputs):
            live = self._applied(manifest, request)
        return provider_pb2.CreateResponse(id=_id(manifest), properties=_outputs(live, inputs))

    @told
    def Update(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.UpdateResponse:
        inputs = _dict(request.news)
        manifest = plain(inputs)
        if request.ignoreChanges:
            live = self.cluster.get(manifest) or {}
            for path in request.ignoreChanges:
                _keep_live(manifest, live, path.split("."))
        with _kept(context, request.id, inputs):
            live = self._applied(manifest, request)
        return provider_pb2.UpdateResponse(properties=_outputs(live, inputs))

    def _applied(self, manifest: dict[str, Any], request: Any) -> dict[str, Any]:
        if request.preview and unknown(manifest):
            return manifest
        force = manifest["metadata"].get("annotations", {}).get("pulumi.com/patchForce") == "true"
        live = self.cluster.apply(manifest, force=force, preview=request.preview)
        return live if request.preview else self._awaited(live, manifest, request.timeout or USUAL_TIMEOUT)

    def _awaited(self, live: dict[str, Any], manifest: dict[str, Any], timeout: float) -> dict[str, Any]:
        return live if os.environ.get("STANDIN_AWAIT") == "off" else self.cluster.wait(manifest, timeout)

    @told
    def Read(self, request: Any, context: grpc.ServicerContext) -> provider_pb2.ReadResponse:
        inputs = _dict(request.inputs)
        live = self.cluster.get(plain(inputs))
        if live is None:
            return provider_pb2.ReadResponse()
        with _kept(context, request.id, inputs):
            live = self._awaited(live, plain(inputs), timeout=0)
        seen = dict(live)
        if "stringData" in inputs:  # is only ever written, and comes back as data
            seen["stringData"] = {key: b64decode(value).decode() for key, value in live.get("data", {}).items()}
        return provider_pb2.ReadResponse(
            id=request.id, properties=_outputs(live, inputs), inputs=_struct(cut(seen, inputs))
        )

    @told
    def Delete(self, request: Any, _context: grpc.ServicerContext) -> Empty:
        self.cluster.delete(plain(_dict(request.old_inputs)), request.timeout or USUAL_TIMEOUT)
        return Empty()

    def Cancel(self, _request: Empty, _context: grpc.ServicerContext) -> Empty:
        self.cluster.cancelled.set()
        return Empty()


class Providers:
    """A Provider for each connection, which is what an engine makes for each provider of its program."""

    def __init__(self) -> None:
        self._by_connection: defaultdict[str, Provider] = defaultdict(Provider)

    def __getattr__(self, method: str) -> Callable[[Any, grpc.ServicerContext], Any]:
        return lambda request, context: getattr(self._by_connection[context.peer()], method)(request, context)


def _id(manifest: dict[str, Any]) -> str:
    metadata = manifest["metadata"]
    return "/".join(metadata[key] for key in ("namespace", "name") if key in metadata)


def _outputs(live: dict[str, Any], inputs: dict[str, Any]) -> struct_pb2.Struct:
    """The live object as the state keeps it: what a Secret holds is always secret, else what was it in the inputs."""
    shown = {**live, "metadata": {key: value for key, value in live["metadata"].items() if key != "managedFields"}}
    always = {"data": secret(None), "stringData": secret(None)} if live["kind"] == "Secret" else {}
    return _struct(marked(shown, {**inputs, **always}))


def _keep_live(manifest: dict[str, Any], live: dict[str, Any], path: list[str]) -> None:
    """Put what is there in place of what we would write: left out, it would be reset where we were its only owner."""
    *above, last = path
    for key in above:
        manifest, live = manifest.get(key, {}), live.get(key, {})
    if last in live:
        manifest[last] = deepcopy(live[last])


@contextmanager
def _kept(context: grpc.ServicerContext, id: str, inputs: dict[str, Any]) -> Iterator[None]:  # noqa: A002
    """What exists and is not ready goes into the state as such: the next `up` tries again, `destroy` finds it."""
    try:
        yield
    except NotReady as late:
        detail = provider_pb2.ErrorResourceInitFailed(
            id=id, reasons=[str(late)], inputs=_struct(inputs), properties=_outputs(dict(late.live) or inputs, inputs)
        )
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(late))
        status.details.add().Pack(detail)
        context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        context.abort(grpc.StatusCode.UNKNOWN, str(late))


def _dict(struct: struct_pb2.Struct) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(struct)
    return found


def _struct(values: dict[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def serve() -> None:
    """Answer on a free port, which who started this reads from stdout, for as long as they are there."""
    starter = os.getppid()
    server = grpc.server(ThreadPoolExecutor(max_workers=16), options=[("grpc.max_receive_message_length", -1)])
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Providers(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    with suppress(KeyboardInterrupt):
        while server.wait_for_termination(timeout=1) and os.getppid() == starter:
            pass
    server.stop(grace=None)
