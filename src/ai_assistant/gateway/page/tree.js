// A conversation is a tree: answering again and editing add siblings. These functions pick the branch to show.

export const UNFINISHED = new Set(["sending", "queued", "running", "cancelling"]);

export function siblingsOf(messages, message) {
  return messages.filter((other) => other.parent_id === message.parent_id && other.role === message.role);
}

// From the first message to a leaf: at each fork the chosen child, else the newest.
export function pathOf(messages, choices) {
  const children = new Map();
  for (const message of messages) {
    const list = children.get(message.parent_id) ?? [];
    list.push(message);
    children.set(message.parent_id, list);
  }
  const path = [];
  for (let parent = null, list; (list = children.get(parent)); parent = path.at(-1).id) {
    path.push(list.find((message) => message.id === choices.get(parent)) ?? list.at(-1));
  }
  return path;
}

// The choices that lead to one message.
export function choicesTo(messages, message) {
  const byId = new Map(messages.map((other) => [other.id, other]));
  const choices = new Map();
  for (let step = message; step; step = byId.get(step.parent_id)) choices.set(step.parent_id, step.id);
  return choices;
}
