"""An S3-compatible store by its URL: which bucket, where it answers, and how long it is waited for."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit, urlunsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from common.errors import ConfigError
from server.storage.objects import ObjectBlobStore

if TYPE_CHECKING:  # obstore has these names for type checkers alone
    from obstore.store import ClientConfig, RetryConfig, S3Config

REQUEST_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 5.0
_RETRIES: Final = 3
_SAID: Final = ("endpoint", "public_endpoint", "region")
_ADVICE: Final = (
    "Write s3://BUCKET/PREFIX, where needed with ?endpoint=URL&region=NAME&public_endpoint=URL;"
    " credentials come from the AWS_* variables."
)


def open_s3(url: str, *, request_seconds: float = REQUEST_SECONDS) -> ObjectBlobStore:
    """The store at ``s3://BUCKET/PREFIX?endpoint=URL&region=NAME&public_endpoint=URL``.

    What the query does not say, the AWS_* variables do. An endpoint written as ``http://`` may be plain.
    Signed URLs lead to the public endpoint, where devices find the store under another name than the server.

    Args:
        url: The place.
        request_seconds: Longest wait for one answer; a request is repeated only within this time.

    Raises:
        ConfigError: The URL names no place.
    """
    parts = urlsplit(url)
    said = _query(parts)
    if not parts.netloc or "@" in parts.netloc:
        raise ConfigError(
            "The blob store's URL has no bucket, or more than a bucket, as host.", advice=_ADVICE
        )
    place = urlunsplit(parts._replace(query=""))
    endpoint = said.get("endpoint", "")
    region = said.get("region", "")
    try:
        store = _store(place, endpoint, region, request_seconds)
        public = said.get("public_endpoint")
        signer = _store(place, public, region, request_seconds) if public else store
    except (BaseError, ValueError) as error:
        raise ConfigError(f"s3://{parts.netloc}{parts.path} names no blob store.", advice=_ADVICE) from error
    return ObjectBlobStore(store, signer=signer)


def _query(parts: SplitResult) -> dict[str, str]:
    said = dict(parse_qsl(parts.query, keep_blank_values=True))
    for key, value in said.items():
        if key not in _SAID:
            raise ConfigError(f"{key[:40]!r} says nothing about a blob store.", advice=_ADVICE)
        if key != "region":
            where = urlsplit(value)
            if where.scheme not in {"http", "https"} or not where.netloc or "@" in where.netloc:
                raise ConfigError(f"The blob store's {key} is no http(s)://HOST:PORT.", advice=_ADVICE)
    return said


def _store(place: str, endpoint: str, region: str, request_seconds: float) -> S3Store:
    config: S3Config = {}
    if endpoint:
        config["endpoint"] = endpoint
    if region:
        config["region"] = region
    client: ClientConfig = {
        "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, request_seconds)),
        "timeout": timedelta(seconds=request_seconds),
    }
    # What is said here hides what obstore would read of the client in the environment.
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in {"1", "true", "yes", "on"}
    if allowed or endpoint.startswith("http://"):
        client["allow_http"] = True
    # The default repeats for three minutes; whoever waits here has a deadline of its own.
    retry: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=request_seconds)}
    return S3Store.from_url(place, config=config, client_options=client, retry_config=retry)
