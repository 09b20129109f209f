// Before and after: two pictures of one moment, one over the other, with an edge to move.

import { picture } from "./api.js";
import { el, problem, replace, span } from "./dom.js";

export function compare(job, seconds) {
  const before = el("img", { alt: "The film before, at this time" }), after = el("img", { class: "after", alt: "The film now, at this time" });
  const edge = el("div", { class: "edge" }), said = el("div");
  const frame = el("div", { class: "compare" }, before, after, el("span", { class: "tag left" }, "before"), el("span", { class: "tag right" }, "after"), edge);
  const split = el("input", { id: "split", type: "range", min: "0", max: "100", value: "50", oninput: move });
  const time = el("input", { id: "time", type: "range", min: "0", max: String(seconds), step: "0.04", value: String(seconds / 2), onchange: load, oninput: tell });
  const told = el("output", { for: "time" });
  let loading = false, wanted = false;

  function move() {
    after.style.clipPath = `inset(0 0 0 ${split.value}%)`;
    edge.style.left = `${split.value}%`;
  }
  function tell() { told.textContent = span(Number(time.value)); }
  // One moment at a time: of those that are passed while it is fetched, the last is fetched next.
  async function load() {
    tell();
    wanted = true;
    if (loading) return;
    loading = true;
    while (wanted) {
      wanted = false;
      await fetchBoth();
    }
    loading = false;
  }
  async function fetchBoth() {
    try {
      const pictures = await Promise.all(["before", "after"].map((side) => picture(`v1/jobs/${job}/preview.jpg?at=${time.value}&side=${side}&width=1280`)));
      for (const [image, address] of [[before, pictures[0]], [after, pictures[1]]]) {
        if (image.src) URL.revokeObjectURL(image.src);
        image.src = address;
      }
      replace(said);
    } catch (error) {
      replace(said, problem(error));
    }
  }
  move();
  load();
  return el(
    "section",
    { "aria-label": "Before and after" },
    frame,
    el("div", { class: "field" }, el("label", { for: "split" }, "Edge between before and after"), split),
    el("div", { class: "field" }, el("label", { for: "time" }, "Time in the film"), time, told),
    said,
  );
}
