"""The circuit: a silent server is waited for once, probed briefly, and used again at its first answer.

Taken away, the guards turn these red: the short probe and the refusal (``a_page_of_reads``), closing on an answer.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from redis.exceptions import ResponseError, TimeoutError

from bergizi_redis import circuit as circuits
from bergizi_redis.aconnections import aclient
from bergizi_redis.circuit import COOL, PROBE, Circuit, CircuitOpen, circuit_of
from bergizi_redis.connections import client, disconnect_all
from tests.deadlines import ends_within
from tests.servers import PrivateServer


class Clock:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def patient_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is well is probed for as long as a busy machine may need."""
    monkeypatch.setattr(circuits, "PROBE", 20.0)


@pytest.fixture(autouse=True)
def fresh_pools() -> Iterator[None]:
    yield
    disconnect_all()


def test_a_first_silence_leaves_the_next_command_a_probe(clock: Clock) -> None:
    circuit = Circuit(clock)
    assert circuit.allowance(0.8) == 0.8
    circuit.silent()
    assert circuit.allowance(0.8) == PROBE
    assert circuit.allowance(0.05) == 0.05
    circuit.answered()
    assert circuit.allowance(0.8) == 0.8


def test_a_second_silence_opens_the_circuit_and_one_command_probes_after_it(clock: Clock) -> None:
    circuit = Circuit(clock)
    circuit.silent()
    circuit.silent()
    with pytest.raises(CircuitOpen, match=r"asked again in 1\.0 s"):
        circuit.allowance(0.8)
    clock.now += COOL
    assert circuit.allowance(0.8) == PROBE
    with pytest.raises(CircuitOpen):
        circuit.allowance(0.8)  # while the probe is under way
    circuit.answered()
    assert circuit.allowance(0.8) == 0.8


def test_a_role_that_waits_as_long_as_it_likes_has_no_circuit(clock: Clock) -> None:
    circuit = Circuit(clock)
    circuit.silent()
    circuit.silent()
    assert circuit.allowance(None) is None


def read_five_times(get: Any) -> int:
    silences = 0
    for _ in range(5):
        try:
            get("x")
        except TimeoutError:
            silences += 1
    return silences


def test_a_page_of_reads_waits_for_a_silent_server_once(server: PrivateServer) -> None:
    """Five reads took five budgets, 4 s, before there was a circuit."""
    connection: Any = client()
    connection.set("x", 1)
    connection.budget = 0.8
    server.pause()
    with ends_within(3):
        assert read_five_times(connection.get) == 5
    server.resume()


def test_the_first_answer_closes_the_circuit(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    connection: Any = client()
    connection.set("x", 1)
    patience, connection.budget = connection.budget, 0.8
    server.pause()
    read_five_times(connection.get)
    server.resume()
    connection.budget = patience
    monkeypatch.setattr(circuits, "PROBE", patience)  # a busy machine connects in its own time
    circuit = circuit_of(connection.connection_pool)
    circuit._until = time.monotonic()  # the pause after a failed probe is over
    assert connection.get("x") == b"1"
    assert circuit.allowance(0.8) == 0.8


@pytest.mark.usefixtures("patient_probe")
def test_an_error_that_the_server_answers_with_is_an_answer(server: PrivateServer) -> None:
    connection: Any = client()
    circuit = circuit_of(connection.connection_pool)
    circuit.silent()
    connection.pipeline().set("x", 1).execute()
    circuit.silent()
    with pytest.raises(ResponseError):
        connection.lpush("x", 1)
    assert circuit.allowance(0.8) == 0.8


def test_a_loop_has_a_circuit_too(server: PrivateServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def read() -> int:
        connection: Any = aclient()
        await connection.set("x", 1)
        patience, connection.budget = connection.budget, 0.8
        server.pause()
        silences = 0
        with ends_within(3):
            for _ in range(5):
                try:
                    await connection.get("x")
                except TimeoutError:
                    silences += 1
        server.resume()
        connection.budget = patience
        monkeypatch.setattr(circuits, "PROBE", patience)
        circuit_of(connection.connection_pool)._until = time.monotonic()
        await connection.pipeline().get("x").execute()
        circuit_of(connection.connection_pool).silent()
        with pytest.raises(ResponseError):
            await connection.lpush("x", 1)
        assert circuit_of(connection.connection_pool).allowance(0.8) == 0.8
        return silences

    assert asyncio.run(read()) == 5
