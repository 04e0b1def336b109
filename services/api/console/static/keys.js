// Every action has a key. A key presses a button or link of the page, so it can do nothing that these cannot.
import { openDialog } from "./dialog.js";
import { pick } from "./rows.js";

let isGoing = false;

export function listen() {
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "k") {
      event.preventDefault();
      openDialog("go-to");
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (act(event)) event.preventDefault();
  });
}

const isTyping = (element) => element.matches?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");

function act(event) {
  const key = event.key;
  if (isGoing) { isGoing = false; return press(document.querySelector(`[data-go="${CSS.escape(key)}"]`)); }
  if (key === "g") { isGoing = true; setTimeout(() => { isGoing = false; }, 1500); return true; }
  if (key === "?") return openDialog("help");
  if (key === "/") return focusSearch();
  if (key === "j" || key === "ArrowDown") return move(1);
  if (key === "k" || key === "ArrowUp") return move(-1);
  const row = current();
  if (key.toLowerCase() === "x" && row) { pick(row, event.shiftKey); return true; }
  if (key === "r") return actOn("retry", row);
  if (key === "c") return actOn("cancel", row);
  return press(document.querySelector(`[data-key="${CSS.escape(key)}"]`));
}

// Act on the selected rows if there are any, else on the row under the cursor, else press the page's own button.
function actOn(what, row) {
  const ofSelected = document.querySelector(`[data-act-selected="${what}"]:not(:disabled)`);
  if (ofSelected && document.querySelector("[data-task] input:checked")) return press(ofSelected);
  return press(row?.querySelector(`[data-act="${what}"]`) ?? document.querySelector(`[data-key="${what[0]}"]`));
}

function press(element) {
  element?.click();
  return Boolean(element);
}

function focusSearch() {
  const field = document.querySelector("[data-search]");
  field?.closest("details")?.setAttribute("open", "");
  field?.focus();
  field?.select();
  return Boolean(field);
}

const all = () => [...document.querySelectorAll("[data-open-row]")].filter((each) => each.offsetParent);
const current = () => document.activeElement?.closest("[data-task], [data-row]");

function move(step) {
  const links = all();
  if (!links.length) return false;
  const row = current();
  const here = row ? links.findIndex((each) => row.contains(each)) : -1;
  const next = here < 0 ? (step > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, here + step));
  links[next].focus();
  links[next].scrollIntoView({ block: "nearest" });
  return true;
}
