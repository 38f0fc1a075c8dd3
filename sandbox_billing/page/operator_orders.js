// What an operator orders from the page: a reason, a session that may do so, and the order's end.

import { ApiError, call, currentSession, isUnknown, keepSession, onceKey, segment, send } from "./api.js";
import { alertUser, announce, ask, byId, field, forget, h } from "./dom.js";
import { signIn } from "./login.js";
import { short } from "./money.js";
import { walletCalled, WalletError } from "./wallet.js";

const LONGEST_REASON = 200;
const TOAST_SECONDS = 8;
const WISH = {
  statement: "Show me how this provider stands, and let me give it orders: pause, resume, drain, stop sandboxes.",
  scopes: ["read", "manage"],
};

const KINDS = {
  pause: {
    title: "Pause", confirm: "Pause", path: "api/operator/pause", needsReason: true,
    note: "Nothing new is let in until somebody resumes. What runs goes on, and is charged. Users are shown the reason.",
  },
  resume: {
    title: "Resume", confirm: "Resume", path: "api/operator/resume", needsReason: false,
    note: "Users are let in again.",
  },
  drain: {
    title: "Drain", confirm: "Drain", path: "api/operator/drain", needsReason: true,
    note: "Pauses, and ends when all that ran before is charged and settled. The pause stays until somebody resumes.",
  },
};

/** Orders that were not seen to end, by their ids. */
const open = new Map();

/**
 * A session that may order: the one at the door may only read, and the wallet is asked once more.
 * Returns the one that nobody needs any more, or null.
 */
async function permitted(info, settings, progress) {
  const mine = currentSession();
  if (mine.mayOrder || mine.wallet === null) return null;
  const wallet = walletCalled(mine.rdns);
  if (wallet === null) throw new WalletError("The wallet that you signed in with is not in this browser.");
  progress("Sign in your wallet…");
  const account = await wallet.connect();
  if (account.toLowerCase() !== mine.wallet.toLowerCase()) {
    throw new WalletError(`Your wallet shows ${short(account)}: switch it to ${short(mine.wallet)}.`);
  }
  await wallet.useChain(info);
  const made = await signIn(wallet, info, settings, WISH);
  keepSession({ ...made, mayOrder: true });
  return mine;
}

/** Each token ends itself, and no other. */
function giveBack(old) {
  const headers = { Authorization: `Bearer ${old.token}` };
  // Else it ends by itself.
  send("DELETE", `api/auth/session/${old.id}`, { auth: false, headers }).catch(() => {});
}

function inWords(problem) {
  if (!(problem instanceof ApiError)) return problem.message;
  if (problem.status === 403 && currentSession()?.wallet === null) return "This token may not give orders: it takes one with the scope manage.";
  if (problem.status === 403) return "This wallet may not give orders here.";
  return problem.message;
}

function named(told) {
  return `${told.kind}${told.subject === null ? "" : ` ${told.subject}`}`;
}

/** Say how an order ended; one that has not is looked at again with each refresh. */
function tell(told) {
  if (told.state === "done") {
    alertUser(`Done: ${named(told)}.`, { kind: "good", seconds: TOAST_SECONDS });
    announce(`Done: ${named(told)}`);
    return;
  }
  open.set(told.id, told);
  alertUser(`Under way: ${named(told)}. It goes on when this page is closed; its order is ${told.id}.`, { id: told.id });
}

/** Look what became of those that had not ended. */
export async function lookAtOrders(isOver) {
  for (const id of [...open.keys()]) {
    const told = await call("GET", `api/operator/orders/${segment(id)}`);
    if (isOver()) return;
    if (told.state !== "done" && told.state !== "failed") continue;
    open.delete(id);
    forget(id);
    if (told.state === "done") tell(told);
    else alertUser(`Failed: ${named(told)}: ${told.error}`, { kind: "bad", id });
  }
}

export function forgetOrders() {
  open.clear();
}

async function order(kind, { info, settings }) {
  const reason = h("input", { type: "text", maxlength: String(LONGEST_REASON), autocomplete: "off" });
  let key = onceKey();
  return ask({
    title: kind.title, confirm: kind.confirm, danger: kind.isDanger ?? false,
    fields: [h("p", {}, kind.note), field("Reason", reason, kind.needsReason ? "One line; the audit log keeps it." : "Optional; the audit log keeps it.")],
    act: async (form, progress) => {
      const said = reason.value.trim();
      if (kind.needsReason && said === "") throw new Error("Say why: the audit log keeps it.");
      let told;
      let old = null;
      try {
        old = await permitted(info, settings, progress);
        progress("Under way…");
        told = await call("POST", kind.path, { body: said === "" ? {} : { reason: said }, headers: { "Idempotency-Key": key } });
      } catch (problem) {
        if (problem instanceof ApiError && isUnknown(problem)) {
          reason.disabled = true;
          throw new Error(`${inWords(problem)}. It may have been ordered; “${kind.confirm}” asks for the same order again, and never makes two.`);
        }
        key = onceKey();
        throw new Error(inWords(problem));
      } finally {
        // What was asked with it before has its answer by now.
        if (old !== null) giveBack(old);
      }
      if (told.state === "failed") {
        key = onceKey();
        throw new Error(`It came to nothing: ${told.error}`);
      }
      tell(told);
      return told;
    },
  });
}

/** Ask for the stop of one sandbox; `changed` is called when it was ordered. */
export async function orderStop(sandbox, context, changed) {
  const ordered = await order({
    title: `Stop ${sandbox}`, confirm: "Stop", path: `api/operator/sandbox/${segment(sandbox)}/stop`, needsReason: true, isDanger: true,
    note: "It is charged up to its end, its disk stays, and its user is told and may start it again.",
  }, context);
  if (ordered !== null) changed();
}

/** Have the buttons of the page do what they say. */
export function listenForOrders(context, changed) {
  for (const [name, kind] of Object.entries(KINDS)) {
    byId(`order-${name}`).addEventListener("click", async () => {
      if (await order(kind, context) !== null) changed();
    });
  }
}

/** Resume is there while a pause stands, and Pause while none does. */
export function showOrders(told) {
  const had = [byId("order-pause"), byId("order-resume")].indexOf(document.activeElement);
  byId("order-pause").hidden = told.pause !== null;
  byId("order-resume").hidden = told.pause === null;
  if (had >= 0) byId(told.pause === null ? "order-pause" : "order-resume").focus({ preventScroll: true });
}
