// Draws the shown branch of a thread. One MessageView per message, kept while the message stays on the branch.

import { AnswerBody } from "./answer.js";
import { autogrow, copyButton, el, icon, iconButton, isSend } from "./dom.js";
import { duration, sentence, t } from "./texts.js";
import { UNFINISHED } from "./tree.js";

// actions: regenerate(message), edit(message, text), retry(message), choose(message)
class MessageView {
  constructor(message, actions, grown) {
    this.message = message;
    this.actions = actions;
    this.mine = message.role === "user";
    this.body = this.mine ? null : new AnswerBody(grown);
    this.text = this.mine ? el("div", { class: "bubble" }) : this.body.node;
    this.state = el("div", { class: "state" });
    this.bar = el("div", { class: "bar" });
    const label = this.mine ? t("you") : t("answer");
    this.node = el("article", { class: this.mine ? "message mine" : "message", "aria-label": label }, this.text, this.state, this.bar);
  }

  update(siblings, locked) {
    const { message } = this;
    if (this.mine) this.text.textContent = message.text;
    else {
      this.body.show(message.text ?? "", message.html);
      this.node.setAttribute("aria-busy", String(UNFINISHED.has(message.status)));
    }
    this.#showState();
    const drawn = JSON.stringify([siblings.map(({ id }) => id), locked, message.status, message.id]);
    if (drawn !== this.drawn) this.#showBar(siblings, locked);
    this.drawn = drawn;
  }

  #showState() {
    if (this.mine) return;
    const { message } = this;
    const drawn = JSON.stringify([message.status, message.queue, message.stopping, message.text === "", message.finish_reason]);
    if (drawn === this.state.dataset.drawn) return;
    this.state.dataset.drawn = drawn;
    this.state.replaceChildren(...this.#stateNodes());
  }

  #stateNodes() {
    const { message, actions } = this;
    if (UNFINISHED.has(message.status)) {
      if (message.stopping) return [waiting(t("stopping"))];
      if (message.text) return [];
      const { position, eta_seconds: eta } = message.queue ?? {};
      if (message.status === "sending") return [waiting(t("sending"))];
      if (message.status !== "queued" || !position) return [waiting(t("thinking"))];
      return [waiting(eta == null ? t("position", { position }) : t("positionEta", { position, eta: duration(eta) }))];
    }
    if (message.status === "cancelled") return [el("p", { class: "muted" }, t("stopped"))];
    if (message.status === "succeeded") return message.finish_reason === "length" ? [el("p", { class: "muted" }, t("cut"))] : [];
    const unsent = message.status === "unsent";
    const error = message.error ?? { code: message.status };
    const again = () => (unsent ? actions.retry(message) : actions.regenerate(message));
    const button = el("button", { type: "button", class: "quiet", onclick: again }, icon("again"), t("retry"));
    return [el("div", { class: "failure", role: "alert" }, el("p", {}, sentence(error)), button)];
  }

  #showBar(siblings, locked) {
    const { message, actions } = this;
    const local = message.id.startsWith("local-");
    const parts = [];
    if (siblings.length > 1) parts.push(this.#versions(siblings));
    if (!this.mine && message.text && !UNFINISHED.has(message.status)) parts.push(copyButton(t("copyAnswer"), () => message.text));
    if (!locked && !local) {
      if (this.mine) parts.push(iconButton("edit", t("edit"), () => this.#edit(), { class: "icon edit" }));
      else if (!UNFINISHED.has(message.status))
        parts.push(iconButton("again", t("regenerate"), () => actions.regenerate(message), { class: "icon again" }));
    }
    this.bar.replaceChildren(...parts);
  }

  #versions(siblings) {
    const index = siblings.indexOf(this.message);
    const turn = (name, label, step) => {
      const target = siblings[index + step];
      return iconButton(name, label, () => this.actions.choose(target), { disabled: !target, class: "icon turn" });
    };
    const label = t("version", { number: index + 1, count: siblings.length });
    const number = el("span", { "aria-label": label, role: "img" }, `${index + 1}/${siblings.length}`);
    return el("span", { class: "versions" }, turn("left", t("previousVersion"), -1), number, turn("right", t("nextVersion"), 1));
  }

  #edit() {
    const area = el("textarea", { "aria-label": t("editLabel"), rows: "1" });
    const close = () => {
      form.replaceWith(this.text);
      this.bar.hidden = false;
      this.bar.querySelector(".edit")?.focus();
    };
    const save = (event) => {
      event?.preventDefault();
      const text = area.value.trim();
      close();
      if (text && text !== this.message.text) this.actions.edit(this.message, text);
    };
    const cancel = el("button", { type: "button", class: "quiet", onclick: close }, t("cancel"));
    const form = el(
      "form",
      { class: "edit-form", onsubmit: save },
      area,
      el("div", { class: "buttons" }, cancel, el("button", { type: "submit", class: "primary" }, t("saveEdit"))),
    );
    area.value = this.message.text;
    area.addEventListener("input", () => autogrow(area));
    area.addEventListener("keydown", (event) => {
      if (event.key === "Escape") close();
      else if (isSend(event)) save(event);
    });
    this.text.replaceWith(form);
    this.bar.hidden = true;
    autogrow(area);
    area.focus();
  }
}

function waiting(text) {
  return el("p", { class: "waiting" }, el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i")), text);
}

export class ThreadView {
  #views = new Map();

  constructor(root, actions, grown) {
    this.root = root;
    this.actions = actions;
    this.grown = grown;
  }

  // Draws everything, or only what one message needs while it grows.
  draw(thread, message) {
    const locked = thread.waiting.length > 0;
    if (message) {
      this.#views.get(message)?.update(thread.siblings(message), locked);
      return;
    }
    const path = thread.path;
    for (const [old, view] of this.#views) {
      if (path.includes(old)) continue;
      view.node.remove();
      this.#views.delete(old);
    }
    path.forEach((shown, index) => {
      let view = this.#views.get(shown);
      if (!view) this.#views.set(shown, (view = new MessageView(shown, this.actions, this.grown)));
      view.update(thread.siblings(shown), locked);
      if (this.root.children[index] !== view.node) this.root.insertBefore(view.node, this.root.children[index] ?? null);
    });
  }
}
