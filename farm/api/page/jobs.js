// All jobs: what they are, how far, filtered by state.

import { call } from "./api.js";
import { el, eta, problem, replace, stateMark, when } from "./dom.js";

const FILTERS = {
  All: [],
  Running: ["queued", "indexing", "analysing", "rendering", "assembling", "verifying"],
  "Wait for you": ["casting", "paused"],
  Finished: ["succeeded"],
  "Came to nothing": ["failed", "cancelled", "refused"],
};
const EVERY_MS = 3000;

export async function jobList(main) {
  let filter = "All", cursors = [null], stopped = false, timer = 0;
  const rows = el("tbody"), said = el("div"), pages = el("div", { class: "row" });
  const choice = el("select", { id: "filter", onchange() { filter = choice.value; cursors = [null]; load(); } },
    Object.keys(FILTERS).map((name) => el("option", {}, name)));
  replace(
    main,
    el("h1", {}, "Jobs"),
    el("p", { class: "row" }, el("label", { for: "filter" }, "Show"), choice, el("a", { class: "button", href: "#/new" }, "New job")),
    said,
    el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Jobs" },
      el("table", {}, el("caption", { class: "unseen" }, "Jobs, newest first"),
        el("thead", {}, el("tr", {}, ["Job", "State", "Progress", "Time left", "Submitted"].map((name) => el("th", { scope: "col" }, name)))),
        rows)),
    pages,
  );

  async function load() {
    clearTimeout(timer);
    const query = new URLSearchParams(FILTERS[filter].map((state) => ["state", state]));
    query.append("limit", "25");
    const cursor = cursors.at(-1);
    if (cursor) query.append("cursor", cursor);
    try {
      const page = await call("GET", `v1/jobs?${query}`);
      if (stopped) return;
      replace(said, page.items.length ? null : el("p", {}, filter === "All" ? "No jobs yet." : "No such jobs."));
      const focused = document.activeElement?.getAttribute?.("href");
      replace(rows, page.items.map(row));
      if (focused) rows.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
      replace(
        pages,
        cursors.length > 1 ? el("button", { class: "quiet", onclick() { cursors.pop(); load(); } }, "Newer") : null,
        page.next ? el("button", { class: "quiet", onclick() { cursors.push(page.next); load(); } }, "Older") : null,
      );
    } catch (error) {
      if (!stopped) replace(said, problem(error));
    }
    if (!stopped) timer = setTimeout(load, EVERY_MS);
  }

  await load();
  return () => { stopped = true; clearTimeout(timer); };
}

function row(job) {
  const { progress } = job;
  const share = progress.frames_total ? Math.floor((100 * progress.frames_done) / progress.frames_total) : 0;
  const works = ["indexing", "analysing", "rendering", "assembling", "verifying"].includes(job.state);
  return el(
    "tr",
    {},
    el("td", {}, el("a", { href: `#/jobs/${job.id}` }, job.title || job.id)),
    el("td", {}, stateMark(job.state)),
    el("td", {}, !works ? "" : `${progress.stage ? `${progress.stage}, ` : ""}${share} %`),
    el("td", {}, !works || !progress.frames_total ? "" : eta(progress)),
    el("td", {}, when(job.created)),
  );
}
