// Signing in and out. The key is traded for an HttpOnly cookie and is kept nowhere in the page.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { forgetAll, isAnotherUser, rememberUser } from "./storage.js";
import { sentence, t } from "./texts.js";

const channel = new BroadcastChannel("ai-assistant-session");

// Resolves when the page may talk to the API; tells whose page it is.
export async function enter() {
  channel.addEventListener("message", () => startAfresh());
  // A page out of the browser's history may show what its user has signed out of.
  addEventListener("pageshow", (event) => event.persisted && location.reload());
  byId("sign-out").addEventListener("click", leave);
  const session = await knock();
  if (session.required && !session.authenticated) {
    await askForKey();
    return admit(await knock());
  }
  return admit(session);
}

function admit(session) {
  if (isAnotherUser(session.user)) {
    forgetAll();
    history.replaceState(null, "", location.pathname);
  }
  rememberUser(session.user);
  byId("account").hidden = !(session.required && session.authenticated);
  byId("user").textContent = (session.user ?? "").replace(/^key:/, "");
  return session;
}

async function knock() {
  for (let delay = 500; ; delay = Math.min(delay * 2, 5000)) {
    try {
      return await api.getSession();
    } catch (error) {
      if (!error.transient) throw error;
      byId("live").textContent = sentence(error);
      await api.pause(delay);
    }
  }
}

// The session ended while the page was open: sign in and load again; drafts and unconfirmed sends survive that.
let asking = false;
export async function renew() {
  if (asking) return;
  await askForKey();
  location.reload();
}

function askForKey() {
  asking = true;
  const dialog = byId("key-dialog");
  const input = byId("key");
  const message = byId("key-error");
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    byId("key-form").onsubmit = async (event) => {
      event.preventDefault();
      const button = event.submitter ?? dialog.querySelector("button");
      button.disabled = true;
      message.textContent = "";
      try {
        await api.signIn(input.value.trim());
        input.value = "";
        asking = false;
        dialog.close();
        resolve();
      } catch (error) {
        message.textContent = error.status === 401 || error.status === 403 ? t("keyWrong") : sentence(error);
        input.select();
      } finally {
        button.disabled = false;
      }
    };
  });
}

async function leave() {
  try {
    await api.signOut();
  } catch (error) {
    if (error.status !== 401) return void (byId("live").textContent = sentence(error));
  }
  channel.postMessage("signed out");
  startAfresh();
}

function startAfresh() {
  forgetAll();
  byId("shell").hidden = true;
  history.replaceState(null, "", location.pathname);
  location.reload();
}
