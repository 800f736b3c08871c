"""Where an OpenAI-compatible server is, and how it wants to be asked.

The key is read from the environment when it is needed and stands in no setting, repr, log or message; an address that
carries a secret is refused, because addresses are written into the record.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import msgspec

from funreason.errors import ModelError


class Address(msgspec.Struct, frozen=True):
    """Where to ask. `url` is the base, usually ending with /v1; `key_env` names an environment variable.

    `extra` goes into the body of every request as it is. `supports_json_schema` says whether the server obeys a JSON
    schema; None finds out. ModelError when the address cannot be used, or would carry a secret.
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
                f"the address of {parts.hostname} holds a user, a password or a query, which would be written into "
                "the record. Put the key into an environment variable and its name into key_env."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ModelError(f"url is {self.url!r}; expected the base address of a server: http://host:port/v1")
        if self.key_env is not None and not self.key_env.isidentifier():
            raise ModelError(f"key_env of {self.url} is no name: expected the NAME of an environment variable, no key")

    @property
    def base(self) -> str:
        """The address without a slash at its end."""
        return self.url.rstrip("/")

    @property
    def proxied(self) -> bool:
        """Whether the environment (`HTTPS_PROXY`, `NO_PROXY`) has a proxy for it.

        Worth knowing: aiohttp looks for one in a thread of its own with each request, which costs more than the rest of
        the request does.
        """
        parts = urlsplit(self.url)
        return parts.scheme in getproxies() and not proxy_bypass(parts.hostname or "")

    def key(self) -> str | None:
        """The key, from the environment. ModelError when the variable is not set, or cannot be a key."""
        if self.key_env is None:
            return None
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            name = self.key_env if self.key_env.isupper() else "given"  # anything else may be the key itself
            raise ModelError(
                f"{self.base}: key_env is {name}, but that variable is not set. Export the key, and give key_env the "
                "variable's NAME."
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ModelError(f"{self.base}: what {self.key_env} holds cannot be a key: blanks or unprintable signs")
        return key
