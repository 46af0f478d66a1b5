"""The thread that computes. It owns the engine; everything else talks to it by commands and gets a step's results at once."""

import concurrent.futures
import logging
import queue
import threading
import time
from collections.abc import Callable

from ai_assistant.engine.llm_engine import LLMEngine
from ai_assistant.engine.sequence import Sequence
from ai_assistant.engine.step_output import StepOutput

logger = logging.getLogger(__name__)


class EngineThread(threading.Thread):
    """Runs `engine.step()` while there is work; sleeps on its command queue while there is none."""

    def __init__(
        self, engine: LLMEngine, on_step: Callable[[StepOutput], None], on_crash: Callable[[BaseException], None]
    ) -> None:
        """`on_step` and `on_crash` are called on this thread and must not block."""
        super().__init__(name="engine", daemon=True)
        self._engine = engine
        self._on_step = on_step
        self._on_crash = on_crash
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._step_started: float | None = None

    @property
    def max_context(self) -> int:
        return self._engine.max_context

    def add(self, sequence: Sequence) -> "concurrent.futures.Future[None]":
        """The future fails with what the engine says of a sequence that it refuses; cancelled in time, nothing is added.

        It stays open for ever if the engine crashes first.
        """
        future: concurrent.futures.Future[None] = concurrent.futures.Future()

        def command() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                self._engine.add(sequence)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(None)

        self._commands.put(command)
        return future

    def cancel(self, seq_id: str) -> None:
        self._commands.put(lambda: self._engine.cancel(seq_id))

    def stop(self) -> None:
        """End the thread after the current step."""
        self._commands.put(None)

    def seconds_in_step(self) -> float:
        """How long the current step has been running; 0 while idle. For the liveness probe."""
        started = self._step_started
        return 0.0 if started is None else time.monotonic() - started

    def run(self) -> None:
        try:
            while self._obey():
                self._step_started = time.monotonic()
                output = self._engine.step()
                self._step_started = None
                self._on_step(output)
        except BaseException as error:
            logger.critical("The engine stopped: %s", error, exc_info=True)
            self._on_crash(error)

    def _obey(self) -> bool:
        """Carry out the commands; wait for one while there is nothing to compute. False: stop."""
        while True:
            is_busy = self._engine.has_work
            try:
                command = self._commands.get(not is_busy, None if is_busy else self._engine.seconds_until_idle_work())
            except queue.Empty:
                if is_busy:
                    return True
                self._on_step(self._engine.tidy())
                continue
            if command is None:
                return False
            command()
