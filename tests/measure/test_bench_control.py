"""The star in which ranks meet: exchange, strangers, ranks that leave; and messages in pieces."""

from __future__ import annotations

import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collsched.bench.control import Control, Meeting, listen
from collsched.bench.ranks import _Report, tell
from collsched.errors import EngineError
from collsched.runtime.launch import Ended


def together(ranks: int, work: object, timeout: float = 20.0) -> list[object]:
    """What `work(control)` returns, or the error that it raises, on every rank."""
    listener, meeting = listen("127.0.0.1", ranks)

    def life(rank: int) -> object:
        try:
            known = Meeting.from_bytes(meeting.to_bytes())
            control = (
                Control.join(known, rank, ranks, timeout) if rank else Control.serve(listener, known, ranks, timeout)
            )
            with closing(control):
                return work(control)  # type: ignore[operator]
        except EngineError as error:
            return str(error)

    with ThreadPoolExecutor(ranks) as pool:
        return list(pool.map(life, range(ranks)))


@pytest.mark.parametrize("ranks", [1, 2, 5])
def test_every_rank_gets_the_data_of_all_in_order(ranks: int) -> None:
    def work(control: Control) -> object:
        control.barrier()
        return control.exchange(bytes([control.rank]) * (control.rank * 70_000)), control.gather({"r": control.rank})

    expected = [bytes([rank]) * (rank * 70_000) for rank in range(ranks)]
    assert together(ranks, work) == [(expected, [{"r": rank} for rank in range(ranks)])] * ranks


def test_a_rank_that_leaves_is_named() -> None:
    def work(control: Control) -> object:
        return "left" if control.rank == 2 else control.exchange(b"x")

    assert together(3, work) == ["rank 2 has left the benchmark", "rank 0 has left the benchmark", "left"]


def test_a_rank_that_does_not_come_is_named() -> None:
    listener, meeting = listen("127.0.0.1", 3)
    with pytest.raises(EngineError, match=r"ranks \[1, 2\] did not come"):
        Control.serve(listener, meeting, 3, 0.2)


def test_silence_is_an_error() -> None:
    done = threading.Event()

    def work(control: Control) -> object:
        if control.rank == 1:
            return done.wait(10)
        try:
            return control.exchange(b"x")
        finally:
            done.set()

    assert together(2, work, timeout=0.3)[0] == "rank 1 gave no sign of life for 0.3 s"


def test_strangers_are_not_let_in() -> None:
    listener, meeting = listen("127.0.0.1", 2)
    with socket.create_connection((meeting.host, meeting.port)) as stranger, ThreadPoolExecutor(1) as pool:
        stranger.sendall(bytes(40))
        first = pool.submit(Control.serve, listener, meeting, 2, 20.0)
        with closing(Control.join(meeting, 1, 2, 20.0)) as second:
            answer = pool.submit(lambda: first.result().exchange(b"0"))
            assert second.exchange(b"1") == [b"0", b"1"]
            assert answer.result() == [b"0", b"1"]
            first.result().close()


@given(st.lists(st.tuples(st.integers(0, 2), st.text(max_size=4000)), max_size=6), st.integers(1, 900))
def test_messages_of_several_ranks_arrive_whole(sent: list[tuple[int, str]], size: int) -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source:
        for rank, text in sent:
            tell(writer, rank, {"text": text})
        os.close(writer)
        data = source.read()
    assert all(len(line) < 4096 for line in data.split(b"\n"))
    report = _Report()
    found = [message for at in range(0, len(data), size) for message in report.feed(data[at : at + size])]
    assert found == [{"text": text} for _, text in sent]


def told(rank: int, **error: object) -> bytes:
    return json.dumps([rank, False, json.dumps(error)]).encode() + b"\n"


def test_the_first_error_counts_unless_it_blames_another_rank() -> None:
    report = _Report()
    lines = told(2, error="rank 0 has left", code=1, echo=True) + told(1, error="no disk", code=2, echo=False)
    assert list(report.feed(lines + told(0, error="later", code=3, echo=False))) == []
    assert report.error == (2, "no disk")


def test_a_rank_that_ends_without_a_word_is_the_error() -> None:
    report = _Report()
    list(report.feed(told(2, error="rank 0 has left", code=1, echo=True)))
    report.ended(Ended(2, 12, 256))
    report.ended(Ended(0, 10, 0))
    assert report.error == (1, "rank 0 has left")
    report.ended(Ended(1, 11, 9))
    assert report.error == (1, "rank 1 (process 11) was killed by SIGKILL")
