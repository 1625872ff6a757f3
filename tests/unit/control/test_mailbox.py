from __future__ import annotations

import asyncio

import aiomqtt
import pytest

from server.control.link import wait_before
from server.control.mailbox import Mailbox


def message(topic: str, payload: bytes) -> aiomqtt.Message:
    return aiomqtt.Message(topic, payload, qos=1, retain=False, mid=1, properties=None)


def drained(mailbox: Mailbox) -> list[tuple[str, object]]:
    messages = [mailbox.get_nowait() for _ in range(mailbox.qsize())]
    return [(item.topic.value, item.payload) for item in messages]


async def test_the_newest_on_a_topic_takes_the_older_ones_place() -> None:
    mailbox = Mailbox()
    for topic, payload in (("a", b"1"), ("b", b"2"), ("a", b"3")):
        mailbox.put_nowait(message(topic, payload))
    assert drained(mailbox) == [("a", b"3"), ("b", b"2")]


async def test_a_full_mailbox_refuses_new_topics_alone() -> None:
    mailbox = Mailbox(maxsize=2)
    mailbox.put_nowait(message("a", b"1"))
    mailbox.put_nowait(message("b", b"1"))
    with pytest.raises(asyncio.QueueFull):
        mailbox.put_nowait(message("c", b"1"))
    mailbox.put_nowait(message("b", b"2"))
    assert drained(mailbox) == [("a", b"1"), ("b", b"2")]


async def test_a_waiting_reader_is_woken() -> None:
    mailbox = Mailbox()
    reader = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    mailbox.put_nowait(message("a", b"1"))
    assert (await reader).payload == b"1"


def test_waits_grow_and_stay_bounded() -> None:
    waits = [wait_before(attempt, 0.5) for attempt in range(1, 2000)]
    assert waits == sorted(waits)
    assert waits[0] <= 0.5
    assert waits[-1] <= 15
    assert wait_before(5, 0.0) < wait_before(5, 0.99)
