// Keys: j and k (or the arrows) step through the items of a page, n and p through its pages, ? lists the keys.
"use strict";

const steps = () => [...document.querySelectorAll("[data-step]")];
const target = (item) => (item.matches("a, button") ? item : item.querySelector("a, button"));

function step(by) {
  const items = steps();
  if (!items.length) return follow(by > 0 ? "next" : "prev");
  const current = items.findIndex((item) => item.contains(document.activeElement));
  const place = current < 0 ? (by > 0 ? 0 : items.length - 1) : current + by;
  const item = items[Math.max(0, Math.min(items.length - 1, place))];
  target(item)?.focus();
  item.scrollIntoView({ block: "nearest" });
}

function follow(rel) {
  const found = document.querySelector(`a[rel="${rel}"]`);
  if (found) found.click();
}

const actions = {
  j: () => step(1),
  k: () => step(-1),
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  ArrowRight: () => follow("next"),
  ArrowLeft: () => follow("prev"),
  n: () => follow("next"),
  p: () => follow("prev"),
  "/": () => document.querySelector("form.filters input:not([type=hidden])")?.focus(),
  "?": () => document.querySelector("#keys")?.showModal(),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea, dialog")) return;
  const action = actions[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});

document.querySelector("#show-keys")?.addEventListener("click", () => document.querySelector("#keys").showModal());

// A filter that changes is applied at once.
for (const select of document.querySelectorAll("form.filters select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

// Empty filters are left out of the address.
for (const form of document.querySelectorAll("form.filters")) {
  form.addEventListener("submit", () => {
    for (const field of form.elements) if (field.name && field.value === "") field.disabled = true;
  });
  window.addEventListener("pageshow", () => {
    for (const field of form.elements) field.disabled = false;
  });
}

// A page about unfinished work is loaded again while it is visible.
const seconds = Number(document.body.dataset.refresh || 0);
if (seconds > 0) {
  setInterval(async () => {
    if (document.hidden || document.querySelector("dialog[open]")) return;
    const answer = await fetch(location.href).catch(() => null);
    if (!answer || !answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
    if (fresh) document.querySelector("main").replaceWith(fresh);
  }, seconds * 1000);
}
