"""Progress: calm in a log, visible on a terminal."""

import io
import json

from ai_assistant.provision.progress import BarsView, JsonLinesView, progress_view


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_json_lines_are_few_and_tell_the_end() -> None:
    stream, clock = io.StringIO(), Clock()
    with JsonLinesView(stream, clock=clock) as progress:
        for done in range(0, 1001, 50):
            progress("download", done, 1000)
            clock.now += 0.125
        progress("verify", 0, None)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["stage"] for line in lines] == ["download"] * 6 + ["verify"]
    assert lines[0] == {"stage": "download", "done": 0, "total": 1000, "bytes_per_second": None, "eta_seconds": None}
    assert lines[2]["bytes_per_second"] == 400
    assert lines[2]["eta_seconds"] == 1.5
    assert (lines[5]["done"], lines[5]["eta_seconds"]) == (1000, 0.0)
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
    assert json.loads(stream.getvalue().splitlines()[-1])["done"] == 7


def test_a_terminal_gets_bars() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with progress_view(stream) as progress:
        assert isinstance(progress, BarsView)
        progress("download", 5, 10)
        progress("verify", 0, None)
    assert "Downloading" in stream.getvalue()
    assert "Checking the result" in stream.getvalue()
    assert isinstance(progress_view(io.StringIO()), JsonLinesView)
