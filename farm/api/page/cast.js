// The cast sheet: everybody in the film; a face is dropped onto a person, or chosen from a list; then it starts.

import { call, picture, sendFile } from "./api.js";
import { el, problem, replace, say, span } from "./dom.js";
import { dropZone } from "./new.js";

export async function castSheet(job, started) {
  const sheet = await call("GET", `v1/jobs/${job.id}/cast`);
  const faces = [], cards = [], becomes = new Map();
  const tray = el("ul", { class: "faces", "aria-label": "Faces" }), said = el("div");
  const people = el("ul", { class: "people", "aria-label": "People in the film" });
  const start = el("button", { onclick: send }, "Start rendering");

  const zone = dropZone("new-faces", "Faces to put in", "pictures; then drag one onto a person, or choose it in the person's list", "image/*", true, async (files) => {
    for (const file of files) {
      try {
        replace(said, el("p", {}, `Sending ${file.name}`));
        const row = await sendFile(file, "source", () => {});
        addFace(sentFace(row, file));
        replace(said);
      } catch (error) {
        replace(said, problem(error));
      }
    }
  });

  // A face is all that says whom somebody becomes: pictures of one person, and which face of the first.
  function sentFace(row, file) {
    return { id: row.id, name: file.name, address: URL.createObjectURL(file), source: { images: [{ upload: row.id }] } };
  }

  function addFace(face) {
    faces.push(face);
    tray.append(el(
      "li",
      { draggable: true, "data-face": face.id, ondragstart(event) { event.dataTransfer.setData("text/x-farm-face", face.id); event.dataTransfer.effectAllowed = "copy"; } },
      face.address ? el("img", { src: face.address, alt: "", draggable: "false" }) : null,
      face.name,
    ));
    for (const card of cards) card.choice.append(el("option", { value: face.id }, face.name));
    say(`${face.name} is there`, true);
  }

  function put(card, id) {
    const face = faces.find((one) => one.id === id);
    if (face) becomes.set(card.person.id, face); else becomes.delete(card.person.id);
    card.choice.value = face ? face.id : "";
    replace(card.shown, shownAs(face, card.person.same_as));
    start.disabled = !becomes.size;
    say(`${card.name} ${face ? `becomes ${face.name}` : card.person.same_as ? `is the same as ${card.person.same_as}` : "stays"}`, true);
  }

  function shownAs(face, same) {
    if (!face) return el("span", { class: "hint" }, same ? `is the same as ${same}` : "stays");
    return face.address ? el("img", { src: face.address, alt: `becomes ${face.name}` }) : el("span", {}, `becomes ${face.name}`);
  }

  for (const person of sheet.people) {
    const name = person.name || person.id;
    const image = el("img", { alt: `${name}, as found in the film` });
    if (person.thumbnail) picture(new URL(person.thumbnail, location.href).pathname.replace(/^.*\/v1\//, "v1/")).then((address) => { image.src = address; }, () => {});
    const id = `face-of-${person.id}`;
    const card = { person, name, shown: el("div", { class: "becomes" }) };
    card.choice = el("select", { id, onchange() { put(card, card.choice.value); } }, el("option", { value: "" }, "stays"));
    cards.push(card);
    const item = el(
      "li",
      {
        "data-person": person.id,
        ondragover(event) { event.preventDefault(); item.classList.add("over"); },
        ondragleave() { item.classList.remove("over"); },
        async ondrop(event) {
          event.preventDefault();
          item.classList.remove("over");
          const known = event.dataTransfer.getData("text/x-farm-face");
          if (known) { put(card, known); return; }
          const file = event.dataTransfer.files[0];
          if (!file) return;
          try {
            const row = await sendFile(file, "source", () => {});
            addFace(sentFace(row, file));
            put(card, row.id);
          } catch (error) {
            replace(said, problem(error));
          }
        },
      },
      image,
      el("h3", {}, name),
      el("p", { class: "hint" }, `${span(person.screen_time_s)} on screen, ${person.frames} frames`),
      el("label", { for: id }, el("span", { class: "unseen" }, `${name} `), "becomes"),
      card.choice,
      card.shown,
    );
    people.append(item);
    put(card, "");
  }
  await Promise.all(cards.map(chosenBefore));
  replace(said);

  // A cast that was put and did not work is shown as it is. Its pictures are the service's; only their names are known.
  async function chosenBefore(card) {
    const places = card.person.sources, nth = card.person.source_face;
    if (!places.length) return;
    const id = [...places, nth ?? ""].join(" ");
    if (!faces.some((face) => face.id === id)) {
      const images = places.map((place) => (place.startsWith("upload:") ? { upload: place.slice(7) } : { url: place }));
      const names = await Promise.all(images.map(nameOf));
      if (names.includes(null)) { card.shown.append(el("p", { class: "hint" }, "a picture of an earlier cast was removed")); return; }
      const source = nth === null ? { images } : { images, face: nth };
      const name = names.join(", ") + (nth === null ? "" : `, face ${nth}`);
      if (!faces.some((face) => face.id === id)) addFace({ id, name, address: "", source });
    }
    put(card, id);
  }

  async function nameOf(image) {
    if (image.url) return image.url.replace(/^.*\//, "");
    const row = await call("GET", `v1/uploads/${image.upload}`).catch(() => null);
    return row && row.name;
  }

  async function send() {
    start.disabled = true;
    const chosen = {};
    for (const { person } of cards) {
      const face = becomes.get(person.id);
      chosen[person.id] = face ? { source: face.source } : person.same_as ? { same_as: person.same_as } : {};
    }
    try {
      await call("PUT", `v1/jobs/${job.id}/cast`, { people: chosen });
      say("The rendering starts", true);
      started();
    } catch (error) {
      replace(said, problem(error));
      start.disabled = false;
    }
  }

  return el("section", { "aria-label": "Cast" }, el("h2", {}, "Who becomes whom"),
    sheet.people.length ? null : el("p", {}, "Nobody was found in this film."), zone, tray, people, said, el("p", {}, start));
}
