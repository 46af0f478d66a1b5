// What a tab keeps over a reload: drafts, and sends that the server has not confirmed. It ends with the tab or with signing out.

const store = sessionStorage;
const PENDING = "pending:";
const DRAFT = "draft:";

export const loadDraft = (conversation) => store.getItem(DRAFT + (conversation ?? "new")) ?? "";

export function saveDraft(conversation, text) {
  const key = DRAFT + (conversation ?? "new");
  if (text) store.setItem(key, text);
  else store.removeItem(key);
}

export const remember = (key, body) => store.setItem(PENDING + key, JSON.stringify(body));
export const settle = (key) => store.removeItem(PENDING + key);

export function unconfirmed() {
  const keys = Object.keys(store).filter((name) => name.startsWith(PENDING));
  return keys.map((name) => ({ key: name.slice(PENDING.length), body: JSON.parse(store.getItem(name)) }));
}

export const forgetAll = () => store.clear();

const USER = "user";

// True when somebody else has signed in than the one this tab worked for.
export function isAnotherUser(user) {
  const before = store.getItem(USER);
  return before !== null && before !== JSON.stringify(user);
}

export const rememberUser = (user) => store.setItem(USER, JSON.stringify(user));
