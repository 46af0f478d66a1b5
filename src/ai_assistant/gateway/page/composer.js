// The box to write in: grows, keeps its draft over a reload, sends with Enter, turns into a Stop button while an answer comes.

import { autogrow, byId, icon, isSend } from "./dom.js";
import { loadDraft, saveDraft } from "./storage.js";
import { t } from "./texts.js";

const TOUCH = matchMedia("(pointer: coarse)");

export class Composer {
  #conversation = null;
  #busy = false;
  #blocked = false;

  // hooks: send(text), stop()
  constructor(hooks) {
    this.hooks = hooks;
    this.input = byId("input");
    this.button = byId("send");
    this.input.addEventListener("input", () => this.#typed());
    this.input.addEventListener("keydown", (event) => {
      if (!isSend(event)) return;
      event.preventDefault();
      this.#send();
    });
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#busy) this.hooks.stop();
      else this.#send();
    });
    this.#draw();
  }

  // Whose draft is shown.
  attach(conversation) {
    if (conversation !== this.#conversation || !this.input.value) {
      this.#conversation = conversation;
      this.input.value = loadDraft(conversation);
    }
    this.#typed();
  }

  // The new conversation has got its id: what has been typed meanwhile belongs to it.
  moved(conversation) {
    saveDraft(this.#conversation, "");
    this.#conversation = conversation;
    this.#typed();
  }

  // Text of a refused send comes back, unless something new has been written.
  restore(text) {
    if (!this.input.value) this.input.value = text;
    this.#typed();
  }

  state({ busy, blocked }) {
    this.#busy = busy;
    this.#blocked = blocked;
    this.#draw();
  }

  focus() {
    if (!TOUCH.matches) this.input.focus();
  }

  #typed() {
    saveDraft(this.#conversation, this.input.value);
    autogrow(this.input);
    this.#draw();
  }

  #send() {
    const text = this.input.value.trim();
    if (!text || this.#busy || this.#blocked) return;
    this.input.value = "";
    this.#typed();
    this.hooks.send(text);
  }

  #draw() {
    const label = t(this.#busy ? "stop" : "send");
    if (this.button.getAttribute("aria-label") !== label) {
      this.button.setAttribute("aria-label", label);
      this.button.title = label;
      this.button.replaceChildren(icon(this.#busy ? "stop" : "send"));
    }
    this.button.classList.toggle("stop", this.#busy);
    this.button.disabled = !this.#busy && (this.#blocked || !this.input.value.trim());
  }
}
