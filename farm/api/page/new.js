// A new job: drop a film and a face, or choose them; say how; send.

import { call, sendFile } from "./api.js";
import { bytes, el, problem, replace, say } from "./dom.js";

export function newJob(main) {
  const chosen = { film: null, faces: [] };
  const film = dropZone("film", "The film", "MP4, MOV, MKV, WebM, AVI or TS", "video/*,.mkv,.ts,.mts", false, (files) => { chosen.film = files[0]; });
  const faces = dropZone("faces", "The face", "a picture; several of the same person are better", "image/*", true, (files) => { chosen.faces = files; });
  const cast = el("input", { id: "cast", type: "checkbox", onchange() { faces.hidden = cast.checked; } });
  const title = el("input", { id: "title", maxlength: "200" });
  const select = el("select", { id: "select" }, el("option", { value: "largest" }, "the largest face of each frame"), el("option", { value: "all" }, "every face"));
  const swapper = el("input", { id: "swapper", value: "mesh", maxlength: "64" });
  const quality = el("input", { id: "quality", type: "checkbox" });
  const said = el("div"), bar = el("progress", { max: 1, value: 0, hidden: true, "aria-label": "Sent" }), button = el("button", {}, "Send and start");
  replace(
    main,
    el("h1", {}, "New job"),
    el(
      "form",
      { async onsubmit(event) { event.preventDefault(); await start(); } },
      film,
      el("p", {}, cast, " ", el("label", { for: "cast" }, "First look who is in the film; I choose then who becomes whom")),
      faces,
      el("details", {}, el("summary", {}, "More"),
        field("title", "Title", title, "the film's name, where nothing is written"),
        field("select", "Replace", select, ""),
        field("swapper", "Swapper", swapper, "mesh, or a model that the service has"),
        el("p", {}, quality, " ", el("label", { for: "quality" }, "Measure how good the faces are"))),
      el("p", { class: "row" }, button),
      bar,
      said,
    ),
  );

  async function start() {
    if (!chosen.film) return replace(said, problem(new Error("No film is chosen.")));
    if (!cast.checked && !chosen.faces.length) return replace(said, problem(new Error("No face is chosen.")));
    button.disabled = true;
    bar.hidden = false;
    replace(said);
    try {
      const target = await send(chosen.film, "target");
      const images = [];
      if (!cast.checked) for (const file of chosen.faces) images.push({ upload: (await send(file, "source")).id });
      const body = {
        target: { upload: target.id }, title: title.value, select: select.value, swapper: swapper.value.trim() || "mesh",
        wait_for_cast: cast.checked, quality: quality.checked,
      };
      if (images.length) body.source = { images };
      const job = await call("POST", "v1/jobs", body, { "Idempotency-Key": crypto.randomUUID?.() || String(Math.random()) });
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      replace(said, problem(error));
    }
    button.disabled = false;
    bar.hidden = true;
    return undefined;
  }

  function send(file, purpose) {
    say(`Sending ${file.name}`, true);
    return sendFile(file, purpose, (sent, size) => {
      bar.value = size ? sent / size : 0;
      replace(said, el("p", {}, `Sending ${file.name}: ${bytes(sent)} of ${bytes(size)}`));
    });
  }
}

function field(id, name, input, hint) {
  return el("div", { class: "field" }, el("label", { for: id }, name), input, hint ? el("small", {}, hint) : null);
}

export function dropZone(id, name, hint, accept, multiple, taken) {
  const list = el("p", { class: "hint" }, hint);
  const input = el("input", { id, type: "file", accept, multiple, onchange() { take([...input.files]); } });
  const zone = el(
    "div",
    {
      class: "drop field",
      ondragover(event) { event.preventDefault(); zone.classList.add("over"); },
      ondragleave() { zone.classList.remove("over"); },
      ondrop(event) { event.preventDefault(); zone.classList.remove("over"); take([...event.dataTransfer.files]); },
    },
    el("label", { for: id }, `${name}: drop here, or choose`),
    input,
    list,
  );
  function take(files) {
    const used = multiple ? files : files.slice(0, 1);
    list.textContent = used.map((file) => `${file.name} (${bytes(file.size)})`).join(", ") || hint;
    taken(used);
  }
  return zone;
}
