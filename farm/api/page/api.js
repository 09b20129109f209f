// The service's calls with the key of this tab. Addresses are relative to the page, so a path prefix does not matter.

const HERE = new URL(".", document.baseURI);
const STORE = "farm-key";
const LOOK_MS = 2000; // between two questions whether a file is looked at
const MOST_MISSED = 3; // how often parts that were put are missing at the end, before that is told

export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || `the service answers ${status}`);
    this.status = status;
    Object.assign(this, body);
  }
}

export const keyring = {
  get: () => sessionStorage.getItem(STORE) || localStorage.getItem(STORE) || "",
  set(key, keep) { this.forget(); (keep ? localStorage : sessionStorage).setItem(STORE, key); },
  forget() { sessionStorage.removeItem(STORE); localStorage.removeItem(STORE); },
};

export function address(path) {
  return new URL(path.replace(/^\//, ""), HERE);
}

function headers(more = {}) {
  return { Authorization: `Bearer ${keyring.get()}`, ...more };
}

async function answered(answer) {
  if (answer.ok) return answer;
  let body = {};
  try { body = await answer.json(); } catch { body = { detail: `the service answers ${answer.status}` }; }
  throw new Problem(answer.status, body);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

export async function call(method, path, body, more = {}) {
  const json = body !== undefined;
  const send = () => fetch(address(path), {
    method,
    headers: headers({ ...(json ? { "Content-Type": "application/json" } : {}), ...more }),
    body: json ? JSON.stringify(body) : undefined,
  });
  let answer = await send();
  if (answer.status === 429) { // it was not taken: once more, when the service says
    await pause(1000 * Math.min(10, Number(answer.headers.get("Retry-After")) || 1));
    answer = await send();
  }
  await answered(answer);
  return answer.status === 204 ? null : answer.json();
}

export async function text(path) {
  return (await answered(await fetch(address(path), { headers: headers() }))).text();
}

// A picture that needs the key, as an address for <img>.
export async function picture(path) {
  const answer = await answered(await fetch(address(path), { headers: headers() }));
  return URL.createObjectURL(await answer.blob());
}

// The signed address of a result, which needs no key.
export async function resultLink(job) {
  const { url } = await call("GET", `v1/jobs/${job}/result?redirect=false`);
  return new URL(url, HERE);
}

// What a file is called for the service: without what a name may not hold there, and not too long; the ending stays.
export function plainName(name) {
  const plain = name.replace(/[\x00-\x1f\x7f/\\]/g, "_") || "file", ending = /\.[^.]{1,20}$/u.exec(plain)?.[0] ?? "";
  const letters = [...plain], kept = 200 - [...ending].length;
  return letters.length <= 200 ? plain : letters.slice(0, kept).join("") + ending;
}

export function sendFile(file, purpose, told) {
  return call("POST", "v1/uploads", { purpose, name: plainName(file.name), size_bytes: file.size })
    .then((row) => (row.links.parts ? sendParts(row, file, told) : sendFrom(row, file, told, 0)));
}

// All parts, then the service looks. What it misses then (409), as a part whose second copy broke off, is put again.
async function sendParts(row, file, told) {
  row = await putParts(row, file, told);
  for (let tries = 0, missed = 0; ;) {
    let now;
    try {
      now = await call("POST", `v1/uploads/${row.id}/finish`, {});
    } catch (error) {
      if (error.status === 409 && missed < MOST_MISSED) {
        await pause(500 * 2 ** missed++);
        row = await putParts(row, file, told);
      } else {
        await passing(error, tries++);
      }
      continue;
    }
    if (now.state !== "open") return ended(now);
    tries = 0;
    await pause(LOOK_MS);
  }
}

// Part by part, straight into the service's bucket or to the service itself, when the service has seen how the file
// begins; what is there already is not sent again. The row as it is then.
async function putParts(row, file, told) {
  for (let tries = 0, before = -1; ;) {
    try {
      if (row.links.head) {
        const more = headers({ "Content-Type": "application/octet-stream" });
        row = await putBytes(address(`v1/uploads/${row.id}/head`), more, file.slice(0, row.head_bytes), () => {});
      }
      const left = await call("POST", `v1/uploads/${row.id}/parts?limit=32`);
      if (left.received_bytes > before && before >= 0) tries = 0;
      before = left.received_bytes;
      if (!left.items.length) return row;
      let here = left.received_bytes;
      for (const part of left.items) {
        const own = part.url.startsWith("/"); // of the service, with the key
        const where = own ? address(`v1/uploads/${row.id}/parts/${part.number}`) : new URL(part.url);
        const more = own ? headers({ "Content-Type": "application/octet-stream" }) : {};
        await putBytes(where, more, file.slice(part.first_byte, part.first_byte + part.size_bytes), (sent) => told(here + sent, file.size));
        here += part.size_bytes;
      }
    } catch (error) {
      await passing(error, tries++);
    }
  }
}

// Wait where what broke may pass and was not tried often; else it is told.
async function passing(error, tries) {
  // 403: the address of a part is too old; 0: the connection, or a bucket that takes nothing from this page (CORS).
  if (error.status === 0) error.next_step = "Try again. Where that does not help, the service's bucket takes nothing from this page: tell the operator.";
  if (tries >= 6 || (error.status && ![403, 408, 429, 500, 502, 503, 504].includes(error.status))) throw error;
  await pause(500 * 2 ** tries);
}

// An upload that came to its end: what it is, or why it was refused.
function ended(row) {
  if (row.state === "ready") return row;
  throw new Problem(422, row.problem || { detail: `the upload is ${row.state}` });
}

async function sendFrom(row, file, told, tries) {
  const offset = row.received_bytes;
  try {
    return await put(row, file, offset, told);
  } catch (error) {
    // All is there, and the service looks at it, or a proxy does not wait so long: that takes as long as it takes.
    const looks = offset >= row.size_bytes && (error.status === 409 || error.status === 504);
    if (!looks && (tries >= 6 || (error.status && ![408, 409, 429, 502, 503, 504].includes(error.status)))) throw error;
    await pause(looks ? LOOK_MS : 500 * 2 ** tries);
    const now = await call("GET", `v1/uploads/${row.id}`);
    if (now.state !== "open") return ended(now);
    return sendFrom(now, file, told, looks || now.received_bytes > offset ? 0 : tries + 1);
  }
}

function put(row, file, offset, told) {
  const more = headers({ "Content-Type": "application/octet-stream", "Upload-Offset": String(offset) });
  return putBytes(address(`v1/uploads/${row.id}/data`), more, file.slice(offset), (sent) => told(offset + sent, file.size));
}

// XMLHttpRequest, because fetch does not tell how much of a body is sent.
function putBytes(where, more, data, told) {
  return new Promise((done, failed) => {
    const sent = new XMLHttpRequest();
    sent.open("PUT", where);
    for (const [name, value] of Object.entries(more)) sent.setRequestHeader(name, value);
    sent.upload.addEventListener("progress", (event) => told(event.loaded));
    sent.addEventListener("load", () => {
      let body = {};
      try { body = JSON.parse(sent.responseText); } catch { /* not ours */ }
      if (sent.status >= 200 && sent.status < 300) done(body); else failed(new Problem(sent.status, body));
    });
    sent.addEventListener("error", () => failed(new Problem(0, { detail: "the connection broke" })));
    sent.send(data);
  });
}

const SILENCE_MS = 60000; // the service says every 15 seconds that it is there

// Events of a job after number `last` through fetch, because EventSource cannot send a key. `heard(kind, data)` until
// `stop` is aborted. A line that is silent for a minute is dead: another one is begun.
export async function follow(job, last, heard, stop) {
  let failures = 0;
  while (!stop.aborted) {
    const dead = new AbortController();
    const end = () => dead.abort();
    let silence = setTimeout(end, SILENCE_MS);
    const alive = () => { clearTimeout(silence); silence = setTimeout(end, SILENCE_MS); };
    stop.addEventListener("abort", end);
    try {
      const answer = await answered(await fetch(address(`v1/jobs/${job}/events`), {
        headers: headers({ "Last-Event-ID": String(last) }), signal: dead.signal, cache: "no-store",
      }));
      for await (const message of messages(answer.body, alive)) {
        failures = 0;
        if (message.id !== null) last = message.id;
        if (message.event === "end" || message.event === "gone") { heard(message.event, {}); return; }
        heard(message.event, JSON.parse(message.data));
      }
    } catch (error) {
      if (stop.aborted) return;
      if (error.status && error.status < 500 && error.status !== 429) throw error;
      failures += 1;
    } finally {
      clearTimeout(silence);
      stop.removeEventListener("abort", end);
    }
    await pause(Math.min(10000, 500 * 2 ** failures));
  }
}

async function* messages(body, alive) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", message = { event: "message", data: "", id: null };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (message.data) yield message;
        message = { event: "message", data: "", id: null };
        continue;
      }
      const colon = line.indexOf(":");
      const name = colon < 0 ? line : line.slice(0, colon), said = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (name === "event") message.event = said;
      else if (name === "data") message.data += (message.data ? "\n" : "") + said;
      else if (name === "id") message.id = said;
    }
  }
}
