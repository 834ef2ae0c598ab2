"""Messages between two processes: whole, in order, with a descriptor or none; and the end of the other one."""

from __future__ import annotations

import os
import socket
from contextlib import closing

import pytest

from inferd.serving.processes.channel import Channel, Message


def pair() -> tuple[Channel, Channel]:
    one, other = Channel.pair()
    return one, Channel(other)


def test_messages_come_whole_and_in_order() -> None:
    one, other = pair()
    with closing(one), closing(other):
        assert other.receive() is None
        assert one.send("settings", settings={"models": ["ü" * 1000]}, number=1)
        assert one.send("stop")
        assert other.receive() == Message("settings", {"settings": {"models": ["ü" * 1000]}, "number": 1})
        assert other.receive() == Message("stop", {})
        assert other.receive() is None


def test_a_descriptor_goes_along_and_stays_the_senders_to_close() -> None:
    one, other = pair()
    here, there = socket.socketpair()
    with closing(one), closing(other), here, there:
        assert one.send("connection", here.fileno(), tls=True)
        message = other.receive()
        assert message is not None
        assert message.fields == {"tls": True}
        assert not os.get_inheritable(message.descriptor)
        with socket.socket(fileno=message.descriptor) as taken:
            there.send(b"hello")
            assert taken.recv(10) == b"hello"
        here.send(b"and back")
        assert there.recv(10) == b"and back"


def test_a_long_message_comes_whole_and_takes_no_room() -> None:
    one, other = pair()
    names = ["ü" * 100] * 10_000
    with closing(one), closing(other):
        for number in range(10):
            assert one.send("reload", number=number, names=names)
        assert one.send("stop")
        for number in range(10):
            assert other.receive() == Message("reload", {"number": number, "names": names})
        assert other.receive() == Message("stop", {})


def test_the_end_of_the_other_process() -> None:
    one, other = pair()
    one.send("stop")
    one.close()
    with closing(other):
        assert other.receive() == Message("stop", {})
        with pytest.raises(EOFError):
            other.receive()
        assert not other.send("ready")
    one, other = pair()
    with closing(one):
        assert one.send("never read")
        other.close()
        with pytest.raises(EOFError):
            one.receive()
        assert not one.send("stop")


def test_who_reads_nothing_holds_nobody_up() -> None:
    one, other = pair()
    with closing(one), closing(other):
        sent = 0
        while one.send("connection", tls=False):
            sent += 1
            assert sent < 100_000
        for _ in range(sent):
            assert other.receive() is not None
        assert one.send("stop")
