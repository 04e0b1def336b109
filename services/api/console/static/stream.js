// The event stream of a page. It is open only while the page is visible, because browsers allow six HTTP/1.1
// connections to a server, over all tabs.
import { refresh, say } from "./parts.js";

const HIDDEN_MS = 5000, FIRST_MS = 1000, LONGEST_MS = 30000;
const WORDS = { live: "live", away: "reconnecting", over: "signed out", off: "not live", late: "delayed" };

/** Follow a stream; `handlers` has a function for each kind of event. `lastId` is the last event on the page. */
export function follow(address, handlers, lastId = "") {
  let source = null, pause = FIRST_MS, timer = null, isOver = false;

  function open() {
    clearTimeout(timer);
    if (source || isOver || document.hidden) return;
    const target = new URL(address, location.href);
    if (lastId) target.searchParams.set("last_event_id", lastId);
    source = new EventSource(target);
    source.onerror = again;
    for (const kind of ["state", "change", "lines", "end"]) source.addEventListener(kind, take);
    source.addEventListener("resync", () => refresh());
    source.addEventListener("degraded", () => show("late"));
    source.addEventListener("bye", again);
    source.addEventListener("expired", () => { isOver = true; close(); show("over"); refresh(); });
  }

  function take(event) {
    if (event.lastEventId) lastId = event.lastEventId;
    pause = FIRST_MS;
    show("live");
    handlers[event.type]?.(JSON.parse(event.data));
    if (event.type === "end") { isOver = true; close(); show("off"); refresh(); }
  }

  function again() {
    close();
    if (isOver) return;
    show("away");
    // An event source does not say why it was refused, but the page will.
    if (pause > 4 * FIRST_MS) refresh();
    timer = setTimeout(open, pause * (0.75 + Math.random() / 2));
    pause = Math.min(2 * pause, LONGEST_MS);
  }

  function close() { source?.close(); source = null; }

  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => { close(); show("off"); }, HIDDEN_MS);
    else open();
  });
  addEventListener("pagehide", close);
  addEventListener("pageshow", open);
  open();
  return { isOver: () => isOver };
}

/** Show the state of the stream in the page's indicator. */
export function show(state) {
  const light = document.getElementById("live");
  if (!light || light.dataset.state === state) return;
  light.dataset.state = state;
  light.textContent = WORDS[state];
  if (state === "over") say("Your session has ended. Sign in again.", true);
}
