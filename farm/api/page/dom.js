// Elements by name, text by text: nothing that comes from the service is ever read as HTML.

export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.className = value;
    else if (key in made && typeof value !== "string") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export function replace(place, ...children) {
  place.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined));
}

let spoken = 0;

// For those who listen: at most every five seconds, unless it matters.
export function say(text, matters = false) {
  const now = Date.now();
  if (!matters && now - spoken < 5000) return;
  spoken = now;
  document.getElementById("said").textContent = text;
}

export function problem(error) {
  return el(
    "div",
    { class: "problem", role: "alert" },
    el("strong", {}, error.detail || error.message || String(error)),
    error.next_step ? el("p", {}, `What to do: ${error.next_step}`) : null,
  );
}

const SIGNS = {
  succeeded: ["good", "✓"], failed: ["bad", "✗"], refused: ["bad", "⊘"], cancelled: ["wait", "–"],
  queued: ["wait", "…"], paused: ["wait", "❚❚"], casting: ["busy", "?"],
};

export function stateMark(state) {
  const [tone, sign] = SIGNS[state] || ["busy", "▸"];
  return el("span", { class: "state", "data-tone": tone, "data-sign": sign }, state);
}

export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = count, unit = 0;
  while (size >= 1000 && unit < units.length - 1) { size /= 1000; unit += 1; }
  return `${unit ? size.toFixed(1) : size} ${units[unit]}`;
}

export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return parts[0] ? `${parts[0]}:${String(parts[1]).padStart(2, "0")}:${String(parts[2]).padStart(2, "0")}`
    : `${parts[1]}:${String(parts[2]).padStart(2, "0")}`;
}

export function eta(progress) {
  if (progress.eta_high_s === null) return "not known yet";
  const low = span(progress.eta_low_s ?? progress.eta_high_s), high = span(progress.eta_high_s);
  return low === high ? high : `${low} to ${high}`;
}

export function when(text) {
  return text ? new Date(text).toLocaleString() : "";
}
