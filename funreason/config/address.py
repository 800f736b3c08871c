"""The address of an OpenAI-compatible server and the options of its requests.

The API key is read from the environment when needed and never appears in settings, reprs, logs or messages. An address
that contains a secret is refused, because addresses are written into the record.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from funreason.errors import ModelError


class Address(msgspec.Struct, frozen=True):
    """A server. `url` is its base address, usually ending with /v1; `key_env` names an environment variable.

    `extra` is added unchanged to the body of every request. `supports_json_schema` says whether the server enforces a
    JSON schema (None: detect it). ModelError when the address is invalid or contains a secret.
    """

    url: str
    model: str | None = None
    key_env: str | None = None
    concurrency: int = 16
    timeout_s: float = 120.0
    supports_json_schema: bool | None = None
    extra: dict[str, Any] = {}

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.username or parts.password or parts.query:
            raise ModelError(
                f"the address of {parts.hostname} contains a user, a password or a query, which would be written into "
                "the record. Put the key into an environment variable and that variable's name into key_env."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(f"url is {self.url!r}; expected the base address of a server: http://host:port/v1")
        if self.key_env is not None and not self.key_env.isidentifier():
            raise ModelError(
                f"key_env of {self.url} is not the NAME of an environment variable; do not give the key itself"
            )

    @property
    def base(self) -> str:
        """The address without a trailing slash."""
        return self.url.rstrip("/")

    @property
    def proxied(self) -> bool:
        """Whether the environment (`HTTPS_PROXY`, `NO_PROXY`) sets a proxy for it.

        Checked once, because aiohttp looks for one in a thread for each request, which costs more than the rest of it.
        """
        parts = urlsplit(self.url)
        return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")

    def key(self) -> str | None:
        """The key from the environment. ModelError when the variable is unset or cannot be a key."""
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            name = self.key_env if self.key_env.isupper() else "given"  # anything else may be the key itself
            raise ModelError(
                f"{self.base}: key_env is {name}, but that variable is not set. Export the key, and set key_env to the "
                "variable's NAME."
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ModelError(f"{self.base}: {self.key_env} cannot be a key: it holds spaces or unprintable characters")
        return key
