"""``POST …/infer``: a body in, an answer out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from device_agent.serving.http.body import (
    JSON_BYTES_HEADER,
    inflate,
    read_body,
    read_encoding,
    read_json_bytes,
)
from device_agent.serving.protocol.json_answers import Content, format_reply
from device_agent.serving.protocol.json_requests import parse_request
from device_agent.serving.protocol.messages import Reply
from device_agent.serving.refusals import GoneError
from device_agent.serving.service import Service

# How much larger a body may become that is compressed.
_INFLATION: Final = 1000


async def infer(service: Service, request: Request) -> Response:
    """The response to a request for inference.

    Raises:
        Error: It is not answered; nothing has been sent.
    """
    name, version = request.path_params["name"], request.path_params.get("version", "")
    with service.asked(name, version, "http") as asked, service.allowance.claim() as claim:
        json_bytes, encoding = read_json_bytes(request), read_encoding(request)
        body = await read_body(request, claim, is_json=json_bytes is None and not encoding)
        read = await service.off_loop.run(
            lambda: parse_request(inflate(body, encoding, claim), json_bytes),
            len(body) * (_INFLATION if encoding else 1),
        )
        if json_bytes is None:
            # Arrays beside the text that they came as.
            claim.add(sum(array.nbytes for array in read.inputs.values()))
        reply = await _while_wanted(service.infer(asked, read), request)
        size_bytes = sum(array.nbytes for array in reply.outputs.values())
        content = await service.off_loop.run(lambda: format_reply(reply, read), size_bytes)
    return _response(content)


async def _while_wanted(answering: Coroutine[Any, Any, Reply], request: Request) -> Reply:
    """The answer, which is not waited for once the client has closed its connection."""
    answer = asyncio.ensure_future(answering)
    gone = asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise GoneError("The client is gone.")
        return answer.result()
    finally:
        for task in (answer, gone):
            task.cancel()


def _response(content: Content) -> Response:
    if content.json_bytes is None:
        return Response(content.body, media_type="application/json")
    headers = {JSON_BYTES_HEADER: str(content.json_bytes)}
    return Response(content.body, headers=headers, media_type="application/octet-stream")
