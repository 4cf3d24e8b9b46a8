// The page: which video, what was asked, and what came of it.

import { ApiError, ask, key, modelName, sentence, video, videos } from "./api.js";
import { byId, clock, make, size } from "./dom.js";
import { pictureBox, timeline } from "./timeline.js";

const SETTINGS = ["top_k", "max_low_chunks", "from", "to"];
const say = (text) => { byId("said").textContent = text; };

const state = { model: "", video: null, messages: [], asking: null, after: null };

// ---- the list

async function list({ more = false } = {}) {
  const search = byId("search").value;
  const page = await guarded(() => videos(search, more ? state.after : null), (problem) => { byId("list-status").textContent = problem; });
  if (!page || search !== byId("search").value) return;
  if (!more) byId("videos").replaceChildren();
  state.after = page.last_id;
  byId("videos").append(...page.data.map(entry));
  byId("more").hidden = !page.has_more;
  const count = byId("videos").childElementCount;
  byId("list-status").textContent = count ? `${count}${page.has_more ? " and more" : ""} ${count === 1 ? "video" : "videos"}` : "No such video.";
  markChosen();
}

function entry(found) {
  const facts = found.answerable ? clock(found.duration_s) : "made with another model";
  const button = make("button", { type: "button", className: "video", disabled: !found.answerable },
    pictureBox(found.thumbnail, ""), make("span", {}, make("strong", {}, found.name), make("small", {}, facts)));
  button.dataset.id = found.id;
  button.addEventListener("click", () => { choose(found); byId("question").focus(); });
  return make("li", {}, button);
}

function markChosen() {
  for (const button of byId("videos").querySelectorAll("button")) {
    if (button.dataset.id === state.video?.id) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

function choose(found) {
  state.asking?.abort();
  state.video = found;
  startOver();
  byId("video-name").textContent = found.name;
  byId("video-facts").textContent = `${clock(found.duration_s)} long, ${found.chunks} parts`
    + (found.recorded_at ? `, recorded ${found.recorded_at}` : "");
  byId("welcome").hidden = true;
  byId("room").hidden = false;
  document.body.classList.add("chosen");
  markChosen();
}

function startOver() {
  state.messages = [];
  byId("turns").replaceChildren();
  byId("fresh").hidden = true;
}

// ---- a question

function settings() {
  const given = SETTINGS.map((name) => [name, byId(name).value.trim()]);
  return Object.fromEntries(given.filter(([, value]) => value !== ""));
}

function requestBody(question, given) {
  const { top_k, max_low_chunks, from, to } = given;
  const part = {};
  if (from) part.from = from;
  if (to) part.to = to;
  if (max_low_chunks) part.max_low_chunks = Number(max_low_chunks);
  const body = { model: state.model, video: state.video.id, messages: [...state.messages, { role: "user", content: question }] };
  if (top_k) body.top_k = Number(top_k);
  if (Object.keys(part).length) body.videox2l = part;
  return body;
}

async function answer(question) {
  const given = settings();
  const about = state.video;
  const text = make("p", { className: "answer", "aria-live": "polite", "aria-busy": "true" });
  const turn = make("article", { className: "turn", "aria-label": `Question: ${question}` }, make("h3", {}, question), text);
  byId("turns").append(turn);
  const asking = state.asking = new AbortController();
  busy(true);
  let evidence = null, usage = null;
  try {
    for await (const event of ask(requestBody(question, given), asking.signal)) {
      const piece = event.choices[0]?.delta?.content;
      if (piece) text.append(piece);
      evidence = event.videox2l ?? event.choices[0]?.videox2l ?? evidence;
      usage = event.usage ?? usage;
    }
    state.messages.push({ role: "user", content: question }, { role: "assistant", content: text.textContent });
    if (state.video === about) byId("fresh").hidden = false;
  } catch (error) {
    const stopped = asking.signal.aborted;
    turn.append(make("p", { className: "problem", role: "alert" }, stopped ? "You stopped this answer." : sentence(error)));
    if (!stopped) wantKey(error);
  } finally {
    text.setAttribute("aria-busy", "false");
    if (state.asking === asking) { state.asking = null; busy(false); }
  }
  if (evidence) turn.append(...missing(evidence), ...timeline(evidence), foot(question, given, about, evidence, usage));
  turn.scrollIntoView({ block: "nearest" });
}

function busy(yes) {
  byId("send").disabled = yes;
  byId("stop").hidden = !yes;
}

/** What the answer lacks. */
function missing(evidence) {
  if (!evidence.degraded.length) return [];
  const items = evidence.degraded.map((span) => make("li", {}, `${clock(span.start_s)} – ${clock(span.end_s)}: ${span.reason}`));
  const head = evidence.degraded.length === 1 ? "Of one part" : `Of ${evidence.degraded.length} parts`;
  return [make("div", { className: "degraded", role: "note" }, `${head} the answer has only the gist, not the detail:`, make("ul", {}, ...items))];
}

function foot(question, given, about, evidence, usage) {
  const row = (name, value) => make("tr", {}, make("th", { scope: "row" }, name), make("td", {}, value));
  const ms = (number) => `${number < 10 ? number.toFixed(1) : Math.round(number)} ms`;
  const rows = [];
  if (usage) rows.push(row("Tokens", `${usage.prompt_tokens} in, ${usage.completion_tokens} out`));
  for (const [level, bytes] of Object.entries(evidence.bytes_used)) rows.push(row(`Used of ${level} KVs`, size(bytes)));
  for (const [level, bytes] of Object.entries(evidence.bytes_read)) rows.push(row(`Fetched of ${level} KVs`, size(bytes)));
  for (const [stage, time] of Object.entries(evidence.milliseconds)) rows.push(row(stage.replaceAll("_", " "), ms(time)));
  const reused = Object.entries(evidence.cache).filter(([, hit]) => hit).map(([name]) => name);
  rows.push(row("Used again", reused.join(", ") || "nothing"));
  const receipt = make("details", {}, make("summary", {}, "What it took"), make("table", {}, make("tbody", {}, ...rows)));
  const copy = make("button", { type: "button", className: "quiet" }, "Copy link");
  copy.addEventListener("click", () => copyLink(copy, link(question, given, about)));
  return make("div", { className: "foot" }, copy, receipt);
}

// ---- links: the fragment holds the video, the question and the settings, which the server never sees in its log

function link(question, given, about) {
  const address = new URL(location.href);
  address.hash = new URLSearchParams({ video: about.id, q: question, ...given }).toString();
  return address.href;
}

async function copyLink(button, address) {
  try {
    await navigator.clipboard.writeText(address);
    button.textContent = "Copied";
    say("The link is copied.");
  } catch {
    history.replaceState(null, "", address);
    button.textContent = "It is in the address bar";
    say("The link is in the address bar.");
  }
  setTimeout(() => { button.textContent = "Copy link"; }, 2500);
}

async function followLink() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (!wanted.get("video")) return;
  const found = await guarded(() => video(wanted.get("video")), (problem) => { byId("list-status").textContent = problem; });
  if (!found) return;
  choose(found);
  for (const name of SETTINGS) byId(name).value = wanted.get(name) ?? "";
  if (wanted.get("q")) await answer(wanted.get("q"));
}

// ---- keys and errors

async function guarded(work, complain) {
  try {
    return await work();
  } catch (error) {
    complain(sentence(error));
    wantKey(error);
    return null;
  }
}

function wantKey(error) {
  if (!(error instanceof ApiError) || error.status !== 401 || byId("key-dialog").open) return;
  byId("key-problem").textContent = key.get() ? "The service does not know this key." : "";
  byId("key-dialog").showModal();
}

async function start() {
  const model = await guarded(modelName, (problem) => { byId("list-status").textContent = problem; });
  if (model === null) return;
  state.model = model;
  byId("model").textContent = `answers with ${model}`;
  byId("change-key").hidden = !key.get();
  await list();
  await followLink();
}

let pause = 0;
byId("search").addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(list, 200); });
byId("more").addEventListener("click", () => list({ more: true }));
byId("back").addEventListener("click", () => { document.body.classList.remove("chosen"); byId("search").focus(); });
byId("fresh").addEventListener("click", () => { startOver(); byId("question").focus(); });
byId("stop").addEventListener("click", () => state.asking?.abort());
byId("change-key").addEventListener("click", () => byId("key-dialog").showModal());
byId("key-form").addEventListener("submit", () => { key.set(byId("key").value.trim()); byId("key").value = ""; start(); });
byId("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); byId("ask").requestSubmit(); }
});
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const question = byId("question").value.trim();
  if (!question || state.asking) return;
  byId("question").value = "";
  answer(question);
});
window.addEventListener("hashchange", followLink);
start();
