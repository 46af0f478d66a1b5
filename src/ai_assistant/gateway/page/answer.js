// The body of one answer: Markdown rendered by the server while the text grows. The newest characters show at once as plain
// text; only blocks that changed are replaced, so a selection or a copy button further up stays as it is.

import { renderMarkdown } from "./api.js";
import { copyButton, el } from "./dom.js";
import { t } from "./texts.js";

const SHORTEST_PAUSE = 250;

// The single place where a string becomes HTML: the gateway cleaned it, and the page's policy allows no other.
const policy = globalThis.trustedTypes?.createPolicy("markdown", { createHTML: (html) => html });

function parseHtml(html) {
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  return [...template.content.childNodes].filter((node) => node.nodeType === Node.ELEMENT_NODE || node.data.trim());
}

export class AnswerBody {
  #text = "";
  #rendered = "";
  #sources = [];
  #tail = el("span", { class: "tail" });
  #busy = false;
  #timer = null;
  #pause = SHORTEST_PAUSE;

  constructor(rendered = () => {}) {
    this.node = el("div", { class: "markdown" });
    this.rendered = rendered;
  }

  // Shows `text`; `html` is its rendered form when the server sent one along.
  show(text, html) {
    if (html != null && text !== this.#rendered) this.#put(text, html);
    if (text === this.#text && html == null) return;
    this.#text = text;
    this.#showTail();
    if (text !== this.#rendered) this.#schedule();
  }

  #schedule() {
    if (this.#busy || this.#timer !== null) return;
    this.#timer = setTimeout(() => this.#render(), this.#rendered ? this.#pause : 0);
  }

  async #render() {
    this.#timer = null;
    this.#busy = true;
    const text = this.#text;
    const started = performance.now();
    try {
      const html = await renderMarkdown(text);
      // The longer rendering takes, the rarer it is: it never fills the line or the server.
      this.#pause = Math.max(SHORTEST_PAUSE, 4 * (performance.now() - started));
      if (!this.#text.startsWith(text)) this.#rendered = "";
      else this.#put(text, html);
    } catch (error) {
      // Plain text stays; too long texts are not asked for again.
      this.#pause = error.transient ? Math.min(2 * this.#pause, 5000) : Infinity;
    } finally {
      this.#busy = false;
    }
    this.#showTail();
    if (this.#text !== this.#rendered && this.#pause !== Infinity) this.#schedule();
    this.rendered();
  }

  #put(text, html) {
    const blocks = parseHtml(html);
    const sources = blocks.map((block) => block.outerHTML ?? block.data);
    this.#tail.remove();
    let same = 0;
    while (same < sources.length && sources[same] === this.#sources[same]) same += 1;
    while (this.node.childNodes.length > same) this.node.lastChild.remove();
    this.node.append(...blocks.slice(same).map(decorate));
    this.#sources = sources;
    this.#rendered = text;
  }

  // What came after the last rendering, right behind its last word.
  #showTail() {
    const known = this.#text.startsWith(this.#rendered);
    if (!known) {
      this.node.replaceChildren();
      this.#sources = [];
      this.#rendered = "";
    }
    this.#tail.textContent = this.#text.slice(this.#rendered.length);
    if (this.#tail.textContent) lastBlock(this.node).append(this.#tail);
    else this.#tail.remove();
  }
}

function lastBlock(node) {
  const last = node.lastElementChild;
  if (!last || !last.matches("p, ul, ol, li, blockquote, .code, pre, code, h1, h2, h3, h4, h5, h6")) return node;
  if (last.matches(".code")) return last.querySelector("code");
  return last.matches("ul, ol, li, blockquote, pre") ? lastBlock(last) : last;
}

function decorate(block) {
  if (block.nodeType !== Node.ELEMENT_NODE) return block;
  const holder = el("div", {}, block);
  for (const pre of holder.querySelectorAll("pre")) {
    const code = pre.querySelector("code");
    const language = code?.className.replace("language-", "") || t("code");
    const box = el("div", { class: "code" });
    pre.replaceWith(box);
    pre.tabIndex = 0;
    box.append(el("div", { class: "code-head" }, el("span", {}, language), copyButton(t("copy"), () => (code ?? pre).textContent)), pre);
  }
  for (const table of holder.querySelectorAll("table")) {
    const box = el("div", { class: "table", tabindex: "0", role: "region", "aria-label": t("table") });
    table.replaceWith(box);
    box.append(table);
  }
  return holder.firstChild;
}
