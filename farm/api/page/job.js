// One job as it goes: progress, segments, cost; the cast when it waits for one; the result when it is there.

import { address, call, follow, resultLink, text } from "./api.js";
import { castSheet } from "./cast.js";
import { compare } from "./compare.js";
import { bytes, el, eta, problem, replace, say, span, stateMark, when } from "./dom.js";
import { segmentGrid } from "./grid.js";
import { provenance, qualityPlots } from "./report.js";

const ENDED = ["succeeded", "failed", "cancelled", "refused"];
const WORKING = ["indexing", "analysing", "rendering", "assembling", "verifying"];
const ASKED = { pause: "a pause, as soon as it can stop", cancel: "its end, as soon as it can stop" };
const GRID_MS = 1000;

export async function jobView(main, id) {
  const stop = new AbortController();
  let job = await call("GET", `v1/jobs/${id}`);
  let shownFor = "", gridTimer = 0, gridVersion = -1;
  const head = el("h1", {}, job.title || job.id), actions = el("p", { class: "row" }), facts = el("dl", { class: "facts" });
  const bar = el("progress", { max: 1, value: 0, "aria-label": "Frames done" }), trouble = el("div"), special = el("div");
  const grid = segmentGrid(), log = el("pre", { tabindex: "0", "aria-label": "Log" });
  const details = el("details", { ontoggle() { if (details.open) readLog(); } }, el("summary", {}, "Log"), log);
  replace(main, head, actions, trouble, bar, facts, special, el("h2", {}, "Segments"), grid.place, details);

  // One fetch at a time; what happened during it is in the next.
  let reading = false, again = false;
  async function readLog() {
    again = reading;
    if (reading) return;
    reading = true;
    try { log.textContent = await text(`v1/jobs/${id}/log`); } catch (error) { log.textContent = error.message; }
    if (again && !stop.signal.aborted) await new Promise((done) => setTimeout(done, GRID_MS));
    reading = false;
    if (again && details.open && !stop.signal.aborted) readLog();
  }

  async function readGrid() {
    clearTimeout(gridTimer);
    if (gridVersion !== job.version) {
      gridVersion = job.version;
      try {
        const segments = [];
        let next = null;
        do {
          const page = await call("GET", `v1/jobs/${id}/segments?limit=2000${next ? `&cursor=${encodeURIComponent(next)}` : ""}`);
          segments.push(...page.items);
          next = page.next;
        } while (next);
        const render = segments.filter((one) => one.stage === "render");
        grid.show(render.length ? render : segments);
      } catch { /* shown again with the next change */ }
    }
    if (!stop.signal.aborted) gridTimer = setTimeout(readGrid, GRID_MS);
  }

  function show(now) {
    const before = job.state;
    job = now;
    const { progress, spent } = job, share = progress.frames_total ? progress.frames_done / progress.frames_total : 0;
    const works = WORKING.includes(job.state);
    bar.hidden = !works;
    bar.value = share;
    const told = [
      ["State", stateMark(job.state)],
      ...(works && ASKED[job.wish] ? [["Asked for", ASKED[job.wish]]] : []),
      ["Stage", (works && progress.stage) || "–"],
      ["Frames", progress.frames_total ? `${progress.frames_done} of ${progress.frames_total}` : "–"],
      ["Frames a second", works && progress.frames_per_s ? progress.frames_per_s.toFixed(1) : "–"],
      ["Time left", works ? eta(progress) : "–"],
      ["Cost so far", spent.cost === null ? "no price known" : `${spent.cost.toFixed(2)} ${spent.currency}`],
      ["GPU time", span(spent.gpu_s)],
      ["Submitted", when(job.created)],
    ];
    replace(facts, told.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
    replace(trouble, job.problem ? problem({ detail: job.problem.detail, next_step: job.problem.next_step }) : null);
    showActions();
    if (before !== job.state) say(`The job is ${job.state}`, true);
    else say(`${Math.floor(100 * share)} percent`);
    showSpecial();
  }

  function showActions() {
    const may = {
      Pause: !ENDED.includes(job.state) && job.state !== "paused" && !ASKED[job.wish],
      Resume: job.state === "paused" || (job.wish === "pause" && !ENDED.includes(job.state)),
      Cancel: !ENDED.includes(job.state) && job.wish !== "cancel", Retry: ["failed", "cancelled", "refused"].includes(job.state),
    };
    const made = Object.entries(may).filter(([, can]) => can).map(([name]) =>
      el("button", { class: name === "Cancel" ? "danger" : "quiet", onclick() { ask(name.toLowerCase()); } }, name));
    if (ENDED.includes(job.state)) made.push(el("button", { class: "danger", onclick: erase }, "Erase"));
    if (actions.textContent !== made.map((one) => one.textContent).join("")) replace(actions, made);
  }

  async function ask(what) {
    try {
      show(await call("POST", `v1/jobs/${id}/${what}`));
      if (what === "retry" || what === "resume") watch();
    } catch (error) { replace(trouble, problem(error)); }
  }

  async function erase() {
    if (!confirm("Erase the film, the faces and the result of this job?")) return;
    try { await call("DELETE", `v1/jobs/${id}`); location.hash = "#/jobs"; } catch (error) { replace(trouble, problem(error)); }
  }

  async function fetchResult() {
    try { location.assign(await resultLink(id)); } catch (error) { replace(trouble, problem(error)); }
  }

  async function showSpecial() {
    const wanted = job.state === "casting" || job.state === "succeeded" ? job.state : "";
    if (wanted === shownFor) return;
    shownFor = wanted;
    replace(special);
    try {
      if (wanted === "casting") replace(special, await castSheet(job, () => { shownFor = ""; replace(special); }));
      if (wanted === "succeeded") await showResult();
    } catch (error) {
      replace(special, problem(error));
    }
  }

  async function showResult() {
    const report = await call("GET", `v1/jobs/${id}/report`);
    const seconds = report.film_seconds ?? report.frames / 25; // not in reports of versions before
    const fetchIt = el("button", { onclick: fetchResult }, `Download ${job.result.name} (${bytes(job.result.size_bytes)})`);
    replace(
      special,
      el("p", { class: "row" }, fetchIt),
      el("h2", {}, "Before and after"),
      compare(id, Math.max(0, seconds - 0.04)),
      await qualityPlots(id),
      el("h2", {}, "What was changed, and how it is labelled"),
      provenance(report, job),
    );
  }

  let watching = false;
  async function watch() {
    if (watching) return;
    watching = true;
    try {
      await follow(id, job.last_event, (kind, data) => {
        if (kind === "job") show(data);
        if (kind === "gone") location.hash = "#/jobs";
        if (details.open && kind !== "job") readLog();
      }, stop.signal);
    } catch (error) {
      if (!stop.signal.aborted) replace(trouble, problem(error));
    }
    watching = false;
  }

  show(job);
  readGrid();
  watch();
  return () => { stop.abort(); clearTimeout(gridTimer); };
}

export { address };
