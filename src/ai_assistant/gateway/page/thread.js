// One open conversation: its messages, the branch that is shown, and the answers that are being written. No DOM here.

import * as api from "./api.js";
import { remember, settle } from "./storage.js";
import { Transcript, follow } from "./stream.js";
import { UNFINISHED, choicesTo, pathOf, siblingsOf } from "./tree.js";

export class Thread {
  #closed = new AbortController();
  #followed = new Set();
  #offline = new Set();

  // hooks: changed(message?), accepted(thread), finished(message), rejected(error, text), connection(lost)
  constructor(hooks, view = null) {
    this.hooks = hooks;
    this.id = view?.id ?? null;
    this.title = view?.title ?? "";
    this.assistant = view?.assistant ?? null;
    this.messages = view?.messages ?? [];
    this.choices = new Map();
    this.showNewest();
  }

  get path() {
    return pathOf(this.messages, this.choices);
  }

  get onNewest() {
    return this.path.at(-1) === this.messages.at(-1);
  }

  // Answers on the shown branch that are still to come.
  get waiting() {
    return this.path.filter((message) => UNFINISHED.has(message.status));
  }

  siblings(message) {
    return siblingsOf(this.messages, message);
  }

  showNewest() {
    this.choices = this.messages.length ? choicesTo(this.messages, this.messages.at(-1)) : new Map();
  }

  choose(message) {
    this.choices.set(message.parent_id, message.id);
    this.hooks.changed();
  }

  // Goes on with every answer that is still being written, e.g. after a reload.
  start() {
    for (const message of this.messages) if (message.task_id && UNFINISHED.has(message.status)) this.#follow(message);
  }

  close() {
    this.#closed.abort();
  }

  send(text, assistant) {
    const parent = this.path.at(-1)?.id ?? null;
    const question = this.#local("user", parent, text);
    const body = { message: text };
    if (this.id) body.conversation_id = this.id;
    else if (assistant) body.assistant = assistant;
    return this.#post(body, question, this.#local("assistant", question.id));
  }

  edit(message, text) {
    const question = this.#local("user", message.parent_id, text);
    const body = { message: text, conversation_id: this.id, edit_of: message.id };
    return this.#post(body, question, this.#local("assistant", question.id));
  }

  regenerate(message) {
    const body = { conversation_id: this.id, regenerate_of: message.id };
    return this.#post(body, null, this.#local("assistant", message.parent_id));
  }

  // Tries a send again that no server has confirmed, under the key it already had.
  retry(message) {
    return this.#post(message.unsent.body, message.unsent.question, message, message.unsent.key);
  }

  async stop() {
    for (const message of this.waiting) {
      message.stopping = true;
      this.hooks.changed(message);
      if (message.task_id) await this.#cancel(message);
    }
  }

  #local(role, parent, text = "") {
    const status = role === "assistant" ? "sending" : null;
    return { id: `local-${api.uuid()}`, parent_id: parent, role, text, html: null, status, task_id: null, error: null };
  }

  async #post(body, question, answer, key = api.uuid()) {
    for (const message of [question, answer]) if (message && !this.messages.includes(message)) this.messages.push(message);
    Object.assign(answer, { status: "sending", error: null, unsent: { body, question, key } });
    for (const message of [question, answer]) if (message) this.choices.set(message.parent_id, message.id);
    this.hooks.changed();
    remember(key, body);
    try {
      const accepted = await api.chat(body, key, () => this.#connection(key, true));
      settle(key);
      this.#accept(accepted, question, answer);
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
      // After 401 the page signs in, loads again and repeats what it remembers.
      if (error.status === 401) return;
      settle(key);
      if (error.transient) Object.assign(answer, { status: "unsent", error });
      else this.#withdraw(question, answer, error);
      this.hooks.changed();
    } finally {
      this.#connection(key, false);
    }
  }

  #accept(accepted, question, answer) {
    this.id ??= accepted.conversation_id;
    if (question) this.#rename(question, accepted.user_message_id);
    this.#rename(answer, accepted.answer_message_id);
    Object.assign(answer, { task_id: accepted.task_id, status: accepted.status, queue: accepted.queue, unsent: null });
    this.hooks.accepted(this);
    this.hooks.changed();
    this.#follow(answer);
    if (answer.stopping) this.#cancel(answer);
  }

  // The server's id in place of the local one, everywhere.
  #rename(message, id) {
    if (!id) return;
    for (const other of this.messages) if (other.parent_id === message.id) other.parent_id = id;
    if (this.choices.get(message.parent_id) === message.id) this.choices.set(message.parent_id, id);
    this.choices.set(id, this.choices.get(message.id));
    this.choices.delete(message.id);
    message.id = id;
  }

  // A refused send leaves no trace but its text, which goes back to where it was written.
  #withdraw(question, answer, error) {
    this.messages = this.messages.filter((message) => message !== question && message !== answer);
    this.showNewest();
    this.hooks.rejected(error, question?.text ?? "");
  }

  async #cancel(message) {
    try {
      const status = await api.cancel(message.task_id);
      if (!UNFINISHED.has(status.status)) this.#finish(message, status);
    } catch (error) {
      message.stopping = false;
      this.hooks.rejected(error, "");
      this.hooks.changed(message);
    }
  }

  async #follow(message) {
    if (this.#followed.has(message.task_id)) return;
    this.#followed.add(message.task_id);
    const transcript = new Transcript(message.text);
    try {
      const status = await follow(message.task_id, transcript, {
        signal: this.#closed.signal,
        connected: (yes) => this.#connection(message.task_id, !yes),
        queued: (queue) => {
          message.queue = queue;
          this.hooks.changed(message);
        },
        changed: () => {
          // Cancelling may have ended it already, with a longer text than the stream has brought.
          if (!UNFINISHED.has(message.status)) return;
          if (message.status === "queued") message.status = "running";
          // Rendered text that came along on loading belongs to the text of that moment.
          Object.assign(message, { text: transcript.text, html: null });
          this.hooks.changed(message);
        },
      });
      if (status) this.#finish(message, status);
    } catch (error) {
      if (!(error instanceof api.ApiError)) throw error;
      if (error.status !== 401) this.#finish(message, { status: "failed", text: message.text, error });
    } finally {
      this.#connection(message.task_id, false);
    }
  }

  #finish(message, { status, text, error, finish_reason }) {
    if (!UNFINISHED.has(message.status)) return;
    if (text !== message.text) message.html = null;
    Object.assign(message, { status, text, error, finish_reason, queue: null, stopping: false });
    this.hooks.finished(message);
    this.hooks.changed();
  }

  #connection(who, lost) {
    if (this.#closed.signal.aborted) return;
    if (lost) this.#offline.add(who);
    else this.#offline.delete(who);
    this.hooks.connection(this.#offline.size > 0);
  }
}
