// Keeps relative times up to date, and writes the exact time into their titles, in the time zone of the user's choice.
const STEPS = [[60, 1, "s"], [3600, 60, "min"], [172800, 3600, "h"], [Infinity, 86400, "d"]];
const isLocal = document.documentElement.dataset.zone !== "utc";
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
let timer = null;

/** A relative time in the same words as formats.relative in Python. */
export function relative(then, now) {
  const seconds = (now - then) / 1000, size = Math.abs(seconds);
  if (size < 1) return "now";
  const [, unit, word] = STEPS.find(([most]) => size < most);
  const text = `${Math.floor(size / unit)} ${word}`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

export function tick() {
  const now = Date.now();
  for (const each of document.querySelectorAll("time[data-relative]")) {
    const then = new Date(each.dateTime), text = relative(then, now);
    if (each.textContent !== text) each.textContent = text;
    if (isLocal && !("exact" in each.dataset)) { each.dataset.exact = ""; each.title = exact.format(then); }
  }
  clearTimeout(timer);
  timer = setTimeout(tick, 1000);
}
