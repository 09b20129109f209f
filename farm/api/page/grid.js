// The segments of a job: a sign each, readable without colour; several share one where there are very many.

import { el, replace } from "./dom.js";

const SIGNS = { waiting: "·", working: "▸", done: "■", reused: "=", failed: "✗" };
const WORDS = { waiting: "waiting", working: "being worked on", done: "done", reused: "done before", failed: "failed" };
const WORST = ["failed", "working", "waiting", "done", "reused"];
const MOST = 1200;

export function segmentGrid() {
  const list = el("ol", { class: "grid", "aria-hidden": "true" }), text = el("p", {});
  const place = el("div", {}, text, list,
    el("p", { class: "hint" }, Object.entries(SIGNS).map(([state, sign]) => `${sign} ${WORDS[state]}  `).join(" ")));
  let cells = [];
  return {
    place,
    show(segments) {
      const counts = {};
      for (const one of segments) counts[one.state] = (counts[one.state] || 0) + 1;
      text.textContent = segments.length
        ? `${segments.length} segment${segments.length === 1 ? "" : "s"}: ${Object.entries(counts).map(([state, count]) => `${count} ${WORDS[state]}`).join(", ")}`
        : "No segments yet.";
      const each = Math.max(1, Math.ceil(segments.length / MOST));
      const groups = [];
      for (let first = 0; first < segments.length; first += each) groups.push(segments.slice(first, first + each));
      if (cells.length !== groups.length) {
        cells = groups.map(() => el("li"));
        replace(list, cells);
      }
      groups.forEach((group, number) => {
        const state = WORST.find((one) => group.some((segment) => segment.state === one)) || "waiting";
        const cell = cells[number];
        if (cell.dataset.state !== state) { cell.dataset.state = state; cell.textContent = SIGNS[state]; }
        const first = group[0], where = first.node ? ` on ${first.node}` : "";
        cell.title = group.length > 1 ? `segments ${first.index} to ${group.at(-1).index}`
          : `segment ${first.index}: ${WORDS[first.state]}, ${first.frames_done} of ${first.frames} frames, attempt ${first.attempt}${where}`;
      });
    },
  };
}
