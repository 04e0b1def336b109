// Starts what every page needs. Without JavaScript the pages still work, because they are HTML with plain forms.
import { ask, openDialogs } from "./dialog.js";
import { listen as listenToKeys } from "./keys.js";
import { followTask } from "./log.js";
import { refresh, send } from "./parts.js";
import { followRows } from "./rows.js";
import { follow, show as showLive } from "./stream.js";
import { tick } from "./times.js";

document.documentElement.classList.add("js");

// Some buttons ask for confirmation. The answer to some forms is put into the page instead of loading another page.
addEventListener("submit", async (event) => {
  const form = event.target, button = event.submitter;
  const question = button?.dataset.confirm ?? manyOf(button);
  const isLive = "live" in form.dataset;
  if (!question && !isLive) return;
  if (form.dataset.asked) { delete form.dataset.asked; if (!isLive) return; }
  else if (question) {
    event.preventDefault();
    if (!(await ask(question, button.dataset.word ?? button.textContent.trim(), button))) return;
    form.dataset.asked = "yes";
    form.requestSubmit(button);
    return;
  }
  event.preventDefault();
  send(form, button);
});

// The question of a button, such as "Retry {n}?", with the number of selected rows.
function manyOf(button) {
  const text = button?.dataset.confirmMany;
  const count = document.querySelectorAll("[data-task] input[name=id]:checked").length;
  return text?.replace("{n}", count === 1 ? "1 task" : `${count} tasks`);
}

addEventListener("click", (event) => {
  if (event.target.closest("[data-reload]")) location.reload();
});

// Refresh a page that the browser restored from its back/forward cache, because it may be outdated.
addEventListener("pageshow", (event) => { if (event.persisted) refresh(); });

// Pages with figures refresh themselves every few seconds while they are visible.
const every = Number(document.querySelector("[data-every]")?.dataset.every);
if (every) setInterval(() => { if (!document.hidden) refresh().then((done) => showLive(done ? "live" : "away")); }, 1000 * every);

openDialogs();
listenToKeys();
tick();

// Open the page's stream: at the start, and again when the page shows a retried task.
let following = null;
function begin() {
  const source = document.querySelector("[data-stream]");
  if (!source || (following && !following.isOver())) return;
  const handlers = source.dataset.kind === "task" ? followTask() : followRows();
  following = follow(source.dataset.stream, handlers, source.dataset.lastId);
}
document.addEventListener("parts", begin);
begin();
