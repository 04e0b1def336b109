// Rows of tasks: applies changes from a stream, and handles the selection.
import { refresh, say, setBox } from "./parts.js";

const rowOf = (id) => document.querySelector(`[data-task="${CSS.escape(id)}"]`);
const rows = () => [...document.querySelectorAll("[data-task]")];
const wanted = new URLSearchParams(location.search).getAll("status");
let unseen = new Set(), lastBox = null;

document.addEventListener("unseen", ({ detail }) => {
  for (const id of detail) unseen.add(id);
  announce();
});

/** Handlers of a list's stream, for `follow`. */
export function followRows() {
  // The first event refreshes the page: changes between its loading and the stream's opening are in neither.
  return { state: () => refresh(), change: ({ tasks, overflow }) => take(tasks, overflow) };
}

function take(tasks, overflow) {
  let moved = 0;
  for (const task of tasks) {
    const row = rowOf(task.task_id);
    if (row) moved += show(row, task);
    else if (matches(task)) unseen.add(task.task_id);
  }
  if (moved || overflow) refresh();
  if (moved) say(moved === 1 ? "1 task changed" : `${moved} tasks changed`);
  if (unseen.size) announce();
}

// The filters that a change of a task can be compared with. For any other filter only the server knows a match.
const CARRIED = new Set(["status", "name", "queue", "owner"]);
function matches(task) {
  const fields = [...new URLSearchParams(location.search).keys()];
  return fields.every((name) => CARRIED.has(name)) && (!wanted.length || wanted.includes(task.status));
}

function announce() {
  const button = document.querySelector("[data-show-new]");
  if (!button) return;
  button.hidden = false;
  button.textContent = unseen.size > 99 ? "99+ new: show" : `${unseen.size} new: show`;
  if (!rows().length) refresh().then(() => { if (rows().length) location.reload(); });
}

/** Show a change of a task in its row. Returns 1 if the state has changed, so that the caller refreshes the page. */
export function show(row, task) {
  if (task.revision <= Number(row.dataset.revision)) return 0;
  row.dataset.revision = task.revision;
  row.dataset.moved = "";
  const isSame = row.dataset.status === task.status;
  const bar = row.querySelector("[data-progress]");
  if (isSame && bar) {
    bar.value = task.progress_percentage;
    text(row, "[data-percent]", `${task.progress_percentage} %`);
    text(row, "[data-message]", task.progress_message ?? "");
    return 0;
  }
  row.dataset.status = task.status;
  const sign = document.getElementById("states")?.content.querySelector(`[data-of="${CSS.escape(task.status)}"]`);
  const cell = row.querySelector("[data-state-cell]");
  if (sign && cell) cell.replaceChildren(document.importNode(sign.firstElementChild, true));
  return 1;
}

function text(row, selector, value) {
  const found = row.querySelector(selector);
  if (found) found.textContent = value;
}

// Selection

addEventListener("change", (event) => {
  const box = event.target;
  if (box.matches("[data-all]")) for (const each of boxes()) each.checked = box.checked;
  if (box.matches("[data-all], [data-task] input[name=id]")) count();
});
addEventListener("click", (event) => {
  if (event.target.closest?.("[data-show-new]")) location.reload();
  const box = event.target;
  if (!box.matches?.("[data-task] input[name=id]")) return;
  if (event.shiftKey && lastBox?.isConnected) fill(lastBox, box);
  lastBox = box;
  count();
});

const boxes = () => [...document.querySelectorAll("[data-task] input[name=id]")];

export function fill(from, to) {
  const all = boxes(), ends = [all.indexOf(from), all.indexOf(to)].sort((a, b) => a - b);
  for (const each of all.slice(ends[0], ends[1] + 1)) each.checked = to.checked;
}

export function pick(row, isRange) {
  const box = row.querySelector("input[name=id]");
  if (!box) return;
  setBox(box, !box.checked);
  if (isRange && lastBox?.isConnected) fill(lastBox, box);
  lastBox = box;
  count();
}

function count() {
  const number = boxes().filter((each) => each.checked).length;
  const shown = document.querySelector("[data-selected]");
  if (shown) shown.textContent = number ? `${number} selected` : "None selected";
  for (const button of document.querySelectorAll("[data-of-selected]")) button.disabled = !number;
  const all = document.querySelector("[data-all]");
  if (all) { all.checked = number > 0 && number === boxes().length; all.indeterminate = number > 0 && !all.checked; }
}
count();
