// Which assistants there are, and whether the one in use can answer yet.

import { listAssistants } from "./api.js";
import { byId, el } from "./dom.js";
import { t } from "./texts.js";

// The gateway's own choice where a request names none.
const DEFAULT = "assistant";
const SOON = 4000;
const LATER = 60_000;
const BROKEN = new Set(["failed", "error", "degraded", "unavailable", "deleted"]);

export class Assistants {
  #list = [];
  #timer = null;
  #inUse = null;

  constructor() {
    this.select = byId("assistant");
    this.select.addEventListener("change", () => this.#draw());
  }

  // The name for a new conversation; none when there is no choice.
  get chosen() {
    return this.#list.length > 1 ? this.select.value : null;
  }

  // `name`: the assistant of the open conversation, null for a new one.
  use(name) {
    this.#inUse = name;
    this.#draw();
  }

  async watch() {
    clearTimeout(this.#timer);
    try {
      this.#list = await listAssistants();
      this.#draw();
    } catch {
      // Other requests tell the reader; this one just comes again.
    }
    this.#timer = setTimeout(() => this.watch(), document.hidden || this.#current?.state === "ready" ? LATER : SOON);
  }

  get #current() {
    const name = this.#inUse ?? (this.select.value || null);
    return this.#list.find((assistant) => assistant.name === name) ?? this.#list[0];
  }

  #draw() {
    const names = this.#list.map(({ name }) => name);
    if (names.join() !== [...this.select.options].map(({ value }) => value).join()) {
      const before = this.select.value;
      this.select.replaceChildren(...names.map((name) => el("option", { value: name }, name)));
      const preferred = [before, DEFAULT].find((name) => names.includes(name));
      if (preferred) this.select.value = preferred;
    }
    byId("assistant-field").hidden = names.length < 2 || this.#inUse !== null;
    const text = describe(this.#current);
    byId("readiness").hidden = !text;
    if (byId("readiness").textContent !== text) byId("readiness").textContent = text;
  }
}

function describe(assistant) {
  if (!assistant || assistant.state === "ready") return "";
  const { progress, message } = assistant.details ?? {};
  if (BROKEN.has(assistant.state)) return message ? t("unavailableWhy", { why: message }) : t("unavailable");
  return Number.isFinite(progress) ? t("preparingPercent", { percent: Math.round(progress) }) : t("preparing");
}
