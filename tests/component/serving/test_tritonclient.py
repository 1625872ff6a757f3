"""Triton's own client, unchanged, in a process and a Python environment of its own."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from nestfleet.oip import open_inference_pb2

from tests.support.serving import site

PYTHON = Path(sys.prefix) / "triton" / "bin" / "python"
CHECKS = Path(__file__).parents[2] / "support" / "triton_checks.py"


async def run(check: str, *addresses: str) -> str:
    assert PYTHON.exists(), f"tritonclient is not set up in {PYTHON.parents[1]}: run `make test`"
    process = await asyncio.create_subprocess_exec(
        PYTHON,
        "-I",
        CHECKS,
        check,
        *addresses,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize(
    "check",
    [
        "http_facts",
        "http_infer",
        "http_refusals",
        "http_aio",
        "grpc_facts",
        "grpc_infer",
        "grpc_refusals",
        "grpc_aio",
    ],
)
async def test_tritonclient_gets_what_it_expects(check: str) -> None:
    async with site() as place:
        await run(check, place.endpoint.http_url.removeprefix("http://"), place.endpoint.grpc_address)


async def test_the_contract_is_part_of_tritons() -> None:
    theirs = json.loads(await run("contract", "", ""))
    file = descriptor_pb2.FileDescriptorProto()
    open_inference_pb2.DESCRIPTOR.CopyToProto(file)
    assert file.package == "inference"
    pending = [("", message) for message in file.message_type]
    while pending:
        prefix, message = pending.pop()
        name = f"{prefix}{message.name}"
        for field in message.field:
            assert theirs[name][field.name] == [field.number, field.type, field.label], (name, field.name)
        pending += [(f"{name}.", nested) for nested in message.nested_type]
    for enum in file.enum_type:
        assert theirs[enum.name] == {value.name: value.number for value in enum.value}
    for method in file.service[0].method:
        assert theirs["GRPCInferenceService"][method.name] == [method.input_type, method.output_type]
