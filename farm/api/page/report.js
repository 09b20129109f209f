// What was done: faces, checks, models, label; and how good it is, as lines over time.

import { call } from "./api.js";
import { el } from "./dom.js";

export function provenance(report, job) {
  const facts = [
    ["Faces replaced", `${report.faces} in ${report.frames_replaced} of ${report.frames} frames`],
    ["Labelled", report.labelled ? "yes: the file says that it holds faces made by a computer" : "no face was replaced"],
    ["Checks", `${report.checks_passed} of ${report.checks.length} passed`],
    ["Encoder", `${report.encoder} (${report.codec})`],
    ["Segments", `${report.segments}, ${report.segments_copied} of them copied from the source`],
    ["SHA-256", el("code", {}, job.result.sha256)],
  ];
  return el(
    "div",
    {},
    el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))),
    report.roles.length ? table("Who became whom", ["People", "Face", "Swapper", "Faces"], report.roles.map((role) => [role.people.join(", "), role.source, role.swapper, role.faces])) : null,
    report.models.length ? table("Models", ["Model", "SHA-256", "Device", "Precision"], report.models.map((model) => [model.id, model.sha256.slice(0, 16), `${model.device} (${model.provider})`, model.precision])) : null,
    el("details", {}, el("summary", {}, "All checks"),
      table("Checks", ["Check", "Expected", "Found", "Passed"], report.checks.map((check) => [check.name, check.expected, check.got, check.ok ? "yes" : "no"]))),
    report.notes.length ? el("ul", {}, report.notes.map((note) => el("li", {}, note))) : null,
  );
}

function table(name, heads, rows) {
  return el("div", { class: "wide", tabindex: "0", role: "region", "aria-label": name },
    el("table", {}, el("caption", {}, name), el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, String(cell))))))));
}

export async function qualityPlots(job) {
  let quality;
  try {
    quality = await call("GET", `v1/jobs/${job}/quality`);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
  const lines = quality.plots.map((plot) => el("figure", {}, el("figcaption", {}, plot.title, " ", el("small", {}, plot.summary)), line(plot)));
  return el("section", { "aria-label": "Quality" }, el("h2", {}, "How good it is"), lines);
}

// Points are the means of equal stretches, the first half a stretch from the film's start, the last from its end. Where
// nothing was measured the line is broken, and what stands alone is a dot.
function line(plot) {
  const points = plot.points, known = (number) => (points[number]?.[1] ?? null) !== null;
  const high = 1.05 * Math.max(...points.map(([, value]) => value ?? 0), plot.high ?? 0) || 1;
  const end = points.length ? points[0][0] + points[points.length - 1][0] : 1;
  const place = (number) => `${(100 * points[number][0]) / end},${100 - (100 * points[number][1]) / high}`;
  let path = "", dots = "";
  points.forEach((_, number) => {
    if (!known(number)) return;
    if (known(number - 1) || known(number + 1)) path += `${known(number - 1) ? "L" : "M"}${place(number)}`;
    else dots += `M${place(number)}h0`;
  });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "plot");
  svg.setAttribute("viewBox", "0 0 100 100");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${plot.title}: ${plot.summary}`);
  svg.append(drawn(path, ""), drawn(dots, "dots"));
  if (plot.high !== null) svg.append(drawn(`M0,${100 - (100 * plot.high) / high}L100,${100 - (100 * plot.high) / high}`, "mark"));
  return svg;
}

function drawn(path, kind) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "path");
  made.setAttribute("d", path);
  made.setAttribute("class", kind);
  return made;
}
