"""Progress: calm in a log, visible on a terminal."""

import io
import json
import threading
import time

from ai_assistant.provision.progress import BarsView, JsonLinesView, progress_view


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_json_lines_are_few_and_tell_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with JsonLinesView(stream, clock=clock) as progress:
        for done in range(0, 1001, 50):
            progress("download", done, 1000, "m.gguf")
            clock.now += 0.125
        progress("verify", 0, None)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["stage"] for line in lines] == ["download"] * 6 + ["verify"]
    assert lines[0] == {
        "stage": "download",
        "file": "m.gguf",
        "bytes": 0,
        "total": 1000,
        "bytes_per_second": None,
        "eta_seconds": None,
        "note": None,
    }
    assert lines[2]["bytes_per_second"] == 400
    assert lines[2]["eta_seconds"] == 1.5
    assert (lines[5]["bytes"], lines[5]["eta_seconds"]) == (1000, 0.0)
    assert lines[6]["total"] is None


def test_the_last_state_is_told_even_when_a_build_fails() -> None:
    stream = io.StringIO()
    try:
        with JsonLinesView(stream, clock=Clock()) as progress:
            progress("download", 0, 10)
            progress("download", 7, 10)
            raise OSError
    except OSError:
        pass
    assert json.loads(stream.getvalue().splitlines()[-1])["bytes"] == 7


def test_a_terminal_gets_bars() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with progress_view(stream) as progress:
        assert isinstance(progress, BarsView)
        progress("download", 5, 10, "m[1].gguf")
        progress("download", 5, 10, "m[1].gguf", "the server is busy [503]")
        progress("verify", 0, None)
    assert "Downloading m[1].gguf" in stream.getvalue()
    assert "the server is busy [503]\n" in stream.getvalue()
    assert "Checking the result" in stream.getvalue()
    assert isinstance(progress_view(io.StringIO()), JsonLinesView)


def written(calls: list[tuple[float, tuple[object, ...]]]) -> list[dict[str, object]]:
    """The lines of calls, each at its second."""
    stream, clock = io.StringIO(), Clock()
    with JsonLinesView(stream, clock=clock) as progress:
        for moment, call in calls:
            clock.now = 100 + moment
            progress(*call)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_speed_is_that_of_the_last_seconds() -> None:
    fast = [(second, ("download", 1000 * second, 100_000)) for second in range(30)]
    slow = [(30 + second, ("download", 30_000 + 10 * second, 100_000)) for second in range(30)]
    lines = written(fast + slow)
    assert lines[29]["bytes_per_second"] == 1000
    assert lines[-1]["bytes_per_second"] == 10


def test_what_an_earlier_attempt_brought_is_no_speed() -> None:
    lines = written([(0, ("download", 5000, 10_000)), (1, ("download", 5100, 10_000))])
    assert lines[1]["bytes_per_second"] == 100
    assert lines[1]["eta_seconds"] == 49.0


def test_waiting_does_not_fill_the_log() -> None:
    assert len(written([(second / 4, ("wait", 0, None)) for second in range(241)])) == 7


def test_a_note_is_told_at_once() -> None:
    lines = written(
        [(0, ("download", 5, 10)), (0.1, ("download", 5, 10, "m.gguf", "the server answers 503; trying again in 2 s"))]
    )
    assert [line["note"] for line in lines] == [None, "the server answers 503; trying again in 2 s"]


def test_a_silent_step_is_seen_to_be_alive() -> None:
    stream = io.StringIO()
    with JsonLinesView(stream, sign_of_life=0.05) as progress:
        time.sleep(0.1)
        assert stream.getvalue() == ""
        progress("convert", 5, 10, "m.gguf", "the server was busy")
        deadline = time.monotonic() + 20
        while stream.getvalue().count("\n") < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    first, *repeated = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(repeated) >= 2
    assert all(line == {**first, "note": None} for line in repeated)
    before = stream.getvalue()
    time.sleep(0.2)
    assert stream.getvalue() == before
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_the_lines_of_several_threads_stay_whole() -> None:
    stream = io.StringIO()
    with JsonLinesView(stream, interval=0, sign_of_life=0.001) as progress:
        threads = [
            threading.Thread(target=lambda: [progress("download", done, 500, note="x") for done in range(500)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len([line for line in lines if line["note"]]) == 2000


def test_a_reader_that_is_gone_ends_no_thread_with_a_traceback() -> None:
    stream = io.StringIO()
    progress = JsonLinesView(stream, sign_of_life=0.02)
    with progress:
        progress("verify", 0, None)
        stream.close()
        time.sleep(0.1)
        assert "progress" in {thread.name for thread in threading.enumerate()}
