// The list of conversations: open, rename, delete; a drawer on a phone.

import * as api from "./api.js";
import { byId, el, iconButton } from "./dom.js";
import { t } from "./texts.js";

const NARROW = matchMedia("(max-width: 800px)");

export class Sidebar {
  #conversations = [];
  #next = null;
  #current = null;
  #turn = 0;

  // hooks: open(id), removed(id), renamed(id, title), failed(error)
  constructor(hooks) {
    this.hooks = hooks;
    this.list = byId("conversations");
    byId("show-sidebar").addEventListener("click", () => this.toggle());
    byId("hide-sidebar").addEventListener("click", () => this.toggle(false));
    byId("shade").addEventListener("click", () => this.toggle(false));
    byId("more-conversations").addEventListener("click", () => this.#more());
    byId("sidebar").addEventListener("keydown", (event) => {
      if (event.key === "Escape" && NARROW.matches && !event.defaultPrevented) this.toggle(false);
    });
    NARROW.addEventListener("change", () => this.toggle(!NARROW.matches, false));
    this.toggle(!NARROW.matches, false);
  }

  toggle(open = document.body.classList.contains("sidebar-closed"), focus = true) {
    document.body.classList.toggle("sidebar-closed", !open);
    const modal = open && NARROW.matches;
    byId("sidebar").inert = !open;
    document.querySelector("main").inert = modal;
    byId("show-sidebar").setAttribute("aria-expanded", String(open));
    if (focus) byId(open ? "hide-sidebar" : "show-sidebar").focus();
  }

  closeDrawer() {
    if (NARROW.matches) this.toggle(false, false);
  }

  select(id) {
    this.#current = id;
    this.#draw();
  }

  find(id) {
    return this.#conversations.find((conversation) => conversation.id === id);
  }

  async refresh() {
    const turn = (this.#turn += 1);
    try {
      const page = await api.listConversations();
      if (turn !== this.#turn) return;
      this.#conversations = page.conversations;
      this.#next = page.next;
      this.#draw();
    } catch (error) {
      if (turn === this.#turn && !error.transient) this.hooks.failed(error);
    }
  }

  async #more() {
    try {
      const page = await api.listConversations(this.#next);
      const known = new Set(this.#conversations.map(({ id }) => id));
      this.#conversations.push(...page.conversations.filter(({ id }) => !known.has(id)));
      this.#next = page.next;
      this.#draw();
    } catch (error) {
      this.hooks.failed(error);
    }
  }

  #draw() {
    if (this.list.querySelector("form")) return;
    const focused = this.list.contains(document.activeElement) ? document.activeElement.closest("li")?.dataset.id : null;
    this.list.replaceChildren(...this.#conversations.map((conversation) => this.#item(conversation)));
    if (focused) this.list.querySelector(`[data-id="${CSS.escape(focused)}"] a`)?.focus();
    byId("no-conversations").hidden = this.#conversations.length > 0;
    byId("more-conversations").hidden = !this.#next;
  }

  #item(conversation) {
    const title = conversation.title || t("untitled");
    const current = conversation.id === this.#current;
    const open = (event) => {
      event.preventDefault();
      this.closeDrawer();
      this.hooks.open(conversation.id);
    };
    const item = el(
      "li",
      { "data-id": conversation.id, class: current ? "current" : null },
      el("a", { href: `#${conversation.id}`, title, onclick: open, "aria-current": current ? "page" : null }, title),
      iconButton("edit", t("rename", { title }), () => this.#rename(item, conversation), { class: "icon rename" }),
      iconButton("bin", t("remove", { title }), () => this.#remove(conversation, title), { class: "icon remove" }),
    );
    return item;
  }

  #rename(item, conversation) {
    const input = el("input", { "aria-label": t("renameLabel"), maxlength: "200", value: conversation.title || t("untitled") });
    let open = true;
    const close = () => {
      open = false;
      form.remove();
      this.#draw();
      this.list.querySelector(`[data-id="${CSS.escape(conversation.id)}"] .rename`)?.focus();
    };
    const save = async (event) => {
      event?.preventDefault();
      if (!open) return;
      const title = input.value.trim();
      if (title && title !== conversation.title) {
        const before = conversation.title;
        conversation.title = title;
        close();
        try {
          await api.renameConversation(conversation.id, title);
          this.hooks.renamed(conversation.id, title);
        } catch (error) {
          conversation.title = before;
          this.#draw();
          this.hooks.failed(error);
        }
      } else close();
    };
    const form = el("form", { onsubmit: save }, input);
    input.addEventListener("blur", save);
    input.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      close();
    });
    item.replaceChildren(form);
    input.select();
    input.focus();
  }

  async #remove(conversation, title) {
    if (!(await confirmDeletion(title))) return;
    try {
      await api.deleteConversation(conversation.id);
    } catch (error) {
      if (error.status !== 404) return this.hooks.failed(error);
    }
    this.#conversations = this.#conversations.filter(({ id }) => id !== conversation.id);
    this.#draw();
    this.hooks.removed(conversation.id);
  }
}

function confirmDeletion(title) {
  const dialog = byId("delete-dialog");
  byId("delete-text").textContent = t("deleteText", { title });
  dialog.returnValue = "";
  byId("delete-cancel").onclick = () => dialog.close("");
  byId("delete-form").onsubmit = (event) => {
    event.preventDefault();
    dialog.close("yes");
  };
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}
