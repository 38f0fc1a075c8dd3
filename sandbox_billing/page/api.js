// The daemon's HTTP API, from wherever this page was served: it may stand below a path of others.

import { hex } from "./keccak.js";

const BASE = new URL("../", import.meta.url);
const CLOCKS_DIFFER_SECONDS = 2;
const STATEMENT_TRIES = 3;

// One origin may serve the pages of many providers: a token goes to the one that gave it.
let kept = null;
let provider = null;
let session = null;
let offset = 0;
const whenEnded = [];

export class ApiError extends Error {
  constructor(status, text, document) {
    super(text);
    this.status = status;
    this.document = document ?? {};
  }

  /** Whether this daemon does not offer what was asked. */
  get isMissing() {
    return this.status === 404 || this.status === 405 || this.status === 501;
  }
}

/** The daemon's clock, unix seconds; the browser's own unless that is plainly wrong. */
export function now() {
  return Date.now() / 1000 + offset;
}

function readClock(response) {
  const told = Date.parse(response.headers.get("Date") ?? "") / 1000;
  if (Number.isNaN(told)) return;
  const differs = told + 0.5 - Date.now() / 1000;
  offset = Math.abs(differs) > CLOCKS_DIFFER_SECONDS ? differs : 0;
}

/**
 * Under which name, and whose: before any session is kept. Another page has sessions of its own,
 * for what one may do, the other need not; and so has a page below another path.
 */
export function keepSessionsAs(name, address, path = BASE.pathname) {
  kept = `${name}@${path}`;
  provider = address;
}

export function currentSession() {
  return session;
}

export function keepSession(given) {
  session = given;
  sessionStorage.setItem(kept, JSON.stringify({ ...given, provider }));
}

export function restoreSession() {
  try {
    const found = JSON.parse(sessionStorage.getItem(kept));
    session = found !== null && found.expires_at > now() + 30 && found.provider === provider ? found : null;
  } catch {
    session = null;
  }
  // Another provider stands here today: what its predecessor gave is not for it to see.
  if (session === null) sessionStorage.removeItem(kept);
  return session;
}

export function endSession() {
  session = null;
  sessionStorage.removeItem(kept);
}

export function onSessionEnd(heard) {
  whenEnded.push(heard);
}

function address(path, query) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

async function refusal(response) {
  let document = {};
  try {
    document = await response.json();
  } catch {
    // Something between us and the daemon answered.
  }
  const text = typeof document.error === "string" ? document.error : `HTTP ${response.status}`;
  const refused = new ApiError(response.status, text, document);
  refused.retryAfter = Number(response.headers.get("Retry-After") ?? 0);
  return refused;
}

/** Ask, and return the response of a 2xx; throws ApiError for any other. */
export async function send(method, path, { body, query, auth = true, signal, headers = {} } = {}) {
  const sent = { ...headers };
  const token = auth && session !== null ? session.token : null;
  if (token !== null) sent.Authorization = `Bearer ${token}`;
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(address(path, query), {
      method, headers: sent, signal, credentials: "omit", cache: "no-store",
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new ApiError(0, "the provider cannot be reached");
  }
  readClock(response);
  if (response.ok) return response;
  const refused = await refusal(response);
  // Somebody may have left, and another come in, while this was under way.
  if (response.status === 401 && token !== null && session?.token === token) {
    endSession();
    for (const heard of whenEnded) heard("Your session has ended: sign in again.");
  }
  throw refused;
}

/** Ask for JSON. */
export async function call(method, path, options) {
  const response = await send(method, path, options);
  return response.status === 204 ? null : response.json();
}

let statement = Promise.resolve();

/** One of those that the daemon makes for a wallet one at a time; another tab may be asking, too. */
export function inTurn(ask) {
  const made = statement.then(async () => {
    for (let tries = STATEMENT_TRIES; ; tries -= 1) {
      try {
        return await ask();
      } catch (problem) {
        if (problem.status !== 429 || tries === 0) throw problem;
        await new Promise((resume) => { setTimeout(resume, 1000 * (problem.retryAfter || 1)); });
      }
    }
  });
  statement = made.catch(() => {});
  return made;
}

/** A header for what must not be done twice, however often it is asked for. */
export function onceKey() {
  return hex(crypto.getRandomValues(new Uint8Array(16))).slice(2);
}

/** Whether nobody knows what came of it: no answer, or one that does not say. */
export function isUnknown(problem) {
  return !(problem instanceof ApiError) || problem.status === 0 || problem.status >= 500;
}

/** A path segment that is anybody's text. */
export function segment(text) {
  return encodeURIComponent(text);
}
