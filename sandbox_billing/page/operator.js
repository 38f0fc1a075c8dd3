// The page of operators: a door, and behind it what the daemon has stored; orders are made elsewhere.

import {
  ApiError, call, currentSession, endSession, keepSession, keepSessionsAs, now, onSessionEnd, restoreSession, send,
} from "./api.js";
import { alertUser, announce, byId, forget, h, say, shown } from "./dom.js";
import { signIn } from "./login.js";
import { exactMoment, moment, short } from "./money.js";
import { forgetOrders, listenForOrders, lookAtOrders, orderStop, showOrders } from "./operator_orders.js";
import {
  forgetParts, showAudit, showFigures, showHealth, showHuman, showQueue, showSessions, showSettled, showSweep,
} from "./operator_views.js";
import { discover } from "./wallet.js";

const REFRESH_SECONDS = 10;
const AUDIT_SECONDS = 60;
const TICK_MILLISECONDS = 1000;
const RETRY_MILLISECONDS = 5000;
const TOKEN_SECONDS = 86400;
const PAGE = 50;
const TROUBLE = "trouble";
const NOT_AN_OPERATOR = "This wallet is no operator here: its address has to stand in ADMIN_ADDRESSES, the provider\u2019s too;"
  + " where that is not set, the provider is the operator.";
const WISH = { statement: "Show me how this provider stands. Nothing can be changed.", scopes: ["read"] };
/** Of the WELL-KNOWN DEVELOPMENT KEYS: the provider, and somebody who is no operator. */
const DEVELOPMENT_NAMES = [null, "Provider", null, "Alice"];

const state = { info: null, settings: null, told: null, due: 0, auditDue: 0, pages: { sessions: 1, audit: 1 }, turning: false };

// -- the door -----------------------------------------------------------------------------

function fail(text) {
  byId("door-error").textContent = text;
  shown(byId("door-error"), true);
}

function inWords(problem) {
  if (!(problem instanceof ApiError)) return problem.message;
  if (problem.status === 403) return NOT_AN_OPERATOR;
  if (problem.status === 401) return "That session is not valid, or has ended.";
  if (problem.status === 503) return `The provider is not ready: ${problem.message}`;
  return problem.message;
}

/** Try a session: who may not look is told so at the door. */
async function tryIn(open) {
  const buttons = [...byId("door").querySelectorAll("button")];
  shown(byId("door-error"), false);
  for (const one of buttons) one.disabled = true;
  try {
    await open();
    state.told = await call("GET", "api/operator/summary", { query: { hours: byId("settled-span").value } });
    goInside();
  } catch (problem) {
    if (currentSession() !== null) await giveBack();
    fail(inWords(problem));
  } finally {
    for (const one of buttons) one.disabled = false;
  }
}

function enter(wallet) {
  return tryIn(async () => {
    await wallet.connect();
    await wallet.useChain(state.info);
    await signIn(wallet, state.info, state.settings, WISH);
  });
}

function enterWithToken(event) {
  event.preventDefault();
  const token = byId("token").value.trim();
  if (!/^sbt_[A-Za-z0-9_-]{43}$/.test(token)) {
    fail("That is no session token: they begin with sbt_ and have 47 characters.");
    return null;
  }
  byId("token").value = "";
  // Somebody else's to end: this page only uses it.
  return tryIn(async () => keepSession({ id: null, token, wallet: null, expires_at: now() + TOKEN_SECONDS, rdns: null }));
}

function showWallets(wallets) {
  const list = byId("wallets");
  const known = new Set([...list.children].map((one) => one.dataset.rdns));
  for (const wallet of wallets) {
    if (known.has(wallet.info.rdns)) continue;
    const picture = wallet.info.icon === null ? h("span", { class: "picture", "aria-hidden": "true" })
      : h("img", { class: "picture", src: wallet.info.icon, alt: "", width: 32, height: 32 });
    list.append(h("li", { "data-rdns": wallet.info.rdns },
      h("button", { type: "button", class: "wallet", on: { click: () => enter(wallet) } }, picture,
        h("span", {}, h("strong", {}, wallet.info.name), wallet.info.note ? h("small", {}, wallet.info.note) : null))));
  }
  say(byId("no-wallet"), "No wallet was found in this browser: use a token, or install one that speaks EIP-6963.");
  shown(byId("no-wallet"), wallets.length === 0);
}

// -- inside -------------------------------------------------------------------------------

function goInside({ focus = true } = {}) {
  const session = currentSession();
  shown(byId("door"), false);
  for (const id of ["inside", "nav", "who"]) shown(byId(id), true);
  document.body.classList.add("inside-is-open");
  say(byId("address"), session.wallet === null ? "by token" : short(session.wallet));
  byId("address").title = session.wallet ?? "";
  if (focus) byId("main").focus({ preventScroll: true });
  if (state.told !== null) showAll();
  state.due = 0;
  state.auditDue = 0;
  turn();
}

function goOutside(text) {
  forgetParts();
  forgetOrders();
  byId("dialog").close();
  Object.assign(state, { told: null, pages: { sessions: 1, audit: 1 } });
  for (const id of ["figures", "health-body", "settled-body", "queue-body", "human-body", "sweep-body", "sessions-body", "audit-body"]) byId(id).replaceChildren();
  byId("alerts").replaceChildren();
  say(byId("audit-verdict"), "");
  shown(byId("door"), true);
  for (const id of ["inside", "nav", "who"]) shown(byId(id), false);
  document.body.classList.remove("inside-is-open");
  alertUser(text);
}

async function giveBack() {
  const mine = currentSession();
  try {
    if (mine.id !== null) await send("DELETE", `api/auth/session/${mine.id}`);
  } catch {
    // It ends by itself; what matters is that this page forgets it.
  }
  if (currentSession() === mine) endSession();
}

async function leave() {
  if (currentSession() !== null) await giveBack();
  if (currentSession() === null) goOutside("You are signed out.");
}

function showAll() {
  const { told } = state;
  showFigures(told);
  showHealth(told);
  showOrders(told);
  showSettled(told);
  showQueue(told);
  showHuman(told);
  showSweep(told);
  say(byId("as-of"), `As of ${moment(told.as_of)}`);
  byId("as-of").title = exactMoment(told.as_of);
}

/** As many pages as are open, as one. */
async function listed(path, of, name, isOver) {
  const found = { total: 0, next: null };
  found[name] = [];
  for (let page = 0; page < state.pages[of]; page += 1) {
    const told = await call("GET", path, { query: { limit: PAGE, cursor: found.next } });
    found[name].push(...told[name]);
    Object.assign(found, { total: told.total, next: told.next });
    if (told.next === null || isOver()) break;
  }
  return found;
}

function loadMore(of) {
  return () => {
    state.pages[of] += 1;
    state.due = 0;
    state.auditDue = 0;
    announce("Reading more");
    turn();
  };
}

async function refresh() {
  const at = Date.now() / 1000;
  // An answer is for who asked: he may have left, and another come, while it was under way.
  const mine = currentSession();
  const isOver = () => currentSession() !== mine;
  const told = await call("GET", "api/operator/summary", { query: { hours: byId("settled-span").value } });
  if (isOver()) return;
  state.told = told;
  showAll();
  const sessions = await listed("api/sessions", "sessions", "sessions", isOver);
  if (isOver()) return;
  showSessions(sessions, loadMore("sessions"), (sandbox) => orderStop(sandbox, state, lookSoon));
  await lookAtOrders(isOver);
  if (isOver()) return;
  if (at >= state.auditDue) {
    state.auditDue = at + AUDIT_SECONDS;
    const audit = await listed("api/audit-log", "audit", "entries", isOver);
    if (isOver()) return;
    await showAudit(audit, loadMore("audit"), () => !isOver());
  }
  if (!isOver()) forget(TROUBLE);
}

/** Somebody has changed something: what is shown is old. */
function lookSoon() {
  state.due = 0;
  state.auditDue = 0;
  turn();
}

/** Every second, unless nobody looks: ask when it is due. */
async function turn() {
  if (currentSession() === null || byId("inside").hidden || document.hidden || state.turning) return;
  if (Date.now() / 1000 < state.due) return;
  state.turning = true;
  state.due = Date.now() / 1000 + REFRESH_SECONDS;
  const mine = currentSession();
  try {
    await refresh();
  } catch (problem) {
    if (!(problem instanceof ApiError)) console.error(problem);
    if (currentSession() !== mine) return;
    if (problem.status === 403) {
      endSession();
      goOutside(NOT_AN_OPERATOR);
    } else {
      const since = state.told === null ? "" : ` What is shown is as of ${moment(state.told.as_of)}.`;
      alertUser(`Cannot be brought up to date: ${inWords(problem)}.${since}`, { kind: "bad", id: TROUBLE });
    }
  } finally {
    state.turning = false;
  }
}

// -- the start ----------------------------------------------------------------------------

async function begin() {
  try {
    state.settings = await call("GET", "page/settings.json", { auth: false });
    state.info = await call("GET", "info", { auth: false });
  } catch (problem) {
    alertUser(problem.status === 503 ? "The provider is starting: this page tries again by itself."
      : `The provider cannot be reached: ${problem.message}`, { kind: "bad", id: "begin" });
    setTimeout(begin, RETRY_MILLISECONDS);
    return;
  }
  forget("begin");
  const { info } = state;
  say(byId("where"), `Chain ${info.chain_id} · contract ${info.contract_address} · provider ${info.provider_address}`);
  keepSessionsAs("sandbox-billing-operator", info.provider_address);
  onSessionEnd((text) => { if (!byId("inside").hidden) goOutside(text); });
  byId("leave").addEventListener("click", leave);
  listenForOrders(state, lookSoon);
  byId("token-form").addEventListener("submit", enterWithToken);
  byId("settled-span").addEventListener("change", () => { state.due = 0; turn(); });
  // The labels keep their size, whatever the window's.
  let width = 0;
  new ResizeObserver(() => {
    if (state.told === null || byId("settled-body").clientWidth === width) return;
    width = byId("settled-body").clientWidth;
    showSettled(state.told, true);
  }).observe(byId("settled-body"));
  discover(showWallets);
  if (state.settings.development_rpc_url) {
    const development = await import("./devnet.js");
    await development.announce(state.settings.development_rpc_url, DEVELOPMENT_NAMES);
  }
  if (restoreSession() !== null) goInside({ focus: false });
  setInterval(turn, TICK_MILLISECONDS);
  document.addEventListener("visibilitychange", () => { state.due = 0; turn(); });
}

begin();
