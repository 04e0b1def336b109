// Dialogs: a confirmation, the field "Go to", and the list of keys.

/** Open a dialog of the page. */
export function openDialog(id) {
  const dialog = document.getElementById(id);
  if (!dialog || dialog.open) return false;
  dialog.showModal();
  dialog.querySelector("input")?.select();
  return true;
}

export function openDialogs() {
  addEventListener("click", (event) => {
    const name = event.target.closest?.("[data-open]")?.dataset.open;
    if (name) openDialog(name);
    // A click outside the dialog closes it.
    if (event.target.matches?.("dialog[open]")) event.target.close();
  });
}

/** Ask for confirmation; resolves to true for yes. `word` on the button says what is about to be done. */
export function ask(question, word, like) {
  const dialog = document.getElementById("confirm"), yes = document.getElementById("confirm-yes");
  document.getElementById("confirm-text").textContent = question;
  yes.textContent = word;
  yes.className = like.dataset.confirmTone === "bad" ? "danger primary" : "primary";
  dialog.returnValue = "";
  dialog.showModal();
  yes.focus();
  return new Promise((done) => dialog.addEventListener("close", () => { like.focus(); done(dialog.returnValue === "yes"); }, { once: true }));
}
