"""Deltas between versions of a block. Pure."""

from common.delta.codec import decode_delta, encode_delta
from common.delta.span import Span, comparable, spans

__all__ = ["Span", "comparable", "decode_delta", "encode_delta", "spans"]
