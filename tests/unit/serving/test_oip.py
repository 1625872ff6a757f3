"""The inference protocol's JSON: what is taken, what is refused, and how an answer looks."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from device_agent.serving.oip import DATATYPES, datatype_of, format_response, parse_request
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.errors import InvalidInputError


def body(**changes: Any) -> bytes:
    tensor = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2.5, -3, 4]} | changes
    return json.dumps({"inputs": [tensor]}).encode()


@example(array=np.array([1 << 63, 0], np.uint64), nested=False)
@given(
    st.sampled_from(sorted(DATATYPES)).flatmap(
        lambda name: hnp.arrays(
            DATATYPES[name],
            hnp.array_shapes(max_dims=4, max_side=4),
            elements=hnp.from_dtype(DATATYPES[name], allow_nan=False, allow_infinity=False),
        )
    ),
    st.booleans(),
)
def test_what_one_side_formats_the_other_parses(array: np.ndarray[Any, Any], nested: bool) -> None:  # noqa: FBT001
    answer = json.loads(format_response(model="m", version=3, request_id="r", outputs={"y": array}, level=6))
    output = answer["outputs"][0]
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("m", "3", "r")
    assert answer["parameters"] == {"level": 6}
    data = array.tolist() if nested else output["data"]
    asked = json.dumps({"id": "r", "inputs": [{**output, "data": data}], "outputs": [{"name": "y"}]})
    request = parse_request(asked.encode())
    np.testing.assert_array_equal(request.inputs["y"], array, strict=True)
    assert request.outputs == ("y",)
    assert request.request_id == "r"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datatype": "FP8"}, "unknown datatype"),
        ({"datatype": "BYTES", "data": ["a"] * 4}, "unknown datatype"),
        ({"shape": [2, 3]}, r"states shape \[2, 3\] and sends \[4\]"),
        ({"shape": [4, 1], "data": [[1, 2], [3, 4]]}, "states shape"),
        ({"shape": []}, "1 to 8 sizes"),
        ({"shape": [0], "data": []}, "positive whole number"),
        ({"shape": [True, 4]}, "positive whole number"),
        ({"shape": [2000, 1], "data": [0] * 2000}, "at most 1024 samples"),
        ({"data": [[1, 2], [3]]}, "no regular list"),
        ({"data": ["1", "2", "3", "4"]}, "does not suit FP32"),
        ({"data": [None, 1, 2, 3]}, "does not suit FP32"),
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
    answer = json.loads(format_response(model="m", version=1, request_id="", outputs={"y": array}, level=4))
    assert answer["outputs"][0]["data"] == [1.5, None, None, None]
    assert "id" not in answer


def test_a_type_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no datatype for complex64"):
        datatype_of(np.dtype(np.complex64))
