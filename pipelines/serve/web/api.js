// The service's HTTP API: requests with the key, errors as sentences, answers as they stream.

const KEY = "videox2l-key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (text) => sessionStorage.setItem(KEY, text),
};

export class ApiError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

async function request(path, options = {}) {
  const headers = { ...options.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  // Relative, so that a proxy may serve all this below a path.
  const response = await fetch(path.replace(/^\//, ""), { ...options, headers });
  if (response.ok) return response;
  let message = "";
  try {
    message = (await response.json()).error.message;
  } catch {
    // A proxy's page in place of the service's document: the status says enough.
  }
  throw new ApiError(response.status, message, response.headers.get("Retry-After"));
}

/** What went wrong, as a sentence for the user. */
export function sentence(error) {
  if (!(error instanceof ApiError)) {
    return "The connection to the service was lost. Check that it is running, then ask again.";
  }
  const said = error.message ? capital(error.message) : "";
  const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
  if (error.status === 401) return "This needs a valid API key.";
  if (error.status === 404) return said || "There is no such video.";
  if (error.status === 429) return `You are asking faster than your key allows.${wait}`;
  if (error.status === 503) return `The service is busy or not ready.${wait}`;
  return said || `The service answered with an error (${error.status}).`;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

export async function modelName() {
  return (await (await request("/v1/models")).json()).data[0].id;
}

export async function videos(search, after) {
  const query = new URLSearchParams({ limit: "50" });
  // A glob: its special characters stand for themselves in brackets.
  if (search) query.set("name", `*${search.replace(/[[*?]/g, "[$&]")}*`);
  if (after) query.set("after", after);
  return (await request(`/v1/videos?${query}`)).json();
}

export const video = async (id) => (await request(`/v1/videos/${encodeURIComponent(id)}`)).json();

const pictures = new Map();
const MOST_PICTURES = 400; // a few kilobytes each

/** An address for an <img>, or null where there is no picture. Fetched here, as an <img> sends no key. */
export function picture(path) {
  if (!pictures.has(path)) {
    const found = request(path).then((reply) => reply.blob()).then(URL.createObjectURL, () => null);
    pictures.set(path, found);
    if (pictures.size > MOST_PICTURES) {
      const [oldest, address] = pictures.entries().next().value;
      pictures.delete(oldest);
      address.then((url) => url && URL.revokeObjectURL(url));
    }
  }
  return pictures.get(path);
}

const sources = new Map();

/** An address that a <video> can play, or null where the service shows none. Asked for once an hour, as long as it is good. */
export function source(id) {
  const known = sources.get(id);
  if (known && Date.now() < known.until) return known.address;
  const address = request(`/v1/videos/${id}/source`).then((reply) => reply.json()).then((found) => found.url, () => null);
  sources.set(id, { address, until: Date.now() + 55 * 60_000 });
  return address;
}

export const thumbnailPath = (id, chunk) => `/v1/videos/${id}/chunks/${chunk}/thumbnail`;

/** Yields the answer's events: the objects of its server-sent events. */
export async function* ask(body, signal) {
  const response = await request("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new TypeError("the stream ended early");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const parsed = JSON.parse(data);
      if (parsed.error) throw new ApiError(500, parsed.error.message, null);
      yield parsed;
    }
  }
}
