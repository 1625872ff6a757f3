"""Asks an agent over the Open Inference Protocol, as any application on the board would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.demo.digits import Samples
from benchmarks.demo.failure import DemoFailure

MODEL: Final = "digits"
_BATCH: Final = 90
_ANSWER_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What an agent replied.

    Attributes:
        outputs: float64 [samples, classes]; the highest is the digit that it sees.
        version: The version that answered.
        level: The lowest level of any of its blocks, in bits.
    """

    outputs: NDArray[np.float64]
    version: int
    level: int


class Endpoint:
    """An agent's HTTP server.

    Args:
        url: Where it answers.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.Client(base_url=url, timeout=_ANSWER_SECONDS, trust_env=False)
        self._input = ""

    def close(self) -> None:
        """Give the connection up."""
        self._client.close()

    def answers(self) -> bool:
        """Whether the model answers a request at this moment."""
        return self._client.get(f"/v2/models/{MODEL}/ready").status_code == httpx.codes.OK

    def received_bytes(self) -> int:
        """All payload that the agent ever received, by its own count."""
        ledger: Mapping[str, int] = _checked(self._client.get("/nestfleet/status"))["ledger"]
        return sum(ledger.values()) - ledger["overhead"]

    def ask(self, images: NDArray[np.float32]) -> Answer:
        """What digits the images show, in the agent's eyes.

        Raises:
            DemoFailure: It did not answer.
        """
        try:
            self._input = self._input or self._input_name()
            reply = self._client.post(f"/v2/models/{MODEL}/infer", json=self._request(images))
        except httpx.HTTPError as error:
            raise DemoFailure(f"{self.url} does not answer: {error}") from error
        return _answer(_checked(reply))

    def ask_all(self, samples: Samples) -> Answer:
        """What digits many images show, asked in several requests.

        Raises:
            DemoFailure: It did not answer, or changed version or level in between.
        """
        parts = range(0, len(samples), _BATCH)
        answers = [self.ask(samples.images[start : start + _BATCH]) for start in parts]
        states = {(answer.version, answer.level) for answer in answers}
        if len(states) != 1:
            raise DemoFailure(f"{self.url} changed while it was asked: {sorted(states)}")
        return Answer(np.concatenate([answer.outputs for answer in answers]), *states.pop())

    def _input_name(self) -> str:
        return str(_checked(self._client.get(f"/v2/models/{MODEL}"))["inputs"][0]["name"])

    def _request(self, images: NDArray[np.float32]) -> Mapping[str, Any]:
        data = images.reshape(-1).tolist()
        tensor = {"name": self._input, "datatype": "FP32", "shape": list(images.shape), "data": data}
        return {"inputs": [tensor]}


def _checked(reply: httpx.Response) -> dict[str, Any]:
    if reply.status_code != httpx.codes.OK:
        raise DemoFailure(f"{reply.url} answers {reply.status_code}: {reply.text[:300]}")
    tree: dict[str, Any] = reply.json()
    return tree


def _answer(tree: Mapping[str, Any]) -> Answer:
    output = tree["outputs"][0]
    outputs = np.array(output["data"], np.float64).reshape(output["shape"])
    return Answer(outputs, int(tree["model_version"]), int(tree["parameters"]["level"]))
