// Wires the parts of the page together: address, open thread, list, composer, notices.

import * as api from "./api.js";
import { Assistants } from "./assistants.js";
import { Composer } from "./composer.js";
import { byId, el, icon, iconButton } from "./dom.js";
import { Scroller } from "./scroll.js";
import { enter, renew } from "./session.js";
import { Sidebar } from "./sidebar.js";
import { settle, unconfirmed } from "./storage.js";
import { sentence, t, translate } from "./texts.js";
import { Thread } from "./thread.js";
import { ThreadView } from "./view.js";

const CONVERSATION = /^#([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/i;
const address = () => CONVERSATION.exec(location.hash)?.[1] ?? null;

translate(document);
const scroller = new Scroller(byId("scroller"), byId("to-end"));
const assistants = new Assistants();
const actions = {
  regenerate: (message) => act(() => thread.regenerate(message)),
  edit: (message, text) => act(() => thread.edit(message, text)),
  retry: (message) => act(() => thread.retry(message)),
  choose: (message) => thread.choose(message),
};
const composer = new Composer({
  send: (text) => act(() => thread.send(text, assistants.chosen)),
  stop: () => thread.stop(),
});
const sidebar = new Sidebar({
  open: (id) => go(id),
  removed: (id) => id === thread.id && go(null),
  renamed: (id, title) => id === thread.id && rename(title),
  failed: (error) => problem(error),
});
let view;
let thread;

function show(conversation) {
  thread?.close();
  const own = new Thread(
    {
      changed: (message) => own === thread && draw(message),
      accepted: () => accepted(own),
      finished: () => own === thread && finished(),
      rejected: (error, text) => own === thread && rejected(error, text),
      connection: (lost) => own === thread && connection(lost),
    },
    conversation,
  );
  thread = own;
  byId("thread").replaceChildren();
  view = new ThreadView(byId("thread"), actions, () => scroller.grown());
  connection(false);
  problem(null);
  rename(thread.title);
  assistants.use(thread.assistant);
  sidebar.select(thread.id);
  composer.attach(thread.id);
  draw();
  scroller.toEnd();
  thread.start();
}

function draw(message) {
  const loading = thread.id === null && address() !== null;
  view.draw(thread, message);
  byId("empty").hidden = loading || thread.messages.length > 0;
  byId("older").hidden = thread.onNewest;
  composer.state({ busy: thread.waiting.length > 0, blocked: loading || !thread.onNewest });
  scroller.grown();
}

function act(start) {
  problem(null);
  start();
  scroller.toEnd();
  say(t("answering"));
}

function accepted(own) {
  list();
  if (own !== thread || address() === own.id) return;
  // The conversation has got its id; nothing is loaded again.
  history.pushState(null, "", `#${own.id}`);
  sidebar.select(own.id);
  composer.moved(own.id);
  assistants.use(assistants.chosen);
  assistants.watch();
}

function finished() {
  say(t("answered"));
  list();
}

// The list knows what the server calls a new conversation.
async function list() {
  await sidebar.refresh();
  const known = sidebar.find(thread.id);
  if (!known) return;
  thread.assistant = known.assistant;
  if (known.title !== thread.title) rename(known.title);
}

function rename(title) {
  thread.title = title;
  byId("title").textContent = title || (thread.id ? t("untitled") : "");
  document.title = title ? `${title} · ${t("brand")}` : t("brand");
}

function rejected(error, text) {
  composer.restore(text);
  if (error.status !== 401) problem(error);
}

function connection(lost) {
  const node = byId("connection");
  node.hidden = !lost;
  node.textContent = lost ? t("reconnecting") : "";
}

function say(text) {
  byId("live").textContent = text;
}

// One sentence about what failed, with a way to repeat it where that makes sense.
function problem(error, again) {
  const node = byId("problem");
  node.hidden = !error;
  if (!error) return node.replaceChildren();
  const retry = again && el("button", { type: "button", class: "quiet", onclick: again }, icon("again"), t("retry"));
  const close = iconButton("close", t("dismiss"), () => problem(null));
  node.replaceChildren(el("span", {}, sentence(error)), retry ?? "", close);
}

function go(id) {
  if (address() !== id) history.pushState(null, "", id ? `#${id}` : location.pathname + location.search);
  return load();
}

let turn = 0;
async function load() {
  const id = address();
  const own = (turn += 1);
  if (id === null) {
    show(null);
    return composer.focus();
  }
  if (thread?.id === id) return;
  for (let delay = 500; ; delay = Math.min(delay * 2, 5000)) {
    try {
      const conversation = await api.getConversation(id);
      if (own === turn) {
        show(conversation);
        composer.focus();
      }
      return;
    } catch (error) {
      if (own !== turn || error.status === 401) return;
      if (!error.transient) {
        history.replaceState(null, "", location.pathname + location.search);
        show(null);
        return problem(error);
      }
      if (!thread) show(null);
      connection(true);
      await api.pause(delay);
      if (own !== turn) return;
    }
  }
}

// Sends that the last load of this page could not confirm: the same key makes a repetition harmless.
async function repeatUnconfirmed() {
  for (const { key, body } of unconfirmed()) {
    try {
      const accepted = await api.chat(body, key, () => connection(true));
      settle(key);
      history.replaceState(null, "", `#${accepted.conversation_id}`);
    } catch (error) {
      if (error.status === 401) return;
      connection(false);
      if (error.transient) problem(error, () => location.reload());
      else {
        settle(key);
        rejected(error, body.message ?? "");
      }
      return;
    }
    await load();
  }
}

function greet() {
  const examples = ["example1", "example2", "example3"].map((key) => {
    const send = () => act(() => thread.send(t(key), assistants.chosen));
    return el("button", { type: "button", onclick: send }, t(key));
  });
  byId("examples").replaceChildren(...examples);
}

function startNew() {
  sidebar.closeDrawer();
  go(null);
}

async function main() {
  try {
    await enter();
  } catch (error) {
    byId("shell").hidden = false;
    return problem(error, () => location.reload());
  }
  api.onSignedOut(renew);
  greet();
  byId("shell").hidden = false;
  byId("new-chat").addEventListener("click", startNew);
  byId("new-chat-short").addEventListener("click", startNew);
  byId("to-newest").addEventListener("click", () => {
    thread.showNewest();
    draw();
    scroller.toEnd();
  });
  addEventListener("popstate", load);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return;
    sidebar.refresh();
    assistants.watch();
  });
  assistants.watch();
  sidebar.refresh();
  await load();
  await repeatUnconfirmed();
}

main();
