"""The inference protocol's JSON: what is taken, what is refused, and how an answer looks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.errors import InvalidInputError
from device_agent.serving.protocol.datatypes import DATATYPES, datatype_of
from device_agent.serving.protocol.json_answers import Content, format_reply
from device_agent.serving.protocol.json_requests import parse_request
from device_agent.serving.protocol.limits import MAX_JSON_BRACKETS, MAX_JSON_BYTES
from device_agent.serving.protocol.messages import InferRequest, Reply
from device_agent.serving.refusals import TooLargeError


def body(**changes: Any) -> bytes:
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2.5, -3, 4]} | changes
    return json.dumps({"inputs": [tensor]}).encode()


def content(array: np.ndarray[Any, Any], *, as_bytes: bool = False, request_id: str = "r") -> Content:
    request = InferRequest({}, {}, request_id, as_bytes)
    return format_reply(Reply("m", 3, request_id, {"y": array}, level=6), request)


def arrays(*, finite: bool) -> st.SearchStrategy[np.ndarray[Any, Any]]:
    return st.sampled_from(sorted(DATATYPES)).flatmap(
        lambda name: hnp.arrays(
            DATATYPES[name],
            hnp.array_shapes(max_dims=4, max_side=4),
            elements=hnp.from_dtype(DATATYPES[name], allow_nan=not finite, allow_infinity=not finite),
        )
    )


@example(array=np.array([1 << 63, 0], np.uint64), nested=False)
@given(arrays(finite=True), st.booleans())
def test_what_one_side_formats_the_other_parses(array: np.ndarray[Any, Any], nested: bool) -> None:  # noqa: FBT001
    answer = json.loads(content(array).body)
    output = answer["outputs"][0]
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("m", "3", "r")
    assert answer["parameters"] == {"level": 6}
    data = array.tolist() if nested else output["data"]
    asked = json.dumps({"id": "r", "inputs": [{**output, "data": data}], "outputs": [{"name": "y"}]})
    request = parse_request(asked.encode())
    np.testing.assert_array_equal(request.inputs["y"], array, strict=True)
    assert request.outputs == {"y": False}
    assert request.request_id == "r"


@given(arrays(finite=False), arrays(finite=False))
def test_bytes_behind_the_json_are_the_arrays(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any]) -> None:
    request = InferRequest({}, {"a": True, "c": False}, "", as_bytes=True)
    made = format_reply(Reply("m", 3, "", {"a": one, "b": two, "c": np.zeros(1)}, level=6), request)
    assert made.json_bytes is not None
    tree = json.loads(made.body[: made.json_bytes])
    assert "data" in tree["outputs"].pop()
    assert len(made.body) == made.json_bytes + one.nbytes + two.nbytes
    text = json.dumps({"inputs": tree["outputs"], "parameters": {"binary_data_output": True}}).encode()
    parsed = parse_request(text + made.body[made.json_bytes :], len(text))
    np.testing.assert_array_equal(parsed.inputs["a"], one, strict=True)
    np.testing.assert_array_equal(parsed.inputs["b"], two, strict=True)
    assert parsed.as_bytes


def binary(size_bytes: object, tail: bytes, **changes: Any) -> tuple[bytes, int]:
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32"} | changes
    text = json.dumps({"inputs": [{**tensor, "parameters": {"binary_data_size": size_bytes}}]}).encode()
    return text + tail, len(text)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (binary(16, bytes(15)), "states 16 bytes, and 15 are left"),
        (binary(16, bytes(17)), "1 bytes at the end"),
        (binary(12, bytes(12)), "16 bytes, and sends 12"),
        (binary(1 << 70, bytes(16)), "16 are left"),
        (binary(-1, b""), "whole 'binary_data_size'"),
        (binary(True, b""), "whole 'binary_data_size'"),  # noqa: FBT003
        (binary("16", bytes(16)), "whole 'binary_data_size'"),
        (binary(16, bytes(16), data=[1, 2, 3, 4]), "no 'data' beside it"),
        (binary(4, b"\0\1\2\1", datatype="BOOL"), "neither 0 nor 1"),
        (binary(16, bytes(16), datatype="BYTES"), "no model here takes BYTES"),
        (binary(1 << 60, b"", shape=[1024, 1 << 31, 1 << 31]), "0 are left"),
    ],
)
def test_bytes_that_do_not_keep_their_word_are_refused(made: tuple[bytes, int], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_request(*made)


@pytest.mark.parametrize("json_bytes", [0, 1000])
def test_a_length_that_cannot_be_is_refused(json_bytes: int) -> None:
    with pytest.raises(InvalidInputError, match="cannot be JSON"):
        parse_request(body(), json_bytes)


def test_json_that_would_take_too_much_memory_is_refused() -> None:
    with pytest.raises(TooLargeError, match="binary data"):
        parse_request(b" " * (MAX_JSON_BYTES + 1))
    with pytest.raises(InvalidInputError, match="too many lists"):
        parse_request(b"[" + b"[]," * MAX_JSON_BRACKETS + b"[]]")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"outputs": [{"name": "y", "parameters": {"classification": 2}}]}, "'classification', which"),
        ({"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "not spoken"),
        ({"outputs": [{"name": "y", "parameters": []}]}, None),
        ({"outputs": [{"name": "y", "parameters": [1]}]}, "'parameters' is no object"),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "neither true nor false"),
        ({"parameters": {"binary_data_output": "yes"}}, "neither true nor false"),
        ({"id": "i" * 257}, "at most 256"),
        ({"id": 7}, "'id' is no text"),
    ],
)
def test_what_is_not_spoken_is_refused(more: dict[str, Any], message: str | None) -> None:
    text = json.dumps(json.loads(body()) | more).encode()
    if message is None:
        assert parse_request(text).outputs == {"y": False}
        return
    with pytest.raises(InvalidInputError, match=message):
        parse_request(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datatype": "FP8"}, "unknown datatype"),
        ({"datatype": "BYTES", "data": ["a"] * 4}, "no model here takes BYTES"),
        ({"shape": [2, 3]}, r"states shape \[2, 3\] and sends \[4\]"),
        ({"shape": [4, 1], "data": [[1, 2], [3, 4]]}, "states shape"),
        ({"shape": []}, "1 to 8 sizes"),
        ({"shape": [0], "data": []}, "positive whole number"),
        ({"shape": [True, 4]}, "positive whole number"),
        ({"shape": [2000, 1], "data": [0] * 2000}, "at most 1024 samples"),
        ({"data": [[1, 2], [3]]}, "no regular list"),
        ({"data": ["1", "2", "3", "4"]}, "does not suit FP32"),
        ({"data": [None, 1, 2, 3]}, "does not suit FP32"),
        ({"data": [["a" * 4_000_000] + [1] * 9_000] * 2}, "does not suit FP32"),
        ({"data": [[[[[[[[[[[1, 2, 3, 4]]]]]]]]]]]}, "does not suit FP32"),
        ({"data": [{}, 1, 2, 3]}, "does not suit FP32"),
        ({"name": "n" * 257}, "no 'name' of 1 to 256"),
        ({"data": [1e39, 1, 2, 3]}, "leaves the range of FP32"),
        ({"data": "AAAA"}, "no list as 'data'"),
        ({"datatype": "INT8", "data": [1, 2, 3, 128]}, "leaves the range of INT8"),
        ({"datatype": "INT64", "data": [1, 2, 3, 1.5]}, "does not suit INT64"),
        ({"datatype": "INT64", "data": [1, 2, 3, 2**64]}, "does not suit INT64"),
        ({"datatype": "BOOL"}, "does not suit BOOL"),
        ({"name": 7}, "no 'name'"),
    ],
)
def test_a_tensor_that_does_not_keep_its_word_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_request(body(**changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [NaN]}]}', "NaN is no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "no 'inputs'"),
        (b'{"inputs": {}}', "no 'inputs'"),
        (b'{"inputs": {"a": 1}}', "no list of at most"),
        (b'{"inputs": [1]}', "no object"),
        (b"\xff\xfe", "no JSON"),
    ],
)
def test_a_body_that_is_no_request_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        parse_request(text)


def test_an_input_that_comes_twice_is_refused() -> None:
    tree = json.loads(body())
    with pytest.raises(InvalidInputError, match="comes twice"):
        parse_request(json.dumps({"inputs": tree["inputs"] * 2}).encode())


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.text(), st.lists).map(lambda t: json.dumps(t).encode())
)
def test_nothing_but_a_refusal_comes_of_noise(noise: bytes) -> None:
    with pytest.raises(InvalidInputError):
        parse_request(noise)


def test_values_beyond_json_come_as_null() -> None:
    array = np.array([[1.5, np.nan], [np.inf, -np.inf]], np.float32)
    answer = json.loads(content(array, request_id="").body)
    assert answer["outputs"][0]["data"] == [1.5, None, None, None]
    assert "id" not in answer


def test_a_type_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no datatype for complex64"):
        datatype_of(np.dtype(np.complex64))
