"""An authenticator in software: makes passkeys and answers for them, truthfully or as an attacker would like."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Any

import cbor2
import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from neurogrid.auth.ceremonies import decode, encode

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Authenticator:
    """One passkey, and the browser around it. What is set here is what it says, true or not."""

    origin: str
    domain: str | None = None
    """``None``: the one it is asked for."""
    verified: bool = True
    count: int = 1
    id: bytes = field(default_factory=lambda: os.urandom(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    user: str | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """What else the browser says of where it was asked."""

    def make(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what ``navigator.credentials.create`` gives."""
        self.user = options["user"]["id"]
        numbers = self.key.public_key().public_numbers()
        public = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        attested = bytes(16) + len(self.id).to_bytes(2) + self.id + cbor2.dumps(public)
        data = self._data(options["rp"]["id"], ATTESTED) + attested
        attestation = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        self.count += 1
        said = self._said("webauthn.create", options["challenge"])
        response = {"clientDataJSON": encode(said), "attestationObject": encode(attestation)}
        return self._credential({**response, "transports": ["internal", "hybrid"]})

    def answer(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return what ``navigator.credentials.get`` gives."""
        said = self._said("webauthn.get", options["challenge"])
        data = self._data(options["rpId"])
        signature = self.key.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(hashes.SHA256()))
        self.count += 1
        return self._credential(
            {
                "clientDataJSON": encode(said),
                "authenticatorData": encode(data),
                "signature": encode(signature),
                "userHandle": self.user,
            }
        )

    def _data(self, domain: str, flags: int = 0) -> bytes:
        digest = hashlib.sha256((self.domain or domain).encode()).digest()
        flags |= PRESENT | (VERIFIED if self.verified else 0)
        return digest + bytes([flags]) + self.count.to_bytes(4)

    def _said(self, kind: str, challenge: str) -> bytes:
        return orjson.dumps({"type": kind, "challenge": challenge, "origin": self.origin, **self.more})

    def _credential(self, response: dict[str, Any]) -> dict[str, Any]:
        id = encode(self.id)
        return {"id": id, "rawId": id, "type": "public-key", "response": response}


def tampered(credential: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a credential with one bit of a field of its response changed."""
    value = bytearray(decode(credential["response"][name]))
    value[-1] ^= 1
    return {**credential, "response": {**credential["response"], name: encode(bytes(value))}}
