// Updates the page of one task: its state and its log lines.
import { refresh } from "./parts.js";
import { show } from "./rows.js";

// Maximum number of lines on the page. Older ones are removed; the server keeps all of them.
const MOST = 2000;

/** Handlers of a task's stream, for `follow`. */
export function followTask() {
  return { state: take, change: take, lines: ({ lines }) => append(lines) };
}

function take(task) {
  const head = document.querySelector("[data-followed]");
  if (!head || task.revision <= Number(head.dataset.revision)) return;
  const bar = document.querySelector("main [data-progress]");
  const isSame = head.dataset.status === task.status;
  if (isSame && bar) {
    bar.value = task.progress_percentage;
    document.querySelector("main [data-percent]").textContent = `${task.progress_percentage} %`;
    document.querySelector("main [data-message]").textContent = task.progress_message ?? "";
    head.dataset.revision = task.revision;
    return;
  }
  show(head, task);
  refresh();
}

function append(lines) {
  const list = document.querySelector("[data-log]"), template = document.getElementById("log-line");
  if (!list || !template) return;
  const isAtEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 8;
  for (const line of lines) list.append(made(template, line));
  while (list.children.length > MOST) list.firstElementChild.remove();
  document.querySelector('[data-part="no-log"]')?.replaceChildren();
  if (isAtEnd) list.scrollTop = list.scrollHeight;
}

function made(template, line) {
  const item = document.importNode(template.content.firstElementChild, true);
  const [time, level, said] = item.children, at = new Date(line.logged_at);
  item.className = line.level;
  time.dateTime = line.logged_at;
  time.textContent = at.toISOString().slice(11, 19);
  level.textContent = line.level;
  said.textContent = line.message;
  return item;
}
