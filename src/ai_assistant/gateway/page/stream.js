// Follows one answer: server-sent events over fetch() (an EventSource cannot see 401 and 404), reconnecting by itself.

import { ApiError, open, pause, streamPath } from "./api.js";

const FIRST_DELAY = 500;
const LONGEST_DELAY = 5000;
// The server sends a comment every 15 s; three missing ones mean a dead connection that nobody closed.
const SILENCE = 45_000;

// Text that grows, addressed by Unicode code points like the server's offsets (JavaScript counts UTF-16 units).
export class Transcript {
  constructor(text = "") {
    this.set(text);
  }

  set(text) {
    this.text = text;
    this.length = count(text);
  }

  // Adds a piece that begins at `offset`; false when something before it is missing.
  append(offset, piece) {
    if (offset > this.length) return false;
    const known = this.length - offset;
    const fresh = known ? Array.from(piece).slice(known).join("") : piece;
    this.text += fresh;
    this.length += count(fresh);
    return true;
  }

  cut(offset) {
    if (offset < this.length) this.set(Array.from(this.text).slice(0, offset).join(""));
  }
}

function count(text) {
  let points = 0;
  for (const _ of text) points += 1;
  return points;
}

// Splits a byte stream into {event, data} as the HTML standard says (ids are the transcript's length, so they are not needed).
export async function* parse(body, alive = () => {}) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let buffer = "";
  let event = "";
  let data = [];
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      buffer += decoder.decode(value, { stream: true });
      // A lone CR at the end may be the first half of CR LF.
      const lines = buffer.split(/\r\n|\n|\r(?!$)/);
      buffer = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield { event: event || "message", data: data.join("\n") };
          event = "";
          data = [];
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "event") event = value;
        else if (field === "data") data.push(value);
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// Keeps `transcript` up to date until the task ends; resolves to its final status, or to null when `signal` fires.
// Throws an ApiError only when coming back makes no sense (no such task, not allowed).
export async function follow(taskId, transcript, { signal, changed, queued, connected }) {
  let delay = FIRST_DELAY;
  while (!signal.aborted) {
    try {
      for await (const { event, data } of connect(taskId, transcript.length, signal, () => connected(true))) {
        const body = JSON.parse(data);
        if (event === "done" || event === "error") return body;
        delay = FIRST_DELAY;
        if (event === "queue") queued(body);
        else if (event === "reset") transcript.cut(body.offset);
        else if (event === "token" && !transcript.append(body.offset, body.text)) break;
        if (event === "token" || event === "reset") changed();
      }
    } catch (error) {
      if (error instanceof ApiError && !error.transient) throw error;
    }
    if (signal.aborted) break;
    connected(false);
    await pause(delay, signal);
    delay = Math.min(delay * 2, LONGEST_DELAY);
  }
  return null;
}

async function* connect(taskId, offset, signal, connected) {
  const attempt = new AbortController();
  const abort = () => attempt.abort();
  let watchdog = setTimeout(abort, SILENCE);
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(abort, SILENCE);
  };
  signal.addEventListener("abort", abort);
  try {
    const headers = { Accept: "text/event-stream" };
    if (offset) headers["Last-Event-ID"] = String(offset);
    const response = await open(streamPath(taskId), { headers, cache: "no-store", signal: attempt.signal });
    connected();
    yield* parse(response.body, alive);
  } finally {
    clearTimeout(watchdog);
    signal.removeEventListener("abort", abort);
    attempt.abort();
  }
}
