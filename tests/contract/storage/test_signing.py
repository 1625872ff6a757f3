"""Which stores sign URLs, for how long, and under which address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from common.digest import sha256_hex
from server.storage.object_store import open_blob_store

DIGEST = sha256_hex(b"a blob")


def test_a_folder_and_memory_sign_nothing(tmp_path: Path) -> None:
    assert open_blob_store(f"file://{tmp_path}/blobs").sign([DIGEST], seconds=60) == []
    assert open_blob_store("memory://").sign([DIGEST], seconds=60) == []


def test_a_signed_url_lasts_as_long_as_was_said_and_lies_below_the_prefix(s3_url: str) -> None:
    (url,) = open_blob_store(s3_url).sign([DIGEST], seconds=1234)
    parts = urlsplit(url)
    assert parts.path.endswith(f"/some/blobs/{DIGEST[:2]}/{DIGEST[2:4]}/{DIGEST}")
    assert parse_qs(parts.query)["X-Amz-Expires"] == ["1234"]


def test_signed_urls_lead_to_the_public_endpoint(s3_url: str) -> None:
    public = quote("https://blobs.example:8443", safe="")
    store = open_blob_store(f"{s3_url}&public_endpoint={public}")
    (url,) = store.sign([DIGEST], seconds=60)
    assert url.startswith("https://blobs.example:8443/")
    assert list(store.list()) == []
