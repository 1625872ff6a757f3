"""Deltas of a server in memory, and ways in which they can be wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from common.block_codec import Content, decode, shape_of
from common.block_pairs import pair_blocks
from common.delta import Span, encode_delta, spans
from common.digest import sha256_hex
from common.manifest import Manifest
from device_agent.link.server import DeltaOffer

Version = tuple[Manifest, Mapping[str, bytes]]


@dataclass
class DeltaDesk:
    """Makes every delta that is smaller than its blobs.

    Attributes:
        piecemeal: Whether it makes a delta of every blob, even where one could tell several.
        blobs: All that were made, by digest.
    """

    piecemeal: bool = False
    blobs: dict[str, bytes] = field(default_factory=dict)

    def offers(
        self, wanted: Version, held: Version, blobs_per_block: Sequence[int], present: Sequence[int]
    ) -> list[DeltaOffer]:
        manifest, other = wanted[0], held[0]
        known = {ref.digest for ref in other.device_refs()}
        offers = []
        for at, other_at in pair_blocks(manifest, other).items():
            for span in self._cut(manifest, at, present[at], blobs_per_block[at]):
                refs = manifest.blocks[at].blobs[span.first : span.last + 1]
                data = self.delta(contents(held, other_at, span.last), contents(wanted, at, span.last), span)
                if len(data) < sum(ref.size_bytes for ref in refs if ref.digest not in known):
                    digest = sha256_hex(data)
                    self.blobs[digest] = data
                    below = other.blocks[other_at].blobs[: span.last + 1]
                    offers.append(
                        DeltaOffer(
                            tuple(ref.digest for ref in refs),
                            tuple(ref.digest for ref in below),
                            digest,
                            len(data),
                        )
                    )
        return offers

    def delta(self, held: Sequence[Content], wanted: Sequence[Content], span: Span) -> bytes:
        """The delta of a span."""
        data = encode_delta(held, wanted, span)
        assert data is not None
        return data

    def _cut(self, manifest: Manifest, at: int, first: int, count: int) -> Sequence[Span]:
        block, levels = manifest.blocks[at], manifest.levels
        if self.piecemeal:
            return [Span(block, levels, index, index) for index in range(first, count)]
        return spans(block, levels, first, count)


class ConfusedDesk(DeltaDesk):
    """Its deltas have the digests that it says, and give the blobs of the held version."""

    def delta(self, held: Sequence[Content], wanted: Sequence[Content], span: Span) -> bytes:  # noqa: ARG002
        return super().delta(held, held, span)


class WrongBaseDesk(DeltaDesk):
    """Its deltas give the bases of the held version, and right shards."""

    def delta(self, held: Sequence[Content], wanted: Sequence[Content], span: Span) -> bytes:
        told = [held[0], *wanted[1:]] if span.first == 0 else wanted
        return super().delta(held, told, span)


def contents(version: Version, at: int, last: int) -> list[Content]:
    """Contents of a block's blobs up to an index."""
    manifest, blobs = version
    block = manifest.blocks[at]
    return [
        decode(blobs[ref.digest], ref, shape_of(block, manifest.levels, index))
        for index, ref in enumerate(block.blobs[: last + 1])
    ]
