"""The benchmark's arithmetic: what arrival times, rounds and gates make of numbers that are known."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from bench.__main__ import choose
from bench.closed_loop import closed_loop
from bench.gates import GATES, OURS, judge
from bench.home import Home, SetupError
from bench.job import Job, MixedRun
from bench.line_up import FULL, QUICK, line_up
from bench.report import render
from bench.results import Record, Run, Spread
from bench.rounds import order, prepare
from bench.sse import closed_loop_over_http, post
from bench.timeline import Timing, intervals, percentile, single, summary
from bench.workload import Chat, load_workload, prompt_of

DOCS = Path(__file__).parents[2] / "docs"
NUMBERS = (
    *("tokens_per_second", "ttft_p50_ms", "ttft_ms", "cold_ttft_ms", "warm_ttft_ms", "itl_p99_ms", "quiet_itl_p50_ms"),
    *("rss_mb", "kb_per_token", "given_back_seconds", "seconds", "peak_mb"),
)


def test_percentiles_interpolate() -> None:
    assert percentile([4, 1, 3, 2], 50) == 2.5
    assert percentile([1, 2, 3], 100) == 3
    assert percentile(range(101), 99) == 99
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


def test_a_run_is_summed_up_from_its_arrivals() -> None:
    timings = [Timing(10.0, [10.5, 10.6, 10.8], 3), Timing(10.2, [11.2, 12.0], 5)]
    assert summary(timings) == pytest.approx(
        {
            "requests": 2,
            "output_tokens": 8,
            "tokens_per_second": 4.0,
            "ttft_p50_ms": 750,
            "ttft_p95_ms": 975,
            "itl_p50_ms": 200,
            "itl_p99_ms": 200 + 600 * 0.98,
        }
    )
    assert intervals(timings) == pytest.approx([0.1, 0.2, 0.8])


def test_one_at_a_time_is_the_median_of_its_requests() -> None:
    timings = [Timing(0, [0.2, 0.3, 0.4], 3), Timing(1, [1.4, 1.9], 2), Timing(5, [5.3, 5.5, 5.7], 3)]
    assert single(timings) == pytest.approx({"decode_tokens_per_second": 5, "ttft_ms": 300})


def test_the_closed_loop_keeps_as_many_in_flight_as_asked_for() -> None:
    chats = [Chat("", "", [1], tokens) for tokens in (3, 1, 2, 4, 2)]
    running: dict[int, int] = {}
    widths = []

    def step() -> list[tuple[int, bool]]:
        widths.append(len(running))
        done = []
        for index in list(running):
            running[index] -= 1
            done.append((index, running[index] == 0))
            if not running[index]:
                del running[index]
        return done

    timings = closed_loop(chats, 2, lambda index, chat: running.update({index: chat.output_tokens}), step)
    assert [timing.num_tokens for timing in timings] == [3, 1, 2, 4, 2]
    assert widths == [2, 2, 2, 2, 2, 1, 1]


def test_the_workload_has_the_shape_that_the_page_claims() -> None:
    chats = load_workload()
    prompts, answers = [len(chat.prompt_ids) for chat in chats], [chat.output_tokens for chat in chats]
    assert (len(chats), min(prompts), max(prompts), sum(prompts)) == (32, 38, 250, 4345)
    assert (min(answers), max(answers), sum(answers)) == (29, 128, 2193)
    assert len({tuple(chat.prompt_ids[:8]) for chat in chats}) == 32, "nobody may gain by a prompt that was read before"
    assert len(prompt_of(chats, 6000)) == 6000
    assert prompt_of(chats, 20, 1) != prompt_of(chats, 20, 2)


def test_a_file_that_is_no_workload_is_named(tmp_path: Path) -> None:
    for content in ("{", "[]", '[{"prompt": [1]}]', '[{"system": "", "user": "", "prompt_ids": [], "output_tokens": 5}]'):
        (tmp_path / "work.json").write_text(content)
        with pytest.raises(ValueError, match=r"work\.json is not a workload"):
            load_workload(tmp_path / "work.json")


def run_with(*records: Record, **fields: object) -> Run:
    titles = {name: name for name in dict.fromkeys(record.contender for record in records)}
    return replace(Run("2026-01-01", {"CPU": "test"}, {"x": "1"}, titles, records=list(records)), **fields)  # type: ignore[arg-type]


def speed(round_: int, contender: str, measure: str, value: float) -> Record:
    return Record(
        round_, contender, measure, {"tokens_per_second": value, "ttft_p50_ms": 1000 / value, "ttft_p95_ms": 2000 / value}
    )


def verdict(run: Run, against: str, what: str) -> tuple[Spread | None, bool | None]:
    found = [v for v in judge(run) if v.gate.against.startswith(against) and v.gate.what.startswith(what)]
    assert len(found) == 1
    return found[0].spread, found[0].holds


def test_a_ratio_is_taken_within_each_round() -> None:
    # The machine was three times slower in the second round; the ratio of the medians would be 200 / 45.
    records = [speed(n, OURS, "mixed-16", 300 / slow) for n, slow in ((1, 1), (2, 3), (3, 1.5))]
    records += [speed(n, "optimum", "sequential", 45 / slow) for n, slow in ((1, 1.5), (2, 3), (3, 1))]
    spread, holds = verdict(run_with(*records), "optimum generate fp32, one by one", "16 mixed")
    assert spread == Spread(pytest.approx(300 / 45), pytest.approx(200 / 45), pytest.approx(10), 3)
    assert holds is False


def test_the_best_of_llama_is_chosen_in_each_round() -> None:
    records = [speed(n, OURS, "mixed-8", 200) for n in (1, 2)]
    records += [speed(1, "llama-q8_0", "mixed-8", 100), speed(1, "llama-q4_0", "mixed-8", 160)]
    records += [speed(2, "llama-q8_0", "mixed-8", 125), speed(2, "llama-q4_0", "mixed-8", 50)]
    spread, holds = verdict(run_with(*records), "llama.cpp server, its best", "C=8")
    assert spread == Spread(pytest.approx((1.25 + 1.6) / 2), 1.25, 1.6, 2)
    assert holds is True


def test_waits_memory_and_conversations() -> None:
    run = run_with(
        Record(1, "platform", "alone-1", {"ttft_p50_ms": 70, "tokens_per_second": 9}),
        Record(1, "platform", "chats-1", {"ttft_p50_ms": 111, "tokens_per_second": 8}),
        Record(1, OURS, "second-turn", {"cold_ttft_ms": 400, "warm_ttft_ms": 80}),
        Record(1, OURS, "long-prompt", {"quiet_itl_p50_ms": 20, "itl_p99_ms": 79}),
        Record(1, "build-int8", "build", {"seconds": 12, "peak_mb": 2100}),
    )
    assert verdict(run, "ours, engine alone", "time to first") == (Spread(41, 41, 41, 1), False)
    assert verdict(run, "ours, conversation", "second turn") == (Spread(5, 5, 5, 1), True)
    assert verdict(run, "ours, the same 8", "inter-token") == (Spread(3.95, 3.95, 3.95, 1), True)
    assert verdict(run, "—", "build of the package, time")[1] is True
    assert verdict(run, "—", "build of the package, memory") == (Spread(2.1, 2.1, 2.1, 1), False)
    assert verdict(run, "onnxruntime-genai", "16") == (None, None)


def test_every_gate_is_about_something_that_is_measured() -> None:
    """A contender or a measurement that is renamed would silently turn its gates into `not measured`."""
    records = []
    for contender in line_up():
        measures = [*contender.runs, *contender.extras, "single", "load", "build"]
        measures += [f"{kind}-{in_flight}" for kind in ("alone", "chats") for in_flight in (1, 16)]
        values = dict.fromkeys(NUMBERS, 1.0)
        records += [Record(1, contender.name, measure, values) for measure in measures]
    assert [v.gate.what for v in judge(run_with(*records)) if v.spread is None] == []
    assert len(GATES) == 21


def test_numbers_survive_the_file_and_the_page_shows_them() -> None:
    run = run_with(
        speed(1, OURS, "mixed-16", 240),
        speed(2, OURS, "mixed-16", 200),
        speed(1, "llama-q4_1", "mixed-16", 50),
        speed(2, "llama-q4_1", "mixed-16", 100),
        failures={"optimum": "no network"},
        minutes=3.0,
    )
    run.titles["optimum"] = "optimum generate"
    again = Run.from_json(run.to_json())
    assert again == run
    assert [record["round"] for record in json.loads(run.to_json())["records"]] == [1, 2, 1, 2]
    page = render(again)
    assert "**OPTIMUM GENERATE WAS NOT MEASURED**: no network" in page
    assert "| ours-int8 | – | – | – | – | 220 (200–240) | – |" in page
    assert "| llama.cpp server, same GGUF (Q4_1) | C=16 | ≥ 3 x | 3.40 (2.00–4.80) x | pass |" in page
    assert "not measured" in page
    assert "QUICK RUN" not in page
    assert "QUICK RUN" in render(replace(run, is_quick=True))
    with pytest.raises(ValueError, match="format"):
        Run.from_json('{"format": 0}')


def test_the_published_page_is_what_its_numbers_say() -> None:
    numbers = DOCS / "benchmarks.json"
    if numbers.exists() or (DOCS / "benchmarks.md").exists():
        assert (DOCS / "benchmarks.md").read_text() == render(Run.from_json(numbers.read_text())), "run `make bench-report`"


def test_every_other_round_goes_backwards_and_some_take_part_once() -> None:
    names = [[contender.name for contender in order(line_up(), number)] for number in (1, 2, 3)]
    assert names[0] == [contender.name for contender in line_up()]
    assert names[1] == [name for name in reversed(names[0]) if name != "build-int8"]
    assert names[2] == names[1][::-1]


def test_contenders_are_chosen_by_name() -> None:
    contenders = line_up()
    assert {"ours-fp32", "ours-int8", "platform", "optimum", "genai-int4", "llama-q4_1", "llama-q8_0", "llama-q4_0"} <= {
        contender.name for contender in contenders
    }
    assert [contender.name for contender in choose(contenders, " optimum, ours-int8,")] == ["ours-int8", "optimum"]
    assert choose(contenders, "") == contenders
    with pytest.raises(ValueError, match=r"no contender 'vllm'; there are ours-fp32, "):
        choose(contenders, "vllm")


def test_a_job_crosses_the_border(tmp_path: Path) -> None:
    contender = next(contender for contender in line_up() if contender.name == "optimum")
    model = type("Model", (), {"path": Path("/m"), "program": ""})()
    job = contender.job(model, Home(tmp_path), tmp_path / "work.json", 2, FULL)
    job.write(tmp_path / "job.json")
    assert Job.read(tmp_path / "job.json") == job
    assert job.mixed[0] == MixedRun("sequential", 1, 16)
    assert contender.job(model, Home(tmp_path), tmp_path, 2, QUICK).mixed[0] == MixedRun("sequential", 1, 6)


def test_what_no_gate_asks_for_is_measured_once(tmp_path: Path) -> None:
    contender = next(contender for contender in line_up() if contender.name == "llama-q4_1")
    model = type("Model", (), {"path": Path("/m"), "program": "/p"})()
    runs = [[run.measure for run in contender.job(model, Home(tmp_path), tmp_path, 2, FULL, n).mixed] for n in (1, 2)]
    assert runs == [["mixed-1", "mixed-4", "mixed-8", "mixed-16"], ["mixed-1", "mixed-16"]]


def test_a_step_of_the_setup_is_done_once_and_again_after_a_kill_or_a_change(tmp_path: Path) -> None:
    home, product, made = Home(tmp_path), tmp_path / "product", []

    def make() -> None:
        made.append(1)
        product.touch()

    def killed() -> None:
        product.touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        home.once("step", "v1", killed, product)
    for _ in range(2):
        home.once("step", "v1", make, product)
    assert len(made) == 1
    home.once("step", "v2", make, product)
    product.unlink()
    home.once("step", "v2", make, product)
    assert len(made) == 3


def test_a_program_of_the_setup_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.run("a step", ["sh", "-c", "echo fine"])
    with pytest.raises(SetupError, match=r"a step failed with exit code 3 \(no such thing\); all of it: .*setup-a-step\.log"):
        home.run("a step", ["sh", "-c", "echo first; echo no such thing; exit 3"])
    with pytest.raises(SetupError, match="cannot be started"):
        home.run("a step", [tmp_path / "absent"])


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with Home(tmp_path).alone(), pytest.raises(ValueError, match="Another `make bench` is at work"), Home(tmp_path).alone():
        pass
    with Home(tmp_path).alone():
        pass


def test_who_cannot_be_set_up_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(home: Home) -> None:
        raise SetupError("There is no compiler.")

    first, second = line_up()[:2]
    models, failures = prepare([replace(first, prepare=refuse), replace(second, prepare=lambda home: "model")], Home(tmp_path))  # type: ignore[arg-type,return-value]
    assert (list(models), failures) == ([second.name], {first.name: "There is no compiler."})
    assert f"{first.title.upper()} CANNOT BE SET UP" in capsys.readouterr().err


async def _serve(answer: bytes, pieces: int) -> tuple[asyncio.Server, int]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        assert json.loads(await reader.readexactly(length)) == {"n": 1}
        for start in range(0, len(answer), pieces):
            writer.write(answer[start : start + pieces])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


def _chunked(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_events_are_found_wherever_the_stream_is_cut(size: int) -> None:
    events = b'data: {"a": 1}\n\n: still there\n\nid: 7\ndata: two\n\ndata: [DONE]\n\n'
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunked(events, size)
    plain = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + events
    for answer in (chunked, plain):
        server, port = await _serve(answer, size)
        async with server:
            assert [data async for data in post(port, "/x", {"n": 1})] == [b'{"a": 1}', b"two", b"[DONE]"]


async def test_a_refusal_is_shown() -> None:
    server, port = await _serve(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", 100)
    async with server:
        with pytest.raises(RuntimeError, match=r"503 busy.*busy"):
            [data async for data in post(port, "/x", {"n": 1})]


def test_the_loop_over_http_keeps_as_many_in_flight_as_asked_for() -> None:
    running, widths = 0, []

    async def answer(chat: Chat, timing: Timing) -> None:
        nonlocal running
        running += 1
        widths.append(running)
        await asyncio.sleep(0)
        timing.arrive(timing.submitted + 1)
        running -= 1

    timings = closed_loop_over_http([Chat("", "", [1], 1)] * 7, 3, answer)
    assert len(timings) == 7
    assert max(widths) == 3
