"""A bounded queue of MQTT messages in which a newer message takes the place of an older one on its topic."""

from __future__ import annotations

import asyncio

import aiomqtt


class Mailbox(asyncio.Queue[aiomqtt.Message]):
    """Messages by topic, in the order in which the topics came up.

    Every message of the control protocol states a goal or a fact, so the newest on a topic says all; a device
    that reports faster than the server reads costs one place.
    """

    def _init(self, maxsize: int) -> None:  # noqa: ARG002  # asyncio.Queue's hook
        self._queue: dict[str, aiomqtt.Message] = {}

    def _get(self) -> aiomqtt.Message:
        return self._queue.pop(next(iter(self._queue)))

    def _put(self, item: aiomqtt.Message) -> None:
        self._queue[item.topic.value] = item

    def put_nowait(self, item: aiomqtt.Message) -> None:
        """Take a message in.

        Raises:
            asyncio.QueueFull: There is no place and no older message on the topic.
        """
        if item.topic.value in self._queue:
            self._put(item)
        else:
            super().put_nowait(item)
