// The gateway's HTTP API as functions. Addresses are relative, so the page also works below a path.

export class ApiError extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }

  // Asking again may help: nothing answered, or the server said "not now".
  get transient() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

let signedOut = () => {};

export function onSignedOut(callback) {
  signedOut = callback;
}

// fetch() that throws an ApiError for everything but 2xx.
export async function open(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new ApiError(0, "network", "");
  }
  if (response.ok) return response;
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // A proxy's own error page: the status says enough.
  }
  if (response.status === 401 && path !== "api/session") signedOut();
  throw new ApiError(response.status, error.code ?? (response.status === 429 ? "overloaded" : ""), error.message ?? "");
}

async function json(method, path, body, headers = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers } };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await open(path, options);
  if (response.status === 204) return null;
  try {
    return await response.json();
  } catch {
    throw new ApiError(0, "network", "");
  }
}

const enc = encodeURIComponent;

export const getSession = () => json("GET", "api/session");
export const signIn = (key) => json("POST", "api/session", { key });
export const signOut = () => json("DELETE", "api/session");
export const listAssistants = async () => (await json("GET", "api/assistants")).assistants;
export const listConversations = (after) => json("GET", `api/conversations${after ? `?after=${enc(after)}` : ""}`);
export const getConversation = (id) => json("GET", `api/conversations/${enc(id)}?html=true`);
export const renameConversation = (id, title) => json("PATCH", `api/conversations/${enc(id)}`, { title });
export const deleteConversation = (id) => json("DELETE", `api/conversations/${enc(id)}`);
export const cancel = (taskId) => json("DELETE", `api/chat/${enc(taskId)}`);
export const renderMarkdown = async (text) => (await json("POST", "api/markdown", { text })).html;
export const streamPath = (taskId) => `api/chat/${enc(taskId)}/stream`;

// One send, repeated for a while under the same key, so that a lost reply never doubles a message.
export async function chat(body, key, waiting = () => {}) {
  for (let attempt = 0, delay = 500; ; attempt += 1, delay = Math.min(delay * 2, 5000)) {
    try {
      return await json("POST", "api/chat", body, { "Idempotency-Key": key });
    } catch (error) {
      if (!error.transient || error.status === 429 || attempt >= 6) throw error;
      waiting();
      await pause(delay);
    }
  }
}

// Waits, but not longer than until the browser is online again.
export function pause(milliseconds, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    addEventListener("online", done);
    signal?.addEventListener("abort", done);
  });
}

// crypto.randomUUID exists on https and localhost only; an assistant in a home network is often plain http.
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
