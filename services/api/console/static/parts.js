// Requests the same page again and replaces the parts of it that differ. So all HTML is made by the server.
import { tick } from "./times.js";

const policy = globalThis.trustedTypes?.createPolicy("console", { createHTML: (text) => text }) ?? { createHTML: (text) => text };
const headers = (why) => ({ Accept: "text/html", "X-Often-Part": why });
// Minimum time between two requests for a page, however many events arrive.
const GAP_MS = 1000;
let last = 0, waiting = null, running = null;

/** Update the page. Calls at the same time share one request. Resolves to whether it succeeded. */
export function refresh() {
  waiting ??= new Promise((done) => setTimeout(async () => {
    waiting = null;
    await running;
    last = Date.now();
    running = read(location.href, { headers: headers("refresh") });
    done(await running);
  }, Math.max(0, last + GAP_MS - Date.now())));
  return waiting;
}

/** Send a form, and show the page to which the answer leads. */
export async function send(form, button) {
  const body = new URLSearchParams(new FormData(form, button));
  const action = button?.getAttribute("formaction") ?? form.getAttribute("action");
  form.setAttribute("aria-busy", "true");
  const done = await read(action, { method: "POST", body, headers: headers("send") });
  form.removeAttribute("aria-busy");
  if (done) for (const box of form.querySelectorAll("[data-task] input:checked, [data-all]")) setBox(box, false);
  if (!done) say("The server cannot be reached. Nothing is known of what became of it.", true);
}

async function read(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    return false;
  }
  if (answer.status === 401) { location.reload(); return true; }
  const target = new URL(answer.url);
  if (target.pathname !== location.pathname) { location.assign(answer.url); return true; }
  const isPage = answer.headers.get("content-type")?.startsWith("text/html");
  if (!isPage) return false;
  const page = new DOMParser().parseFromString(policy.createHTML(await answer.text()), "text/html");
  // A notice about a form stays until the next form, so a refresh must not replace it.
  if (options.method !== "POST") page.getElementById("notice")?.remove();
  apply(page);
  return answer.ok;
}

/** Replace the parts of this page by those of a newer copy. */
export function apply(page) {
  for (const old of document.querySelectorAll("[data-part]")) {
    const next = page.querySelector(`[data-part="${CSS.escape(old.dataset.part)}"]`);
    if (!next) { old.classList.toggle("stale", "task" in old.dataset); continue; }
    old.classList.remove("stale");
    if (!isOutdated(old, next)) continue;
    if ("keepRows" in old.dataset && keepRows(old, next)) continue;
    replace(old, next);
  }
  tick();
  document.dispatchEvent(new Event("parts"));
}

function isOutdated(old, next) {
  if (old.contains(document.activeElement) && document.activeElement.matches("input, textarea, select")
      && !("version" in old.dataset)) return false;
  if ("version" in old.dataset) return old.dataset.version !== next.dataset.version || "moved" in old.dataset;
  return written(old) !== written(next);
}

// The HTML of a part, without the times, which the browser rewrites.
const written = (part) => part.outerHTML.replace(/<time [^>]*?datetime="([^"]*)"[^>]*>[^<]*<\/time>/g, "$1");

// Keep the rows of a list, which are parts of their own. New rows are only announced, so that nothing moves.
function keepRows(old, next) {
  const shown = idsOf(old), found = idsOf(next);
  if (!shown.length || !found.length) return false;
  const unseen = found.filter((id) => !shown.includes(id));
  if (unseen.length) document.dispatchEvent(new CustomEvent("unseen", { detail: unseen }));
  return true;
}

const idsOf = (list) => [...list.querySelectorAll("[data-task]")].map((row) => row.dataset.task);

function replace(old, next) {
  const copy = document.importNode(next, true);
  const checked = old.querySelector("input[name=id]:checked") !== null;
  const focused = old.contains(document.activeElement) ? focusKey(document.activeElement) : null;
  for (const each of old.querySelectorAll("details[open][id]")) copy.querySelector(`#${CSS.escape(each.id)}`)?.setAttribute("open", "");
  if (old.getAttribute("aria-selected")) copy.setAttribute("aria-selected", old.getAttribute("aria-selected"));
  if ("version" in old.dataset && old.dataset.version !== copy.dataset.version) copy.classList.add("fresh");
  old.replaceWith(copy);
  const box = copy.querySelector("input[name=id]");
  if (box) box.checked = checked;
  if (focused) (copy.querySelector(focused) ?? copy.querySelector("a, button") ?? copy).focus({ preventScroll: true });
}

function focusKey(element) {
  for (const name of ["data-act", "data-open-row", "name", "href"]) {
    if (element.hasAttribute(name)) return `[${name}="${CSS.escape(element.getAttribute(name))}"]`;
  }
  return null;
}

export function setBox(box, value) {
  if (box.checked === value) return;
  box.checked = value;
  box.dispatchEvent(new Event("change", { bubbles: true }));
}

/** Announce a text to screen readers, and show it if it is bad news. */
export function say(text, isBad = false) {
  document.getElementById("said").textContent = text;
  if (!isBad) return;
  const box = document.createElement("div");
  box.className = "notice bad";
  box.setAttribute("role", "alert");
  box.textContent = text;
  document.getElementById("notice").replaceChildren(box);
}
