"""A real identity provider on loopback: JWK set, introspection of API keys, Keycloak's permissions."""

import json
import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

CLIENT_ID, CLIENT_SECRET = "song", "the secret of the client"
REALM = "test"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


@cache
def rsa_key(name: str = "one", bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return a key; another one for another name."""
    del name
    return rsa.generate_private_key(65537, bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@cache
def ed25519_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def jwk(key: PrivateKey, key_id: str, **members: str) -> dict[str, Any]:
    """Return a public key as an identity provider publishes it."""
    kinds: Mapping[type, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
        ed25519.Ed25519PrivateKey: jwt.algorithms.OKPAlgorithm,
    }
    algorithm = next(algorithm for kind, algorithm in kinds.items() if isinstance(key, kind))
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig", **members}


def token(
    *scopes: str,
    key: PrivateKey | None = None,
    algorithm: str = "RS256",
    key_id: str | None = "rsa",
    lasts_seconds: float = 300,
    **claims: object,
) -> str:
    """Return a JWT as Overture's Ego makes them; a claim that is None is left out."""
    now = time.time()
    told: dict[str, object] = {
        "sub": "subject-1",
        "iat": int(now) - 1000,
        "exp": int(now + lasts_seconds),
        "context": {"scope": list(scopes), "user": {"name": "ada@example.org"}},
    }
    told = {name: value for name, value in (told | claims).items() if value is not None}
    headers = {"kid": key_id} if key_id is not None else None
    return jwt.encode(told, key or rsa_key(), algorithm, headers)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that came."""

    path: str
    form: Mapping[str, str]
    authorization: str

    @property
    def basic(self) -> str:
        """User and password, `user:password`."""
        return b64decode(self.authorization.removeprefix("Basic ")).decode()


Reply = tuple[int, object]
"""HTTP status, and JSON or bytes."""


@dataclass(slots=True)
class IdentityServer:
    """What it knows, what it was asked, and how it misbehaves."""

    url: str
    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk(rsa_key(), "rsa")])
    api_keys: dict[str, Reply] = field(default_factory=dict)
    """By key."""
    permissions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Keycloak's, by JWT."""
    instead: Callable[[Asked], Reply | None] = lambda _asked: None
    """Answers in place of the rest unless it returns None."""
    asked: list[Asked] = field(default_factory=list)
    stop: Callable[[], None] = lambda: None
    """Stops serving."""

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/jwks"

    @property
    def api_key_url(self) -> str:
        return f"{self.url}/introspect"

    def paths(self) -> list[str]:
        """Return the paths of what was asked."""
        return [asked.path for asked in self.asked]

    def reply(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        instead = self.instead(asked)
        if instead is not None:
            return instead
        protocol = f"/realms/{REALM}/protocol/openid-connect"
        match asked.path:
            case "/jwks":
                return 200, {"keys": self.keys}
            case "/introspect":
                return self._introspect(asked)
            case path if path == f"{protocol}/certs":
                return 200, {"keys": self.keys}
            case path if path == f"{protocol}/token":
                return self._permissions(asked)
        return 404, {"error": "not found"}

    def _introspect(self, asked: Asked) -> Reply:
        if asked.basic != f"{CLIENT_ID}:{CLIENT_SECRET}":
            return 500, {"error": "who are you?"}
        return self.api_keys.get(asked.form.get("apiKey", ""), (400, {"error": "invalid_token"}))

    def _permissions(self, asked: Asked) -> Reply:
        expected = {
            "grant_type": "urn:ietf:params:oauth:grant-type:uma-ticket",
            "audience": CLIENT_ID,
            "response_mode": "permissions",
        }
        if asked.form != expected:
            return 400, {"error": "invalid_request"}
        found = self.permissions.get(asked.authorization.removeprefix("Bearer "))
        return (200, found) if found is not None else (403, {"error": "access_denied"})


def write_certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1, its own authority, and its key to one PEM file; return its path."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "identity provider of the tests")])
    key, now = ec_key(), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "certificate.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + private_pem(key))
    return path


@contextmanager
def identity_server(certificate: Path | None = None) -> Iterator[IdentityServer]:
    """Serve one on a free port of loopback, with a certificate over TLS."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["content-length"])).decode()
            self._answer({name: values[0] for name, values in parse_qs(text).items()})

        def _answer(self, form: Mapping[str, str]) -> None:
            status, body = served.reply(Asked(self.path, form, self.headers.get("authorization", "")))
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(sent)))
            if status in range(300, 400):
                self.send_header("location", served.jwks_url)
            self.end_headers()
            try:
                self.wfile.write(sent)
            except OSError:
                self.close_connection = True  # the caller had enough

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the library's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    scheme = "http" if certificate is None else "https"
    served = IdentityServer(f"{scheme}://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    served.stop = stop
    try:
        yield served
    finally:
        stop()


def write_public_key(folder: Path, key: PrivateKey | None = None) -> Path:
    """Write the public key to a PEM file; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "public-key.pem"
    path.write_bytes(public_pem(key or rsa_key()))
    return path
