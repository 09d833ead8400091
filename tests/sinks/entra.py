"""A token endpoint on this machine: trades a federated token for one that names its audience, as Entra does."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LIFETIME = 60  # seconds: short, so that each use of a token asks for a new one


class Certificate(NamedTuple):
    """Files of a certificate for 127.0.0.1 and its key."""

    file: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        return context


def certificate(folder: Path) -> Certificate:
    """A certificate that signs itself."""
    made, key = Certificate(folder / "cert.pem", folder / "key.pem"), ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]), datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    made.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    made.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption_algorithm=plain)
    )
    return made


@dataclass
class Entra:
    """`asked` holds (path, form) of each request for a token."""

    url: str = ""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    entra: Entra

    def log_message(self, *_: Any) -> None: ...

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["content-length"])).decode()))
        self.entra.asked.append((self.path, form))
        token = _token(form["scope"].removesuffix("/.default"))
        answer = json.dumps({"token_type": "Bearer", "expires_in": LIFETIME, "access_token": token}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


def _token(audience: str) -> str:
    """A token in the form of a JWT, signed by nobody: Azurite looks at its claims."""
    now = int(time.time())
    lifetime = {"iat": now, "nbf": now - 60, "exp": now + LIFETIME}
    claims = {"aud": audience, "iss": "https://sts.windows.net/tenant/", **lifetime}
    parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), "none"])


@contextmanager
def entra(shown: Certificate) -> Iterator[Entra]:
    """The endpoint over TLS: the libraries refuse to send an assertion without."""
    state = Entra()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"entra": state}))
    server.socket = shown.context().wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    state.url = f"https://127.0.0.1:{server.server_port}/"  # with the slash, as the webhook gives it
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
