// What operators see of the summary: each part is made anew only where it is another.

import { byId, h, say } from "./dom.js";
import { duration, exactly, exactMoment, in0G, moment, short } from "./money.js";
import { hourChart, hourTable } from "./operator_chart.js";

const NARROWEST = 280;
const PADDING = 24;
const OLD_QUEUE_SECONDS = 3600;
const OLD_MIRROR_SECONDS = 60;
const SHORT_GAS_SECONDS = 3 * 86400;

const known = new Map();

/** Make the content of an element, unless what it is made of is what it was. */
function part(id, facts, make, force = false) {
  const told = JSON.stringify(facts);
  if (!force && known.get(id) === told) return;
  known.set(id, told);
  const body = byId(id);
  const reachable = () => [...body.querySelectorAll("button, summary, [tabindex]")];
  const scrolled = () => [...body.querySelectorAll(".scroll")];
  const open = new Set([...body.querySelectorAll("details[open]")].map((one) => one.dataset.name));
  const [focused, lefts] = [reachable().indexOf(document.activeElement), scrolled().map((one) => one.scrollLeft)];
  body.replaceChildren(...[make(facts)].flat().filter((one) => one !== null));
  // Whoever is in the middle of reading it stays where he is.
  for (const one of body.querySelectorAll("details")) one.open = open.has(one.dataset.name);
  scrolled().forEach((one, place) => { one.scrollLeft = lefts[place] ?? 0; });
  if (focused >= 0) reachable()[Math.min(focused, reachable().length - 1)]?.focus({ preventScroll: true });
}

export function forgetParts() {
  known.clear();
}

function tokens(neuron, most = 4) {
  return h("span", { title: exactly(BigInt(neuron)) }, `${in0G(BigInt(neuron), most)} 0G`);
}

function at(seconds) {
  return seconds === null ? "never" : h("time", { datetime: new Date(seconds * 1000).toISOString(), title: exactMoment(seconds) }, moment(seconds));
}

function address(text) {
  return h("span", { class: "mono", title: text }, short(text));
}

/** A table with a caption for whoever does not see what stands around it. */
export function table(caption, head, rows) {
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, h("table", {},
    h("caption", { class: "visually-hidden" }, caption),
    h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), rest.map((cell) => h("td", {}, cell)))))));
}

function empty(text) {
  return h("p", { class: "empty" }, text);
}

/** So many of something, as people count. */
function some(count, one, many = `${one}s`) {
  return `${count} ${count === 1 ? one : many}`;
}

function settledIn({ vouchers, batches }) {
  return `${some(vouchers, "voucher")} in ${some(batches, "batch", "batches")}`;
}

function more(count, shown) {
  return count > shown ? h("p", { class: "muted small" }, `${count - shown} more are not shown here: see sandbox-billing queue.`) : null;
}

// -- figures ------------------------------------------------------------------------------

function tile(label, big, note, isBad = false) {
  return h("div", { class: `tile${isBad ? " is-bad" : ""}` }, h("p", { class: "label" }, label),
    h("p", { class: "big" }, big), h("p", { class: "muted" }, note));
}

function lasting(seconds) {
  if (seconds === null) return "Nothing was spent this week";
  return `${seconds > 400 * 86400 ? "More than a year" : `About ${duration(seconds)}`} at this week\u2019s pace`;
}

function gasTile(gas) {
  if (gas === null) return tile("Gas wallet", "–", "Not read yet: is there a worker?");
  const left = gas.seconds_left;
  const dry = BigInt(gas.balance) <= BigInt(gas.floor);
  return tile("Gas wallet", tokens(gas.balance),
    dry ? "Below its floor: nothing is sent" : lasting(left),
    dry || (left !== null && left < SHORT_GAS_SECONDS));
}

function humans(told) {
  return told.dead_letters.count + (told.wallets.quarantined?.length ?? 0);
}

export function showFigures(told) {
  const { queue, mirror } = told;
  part("figures", [told.sessions, told.wallets, queue, told.settled.hours.length, told.settled.together, told.gas, told.dead_letters.count, told.stop_orders.count, mirror], () => [
    tile("Open sessions", String(told.sessions), `${some(told.wallets.charged, "wallet")} ever charged, ${told.wallets.blocked} blocked`),
    tile("Queue", String(queue.depth), queue.oldest_age === null ? "Nothing waits" : `Oldest waits ${duration(queue.oldest_age)}`,
      (queue.oldest_age ?? 0) > OLD_QUEUE_SECONDS),
    tile(told.settled.hours.length > 24 ? "Settled in 7 days" : "Settled in 24 hours", tokens(told.settled.together.amount),
      settledIn(told.settled.together)),
    gasTile(told.gas),
    tile("Needs a human", String(humans(told)), told.stop_orders.count === 0 ? "No stop order stands" : `${some(told.stop_orders.count, "stop order")} not carried out yet`, humans(told) > 0),
    tile("Chain mirror", mirror === null ? "–" : `${mirror.age} s`, mirror === null ? "Not read yet" : `Behind, at block ${mirror.block}`,
      mirror === null || mirror.age > OLD_MIRROR_SECONDS),
  ]);
}

// -- health -------------------------------------------------------------------------------

function pair(name, value, isWide = false) {
  return h("div", { class: isWide ? "fact is-wide" : "fact" }, h("dt", {}, name), h("dd", {}, value));
}

export function showHealth(told) {
  const { readiness, pause, lease, mirror } = told;
  part("health-body", [readiness, pause, lease, told.settled_until, mirror?.contract, mirror?.leaving_at, told.gas?.address], () => {
    const reasons = Object.entries(readiness.reasons);
    const lines = reasons.map(([name, why]) => h("div", { class: "notice bad" }, h("p", {}, h("strong", {}, name), `: ${why}`)));
    if (pause !== null) {
      lines.push(h("div", { class: "notice warn" }, h("p", {}, "Paused by ", h("strong", {}, pause.by), " since ", at(pause.since), `: ${pause.reason}`)));
    }
    for (const [name, why] of Object.entries(readiness.notices)) {
      if (name !== "admissions") lines.push(h("div", { class: "notice" }, h("p", {}, h("strong", {}, name), `: ${why}`)));
    }
    if (reasons.length === 0) lines.unshift(h("div", { class: "notice good" }, h("p", {}, "The process that answered works as it should.")));
    return [h("div", { class: "alerts" }, lines), h("dl", { class: "facts" },
      pair("Worker", lease === null ? "none holds the lease" : h("span", { class: "mono" }, `${lease.holder} (${lease.token})`), true),
      pair("Settled until", at(told.settled_until)),
      pair("Contract", mirror === null ? "not read yet" : mirror.contract === "fixed" ? "known to be sound" : "may have the flaws K1 and K2"),
      pair("Provider leaves", mirror?.leaving_at ? at(mirror.leaving_at) : "not announced"),
      pair("Gas account", told.gas === null ? "not read yet" : h("span", { class: "mono wrap" }, told.gas.address), true))];
  });
}

// -- settled, queue -----------------------------------------------------------------------

export function showSettled(told, force = false) {
  const body = byId("settled-body");
  part("settled-body", told.settled, ({ hours, together, ever }) => {
    const width = Math.max(NARROWEST, body.clientWidth - 2 * PADDING);
    const isAny = together.vouchers + together.batches > 0;
    return h("figure", { class: "card" },
      h("p", { class: "sum" }, h("strong", {}, tokens(together.amount, 6)), ` for ${settledIn(together)}; gas `, tokens(together.gas, 8)),
      isAny ? hourChart(hours, width) : empty("Nothing was settled in this time."),
      isAny ? h("details", { "data-name": "hours" }, h("summary", {}, "As a table"), hourTable(hours, together)) : null,
      h("p", { class: "muted small" }, "Since the journal began: ", tokens(ever.amount, 6), ` for ${settledIn(ever)}; gas `, tokens(ever.gas, 8)));
  }, force);
}

export function showQueue(told) {
  const { queue, batches } = told;
  part("queue-body", [{ ...queue, oldest_age: null }, batches], () => {
    const told = [["Unsigned", queue.unsigned], ["Signed", queue.signed], ["Parked", queue.parked], ["Cannot be read", queue.unreadable]];
    const counts = h("dl", { class: "facts" },
      pair("Not final", String(queue.depth)),
      told.filter(([, count], place) => count > 0 || place < 3).map(([name, count]) => pair(name, String(count))),
      pair("Oldest", queue.oldest_at === null ? "none" : at(queue.oldest_at)),
      pair("Wallets waiting", String(queue.wallets_waiting)),
      pair("Wallets in flight", String(queue.wallets_in_flight)));
    const sampled = queue.counted < queue.depth ? h("p", { class: "muted small" }, `States are those of the first ${queue.counted}.`) : null;
    if (batches.count === 0) return [counts, sampled, empty("No batch is under way.")];
    const rows = batches.batches.map((batch) => {
      const last = batch.attempts.at(-1);
      return [h("span", { class: "mono wrap" }, batch.id), at(batch.created_at), String(batch.vouchers), String(batch.wallets.length),
        String(batch.attempts.length), last ? tokens(BigInt(last.fee_cap) * BigInt(last.gas_limit), 8) : "not sent yet",
        last ? h("span", { class: "mono", title: last.transaction }, short(last.transaction)) : "–"];
    });
    return [counts, sampled, table("Batches under way", ["Batch", "Made", "Vouchers", "Wallets", "Attempts", "Fee at most", "Last transaction"], rows),
      more(batches.count, rows.length)];
  });
}

// -- what needs a human -------------------------------------------------------------------

export function showHuman(told) {
  const { dead_letters: dead, stop_orders: stops, wallets } = told;
  const orders = stops.orders.map((order) => ({ ...order, age: null }));
  part("human-body", [dead, orders, stops.count, wallets.quarantined, wallets.blocked], () => {
    const found = [];
    if (dead.count > 0) {
      found.push(h("h3", {}, `Dead letters: ${dead.count}`),
        table("Dead letters", ["What", "Since", "Why", "Wallet", "Amount"], dead.letters.map((one) => [
          h("span", { class: "wrap" }, `${one.kind} ${one.name}`), at(one.since), h("span", { class: "wrap" }, one.reason),
          one.wallet === null ? "–" : address(one.wallet), one.amount === null ? "–" : tokens(one.amount, 6)])),
        more(dead.count, dead.letters.length),
        h("p", { class: "muted small" }, "Decide with sandbox-billing queue: retry, drop or forgive, each with a reason."));
    }
    if (wallets.quarantined === null) {
      found.push(h("p", { class: "muted" }, `${wallets.blocked} wallets are blocked: too many to find those in quarantine here. See sandbox-billing queue.`));
    } else if (wallets.quarantined.length > 0) {
      found.push(h("h3", {}, `Quarantined wallets: ${wallets.quarantined.length}`),
        h("ul", { class: "plain" }, wallets.quarantined.map((one) => h("li", { class: "mono wrap" }, one))));
    }
    if (stops.count > 0) {
      found.push(h("h3", {}, `Stop orders: ${stops.count}`),
        table("Stop orders", ["Sandbox", "Reason", "Ordered", "Attempts"], stops.orders.map((one) => [
          h("span", { class: "mono wrap" }, one.sandbox), one.reason.replaceAll("_", " "), at(one.ordered_at), String(one.attempts)])),
        more(stops.count, stops.orders.length));
    }
    return found.length > 0 ? found : empty("Nothing: no dead letters, no quarantine, no stop order.");
  });
}

export function showSweep(told) {
  const { differences, swept_at: swept } = told.reconcile;
  part("sweep-body", [differences], () => [h("p", { class: "muted", id: "swept" }),
    differences.length === 0 ? empty("No sweep has found a difference that is still kept.")
      : table("Reconcile differences", ["Sandbox", "Found", "What", "In words"], differences.map((one) => [
        h("span", { class: "mono wrap" }, one.sandbox), at(one.at), one.what, h("span", { class: "wrap" }, one.text)]))]);
  say(byId("swept"), swept === null ? "Daytona's list was not seen whole yet." : `Daytona's whole list was last seen ${exactMoment(swept)}.`);
}

// -- sessions, audit ----------------------------------------------------------------------

export function showSessions({ total, sessions, next }, loadMore, stop) {
  part("sessions-body", [total, next, sessions.map((one) => ({ ...one, seconds: null }))], () => {
    if (total === 0) return empty("Nothing runs.");
    const rows = sessions.map((one) => [
      h("span", { class: "mono wrap" }, one.sandbox), address(one.owner),
      h("span", { class: "state", "data-state": one.stop !== null ? "busy" : one.state === "running" ? "started" : "busy" },
        one.stop === null ? one.state : `to be stopped: ${one.stop.replaceAll("_", " ")}`),
      one.started_at === null ? "not yet" : at(one.started_at), `${one.cpu} CPU, ${one.memory_gib} GiB`,
      h("span", { title: exactly(BigInt(one.rate_per_minute)) }, `${in0G(BigInt(one.rate_per_minute), 6)} 0G/min`), at(one.charged_until),
      // What is being stopped need not be told twice.
      one.stop !== null ? "–" : h("button", { type: "button", class: "danger-text", "aria-label": `Stop ${one.sandbox}`, on: { click: () => stop(one.sandbox) } }, "Stop")]);
    return [h("p", { class: "muted" }, `${sessions.length} of ${total}`),
      table("Open sessions", ["Sandbox", "Wallet", "State", "Runs since", "Size", "Rate", "Charged until", "Order"], rows),
      next === null ? null : h("button", { type: "button", on: { click: loadMore } }, "Show more")];
  });
}

async function sha256(text) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Recompute the chain of what is shown; the daemon's own word is not taken for it. */
async function verdict(entries) {
  if (globalThis.crypto?.subtle === undefined) return "This browser computes no hashes here: open the page over https.";
  // Once one carries a hash, all later ones do: who takes his out hides what stood before it.
  const carried = entries.map((one) => (one.entry === null ? null : JSON.parse(one.form).previous ?? null));
  const begun = carried.findLastIndex((one) => one !== null);
  for (const [place, one] of entries.entries()) {
    if (await sha256(one.form) !== one.hash) return `Entry ${one.number} does not have the hash that it is told with.`;
    const stored = carried[place];
    const older = entries[place + 1];
    if (one.entry === null) return `Entry ${one.number} cannot be read.`;
    if (stored === null && place < begun) return `Entry ${one.number} carries no hash, though an older one does: the chain is broken.`;
    if (stored !== null && older !== undefined && stored !== await sha256(older.form)) return `Entry ${one.number} does not follow from entry ${older.number}.`;
    if (one.follows === false) return `Entry ${one.number} does not follow from the one before it.`;
  }
  if (entries.length === 0) return "";
  const old = carried.filter((one) => one === null).length;
  if (old === entries.length) return `All ${old} shown are older than the chain: nothing proves them.`;
  const proved = `${some(entries.length - old, "entry", "entries")} shown follow from one another: computed in this page.`;
  return old === 0 ? proved : `${proved} ${some(old, "other is", "others are")} older than the chain.`;
}

/** What is shown of it, and then what is found of it, if that is still wanted. */
export async function showAudit({ total, entries, next }, loadMore, isWanted) {
  part("audit-body", [total, next, entries], () => {
    if (total === 0) return empty("No operator has decided anything yet.");
    // Shown is what is stored, and so what is hashed.
    const read = entries.map((one) => ({ ...one, entry: one.entry === null ? null : JSON.parse(one.form) }));
    const rows = read.map(({ number, entry, hash, problem }) => (entry === null
      ? [String(number), "–", "–", h("span", { class: "wrap" }, problem), "–", "–", h("span", { class: "mono", title: hash }, short(hash))]
      : [String(number), at(entry.at), h("span", { class: "wrap" }, entry.by), h("span", { class: "wrap" }, `${entry.what} ${entry.subject}`),
        BigInt(entry.amount) === 0n ? "–" : tokens(entry.amount, 6), h("span", { class: "wrap" }, entry.reason), h("span", { class: "mono", title: hash }, short(hash))]));
    return [table("Audit log", ["No.", "When", "By", "Decision", "Amount", "Reason", "Hash"], rows),
      next === null ? null : h("button", { type: "button", on: { click: loadMore } }, "Show older")];
  });
  const said = await verdict(entries);
  if (isWanted()) say(byId("audit-verdict"), said);
}
