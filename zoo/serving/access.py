"""Who may ask a server: a certificate for encryption, a token, and the origins of web pages."""

import dataclasses
import hmac
import ipaddress
import re
import ssl
from pathlib import Path

from zoo import checks


@dataclasses.dataclass(frozen=True)
class Access:
    """Encryption and permission of both APIs; health checks are free.

    Args:
        certificate: PEM file of the certificate, with those of its issuers; None for no encryption.
        key: PEM file of its private key.
        token: that requests carry as `Authorization: Bearer TOKEN`; None where all may ask.
        origins: of web pages that may ask over REST, such as `https://example.org`; `*` for all.
    """

    certificate: Path | None = None
    key: Path | None = None
    token: str | None = dataclasses.field(default=None, repr=False)
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        is_pair = (self.certificate is None) == (self.key is None)
        checks.require(is_pair, "Access", "a `certificate` and a `key`", certificate=self.certificate, key=self.key)
        if self.certificate and self.key:
            try:
                # Of a key with a password, this one is wrong; without one the program would stop and ask for it.
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self.certificate, self.key, "")
            except (OSError, ValueError) as error:
                received = f"certificate={str(self.certificate)!r}, key={str(self.key)!r} ({error})"
                expected = "PEM files of a certificate and its private key, without a password"
                raise ValueError(f"Access: expected {expected}. Received: {received}.") from error
        # Headers hold ASCII; a token of few characters can be tried out.
        token = self.token if self.token is not None else "x" * 16
        is_plain = token.isascii() and token.isprintable() and token == token.strip()
        expected, length = "a token of 16 or more ASCII characters without blanks around them", len(token)
        checks.require(length >= 16 and is_plain, "Access", expected, characters=length, is_plain=is_plain)
        for origin in self.origins:
            is_origin = origin == "*" or re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+", origin)
            expected = "an origin such as https://example.org, in lower case and without a path, or *"
            checks.require(is_origin, "Access", expected, origin=origin)

    def admits(self, header: str | bytes | None) -> bool:
        """Returns whether a request with this `Authorization` may be answered, in a time that does not tell why."""
        if self.token is None:
            return True
        given = header.encode() if isinstance(header, str) else header or b""
        scheme, _, token = given.partition(b" ")
        return hmac.compare_digest(token.strip(), self.token.encode()) and scheme.lower() == b"bearer"

    def missing(self, host: str) -> list[str]:
        """Returns what a server on a host lacks that others than this machine can reach."""
        try:
            is_local = ipaddress.ip_address(host).is_loopback
        except ValueError:
            is_local = host == "localhost"
        lacks = {"TLS": self.certificate is None, "a token": self.token is None}
        return [] if is_local else [name for name, is_missing in lacks.items() if is_missing]
