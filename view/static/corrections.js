// Buttons that record corrections: y, n and u press those of the item in focus, or of the only one on the page.
"use strict";

function buttonFor(key) {
  const item = document.activeElement?.closest("[data-step]") ?? document.querySelector("[data-answer]");
  return item?.querySelector(`form[data-correct] button[data-key="${CSS.escape(key)}"]`);
}

document.addEventListener(
  "keydown",
  (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest("input, select, textarea, dialog")) return;
    const button = buttonFor(event.key);
    if (!button) return;
    event.preventDefault();
    event.stopImmediatePropagation(); // n is the next page elsewhere
    button.click();
  },
  true,
);

// Where the page stays as it is, the correction is sent without loading it again.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form[data-stay]") || !event.submitter) return;
  event.preventDefault();
  const fields = Object.fromEntries(new FormData(form, event.submitter));
  const buttons = (form.closest(".suspect") ?? form).querySelectorAll("button[aria-pressed]");
  form.setAttribute("aria-busy", "true");
  const answer = await fetch("/corrections", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(fields),
  }).catch(() => null);
  form.removeAttribute("aria-busy");
  if (!answer || !answer.ok) {
    form.dataset.failed = "not recorded";
    return;
  }
  delete form.dataset.failed;
  for (const button of buttons) button.setAttribute("aria-pressed", String(button === event.submitter));
});
