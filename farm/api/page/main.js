// Which view is shown: by the part of the address behind #. A view is a function that fills the page and may give
// back what ends it.

import { call, keyring } from "./api.js";
import { el, problem, replace, say } from "./dom.js";
import { jobList } from "./jobs.js";
import { jobView } from "./job.js";
import { newJob } from "./new.js";

const main = document.getElementById("main");
let leave = null;
let turn = 0;

const ROUTES = [
  [/^#\/jobs\/([A-Za-z0-9_-]+)$/, "jobs", (place, found) => jobView(place, found[1])],
  [/^#\/new$/, "new", (place) => newJob(place)],
  [/^#\/jobs$|^$/, "jobs", (place) => jobList(place)],
];

async function show() {
  const mine = ++turn;
  if (leave) leave();
  leave = null;
  if (!keyring.get()) return askKey();
  let who;
  try {
    who = await call("GET", "v1/me");
  } catch (error) {
    if (mine !== turn) return undefined;
    if (error.status === 401) { keyring.forget(); return askKey(error); }
    return replace(main, problem(error));
  }
  if (mine !== turn) return undefined;
  document.getElementById("who").textContent = who.tenant;
  document.getElementById("leave").hidden = false;
  const here = ROUTES.map(([form, name, view]) => [location.hash.match(form), name, view]).find(([found]) => found);
  for (const link of document.querySelectorAll("nav a")) {
    if (here && link.dataset.route === here[1]) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!here) return replace(main, el("h1", {}, "No such page"), el("p", {}, el("a", { href: "#/jobs" }, "To the jobs")));
  try {
    const ended = await here[2](main, here[0]);
    if (mine === turn) leave = ended || null;
    else if (ended) ended();
  } catch (error) {
    if (mine === turn) replace(main, el("h1", {}, "This cannot be shown"), problem(error), el("p", {}, el("a", { href: "#/jobs" }, "To the jobs")));
  }
  if (mine === turn) {
    const title = main.querySelector("h1");
    document.title = title ? `${title.textContent} – Face farm` : "Face farm";
    main.focus({ preventScroll: true });
  }
  return undefined;
}

function askKey(error) {
  document.getElementById("who").textContent = "";
  document.getElementById("leave").hidden = true;
  const field = el("input", { id: "key", type: "password", autocomplete: "off", required: true, size: "48" });
  const keep = el("input", { id: "keep", type: "checkbox" });
  replace(
    main,
    el("h1", {}, "Your key"),
    error ? problem({ detail: "This key is not valid, or not any more.", next_step: "give another one" }) : null,
    el(
      "form",
      { onsubmit(event) { event.preventDefault(); keyring.set(field.value.trim(), keep.checked); show(); } },
      el("div", { class: "field" }, el("label", { for: "key" }, "API key"), field,
        el("small", {}, "As farm serve printed it, or as your administrator gave it to you.")),
      el("p", {}, keep, " ", el("label", { for: "keep" }, "Keep it on this computer")),
      el("button", {}, "Go on"),
    ),
  );
  document.title = "Your key – Face farm";
  field.focus();
}

const themes = { light: "dark", dark: "light" };
const kept = localStorage.getItem("farm-theme");
if (kept) document.documentElement.dataset.theme = kept;
document.getElementById("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  document.documentElement.dataset.theme = themes[now];
  localStorage.setItem("farm-theme", themes[now]);
  say(`${themes[now]} colours`, true);
});
document.getElementById("leave").addEventListener("click", () => { keyring.forget(); show(); });
// A file that is dropped beside a place for files is for nobody: the browser would leave the page for it.
for (const what of ["dragover", "drop"]) {
  addEventListener(what, (event) => {
    if (event.defaultPrevented || !event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "none";
  });
}
addEventListener("hashchange", show);
show();
