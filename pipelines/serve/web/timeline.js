// The relevance of every chunk, which of them were read in detail, and their pictures.

import { picture, source, thumbnailPath } from "./api.js";
import { clock, make } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 60;
const LOWEST = 5; // of 60: a chunk without relevance is still to be seen

/** Elements that show `evidence`: the timeline, the spans as buttons, and pictures of the chosen one. */
export function timeline(evidence) {
  const { chunks, scores } = evidence;
  const detail = new Map(evidence.spans.map((span) => [span.chunk, span]));
  const lost = new Map(evidence.degraded.map((span) => [span.chunk, span]));
  const known = [...detail.values(), ...lost.values()];
  const duration = evidence.covered.end_s;
  const length = known.length ? Math.max(...known.map((span) => span.end_s - span.start_s)) : duration / chunks;
  const numbers = (scores ?? []).filter((score) => score !== null);
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];

  const kind = (chunk) => {
    if (lost.has(chunk)) return "lost";
    if (detail.has(chunk)) return "detail";
    return scores && scores[chunk] === null ? "outside" : "gist";
  };
  // From 0 to 1, as only the order and the distances of scores mean something; null where there is none.
  const relevance = (chunk) => {
    const score = scores?.[chunk] ?? null;
    if (score === null) return null;
    return most > least ? (score - least) / (most - least) : 1;
  };
  const height = (chunk) => LOWEST + (HEIGHT - LOWEST) * (relevance(chunk) ?? (kind(chunk) === "detail" ? 1 : 0));
  const times = (chunk) => {
    const span = detail.get(chunk) ?? lost.get(chunk);
    return span ? `${clock(span.start_s)} to ${clock(span.end_s)}` : `about ${clock(chunk * length)}`;
  };
  const WORDS = { lost: "only the gist was available", detail: "read in detail", gist: "read as gist", outside: "not asked about" };
  const words = (chunk) => {
    const share = relevance(chunk);
    const weight = share === null ? "" : `, relevance ${Math.round(100 * share)} of 100`;
    return `${times(chunk)}: ${WORDS[kind(chunk)]}${weight}`;
  };

  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${chunks} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const bar = (x, width, tall, name) => {
    const rect = document.createElementNS(SVG, "rect");
    for (const [field, value] of Object.entries({ x, y: HEIGHT - tall, width, height: tall })) rect.setAttribute(field, value);
    rect.setAttribute("class", name);
    svg.append(rect);
    return rect;
  };
  const cursor = bar(0, 1, HEIGHT, "cursor");
  cursor.setAttribute("visibility", "hidden");
  for (let chunk = 0; chunk < chunks; chunk += 1) bar(chunk + 0.06, 0.88, height(chunk), kind(chunk));

  const slider = make("div", {
    className: "timeline", role: "slider", tabIndex: 0, "aria-label": "Timeline: choose a part with the arrow keys",
    "aria-valuemin": 0, "aria-valuemax": chunks - 1, "aria-valuenow": 0, "aria-valuetext": "nothing chosen",
  }, svg);
  const frames = make("div", { className: "frames", hidden: true });
  const player = make("div", { className: "player", hidden: true });
  const buttons = new Map();
  let chosen = -1;

  const choose = (chunk) => {
    chosen = Math.max(0, Math.min(chunks - 1, chunk));
    cursor.setAttribute("x", chosen);
    cursor.setAttribute("visibility", "visible");
    slider.setAttribute("aria-valuenow", chosen);
    slider.setAttribute("aria-valuetext", words(chosen));
    for (const [number, button] of buttons) button.setAttribute("aria-pressed", String(number === chosen));
    const around = [chosen - 1, chosen, chosen + 1].filter((number) => number >= 0 && number < chunks);
    frames.replaceChildren(...around.map((number) => {
      const caption = make("figcaption", {}, number === chosen ? words(number) : times(number));
      return make("figure", { className: number === chosen ? "chosen" : "" }, frame(evidence.video_id, number, times(number)), caption);
    }));
    frames.hidden = false;
    offer(player, evidence.video_id, (detail.get(chosen) ?? lost.get(chosen))?.start_s ?? chosen * length);
  };
  slider.addEventListener("click", (event) => {
    const box = slider.getBoundingClientRect();
    choose(Math.floor(((event.clientX - box.left) / box.width) * chunks));
  });
  const STEPS = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
  slider.addEventListener("keydown", (event) => {
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    choose(chosen + STEPS[event.key]);
  });

  const spans = make("ul", { className: "spans", "aria-label": "Parts that were chosen" });
  for (const span of known.sort((a, b) => a.start_s - b.start_s)) {
    const name = `${clock(span.start_s)} – ${clock(span.end_s)}`;
    const isLost = lost.has(span.chunk);
    const button = make("button", { type: "button", className: isLost ? "quiet lost" : "quiet", "aria-pressed": "false" },
      isLost ? `${name} (gist only)` : name);
    button.addEventListener("click", () => choose(span.chunk));
    buttons.set(span.chunk, button);
    spans.append(make("li", {}, button));
  }
  const legend = make("p", { className: "legend" }, make("span", { className: "detail" }, "read in detail"), make("span", { className: "gist" }, "read as gist"));
  if (lost.size) legend.append(make("span", { className: "lost" }, "detail missing"));
  legend.append(scores ? "The taller, the more relevant." : "");
  const ends = make("div", { className: "ends", "aria-hidden": "true" }, make("span", {}, "0:00"), make("span", {}, clock(Math.max(duration, chunks * length))));
  return [slider, ends, legend, spans, frames, player];
}

/** Put a button into `box` that plays the video from `start` on, or go there if it plays already. */
async function offer(box, videoId, start) {
  const address = await source(videoId);
  if (address === null) return;
  const playing = box.querySelector("video");
  if (playing) {
    playing.currentTime = start;
    return;
  }
  const button = make("button", { type: "button", className: "quiet" }, `Play from ${clock(start)}`);
  button.addEventListener("click", () => {
    const shown = make("video", { src: address, controls: true, playsInline: true, "aria-label": "The video" });
    shown.addEventListener("loadedmetadata", () => { shown.currentTime = start; }, { once: true });
    shown.addEventListener("error", () => box.replaceChildren(make("p", { role: "alert" }, "The video cannot be played here.")));
    box.replaceChildren(shown);
    shown.play().catch(() => {}); // where the browser wants another click, its controls are there
  });
  box.replaceChildren(button);
  box.hidden = false;
}

/** A box for a chunk's picture, filled when it is there. */
export function frame(videoId, chunk, alt) {
  return pictureBox(thumbnailPath(videoId, chunk), alt);
}

export function pictureBox(path, alt) {
  const box = make("span", { className: "thumb" });
  picture(path).then((address) => {
    box.append(address ? make("img", { src: address, alt }) : "no picture");
  });
  return box;
}
