// What the daemon tells a wallet while it looks: a stream that is taken up again where it broke.

import { ApiError, now, send } from "./api.js";
import { alertUser, announce, byId, h, shown } from "./dom.js";
import { duration, in0G, moment } from "./money.js";

const MOST = 50;
const FIRST_WAIT = 2000;
const LONGEST_WAIT = 60000;
const BAD = new Set(["blocked", "stop_ordered", "resume_failed", "spend_limit", "debt", "provider_leaving", "runs_dry"]);

const TEXTS = {
  runs_dry: (facts, at) => (facts.runs_dry_at > at
    ? `Your balance lasts ${duration(Number(facts.runs_dry_at) - at)} more at this rate.`
    : "Your balance is used up: what runs is stopped."),
  blocked: (facts) => `Nothing new is started: ${facts.reason}.`,
  stop_ordered: (facts) => `It is being stopped: ${facts.reason}.`,
  stopped: () => "It was stopped.",
  resumed: () => "It runs again.",
  resume_failed: (facts) => `It could not be resumed: ${facts.why}.`,
  spend_limit: (facts) => `A spend limit was reached: ${facts.which}.`,
  debt: (facts) => `You owe ${in0G(BigInt(facts.owed ?? "0"), 6)} 0G: collected first after a deposit.`,
  acknowledge_needed: (facts) => `Acknowledge signer version ${facts.signer_version}.`,
  provider_leaving: (facts) => `The provider leaves ${facts.leave_at ? `at ${moment(Number(facts.leave_at))}` : "soon"}.`,
  topped_up: (facts) => `Deposit seen: ${in0G(BigInt(facts.balance ?? "0"), 4)} 0G are there.`,
  refund_requested: () => "A refund was requested.",
};

/** What a notice says, in words; one of a kind that we do not know, by its name. */
export function textOf(notice) {
  try {
    return TEXTS[notice.kind]?.(notice.facts ?? {}, notice.at) ?? String(notice.kind).replace(/_/g, " ");
  } catch {
    return String(notice.kind).replace(/_/g, " ");
  }
}

/** Events out of a text/event-stream, however it is cut into pieces. */
export class EventReader {
  constructor(heard) {
    this.heard = heard;
    this.rest = "";
    this.event = { data: [] };
  }

  take(text) {
    const lines = (this.rest + text).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop();
    for (const line of lines) this.line(line);
  }

  line(line) {
    if (line === "") {
      if (this.event.data.length > 0) this.heard({ ...this.event, data: this.event.data.join("\n") });
      this.event = { data: [] };
      return;
    }
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
    if (name === "data") this.event.data.push(value);
    else if (name === "id" || name === "event") this.event[name] = value;
  }
}

export class NoticesView {
  constructor(context) {
    this.context = context;
    this.last = null;
    this.seen = new Set();
  }

  clear() {
    this.stop();
    this.last = null;
    this.seen.clear();
    byId("notice-list").replaceChildren();
    shown(byId("no-notices"), true);
  }

  stop() {
    this.ended = true;
    this.controller?.abort();
  }

  /** Listen until stopped; a break is waited out, longer each time. */
  async listen() {
    this.ended = false;
    this.controller = new AbortController();
    const { signal } = this.controller;
    let wait = FIRST_WAIT;
    while (!this.ended) {
      const began = Date.now();
      try {
        await this.read(signal);
      } catch (problem) {
        if (this.ended || problem.name === "AbortError") return;
        if (problem instanceof ApiError && (problem.isMissing || problem.status === 401 || problem.status === 403)) return;
      }
      wait = Date.now() - began > LONGEST_WAIT ? FIRST_WAIT : Math.min(2 * wait, LONGEST_WAIT);
      await new Promise((resume) => { setTimeout(resume, wait); });
    }
  }

  async read(signal) {
    // All that is kept at first, then what came since.
    const query = { after: this.last ?? "0" };
    const response = await send("GET", "api/events/stream", { signal, query });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader((event) => this.take(event));
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      events.take(value);
    }
  }

  take(event) {
    if (event.id !== undefined) this.last = event.id;
    let notice;
    try {
      notice = JSON.parse(event.data);
    } catch {
      return;
    }
    if (!notice?.kind || this.seen.has(notice.id)) return;
    this.seen.add(notice.id);
    this.show(notice);
    this.context.refreshSoon();
  }

  show(notice) {
    const text = textOf(notice);
    const box = notice.sandbox ? this.context.nameOf(notice.sandbox) : null;
    const list = byId("notice-list");
    list.prepend(h("li", { class: BAD.has(notice.kind) ? "bad" : "" },
      h("span", { class: "muted small" }, moment(notice.at)), h("span", {}, box ? `${box}: ${text}` : text)));
    while (list.children.length > MOST) list.lastElementChild.remove();
    shown(byId("no-notices"), false);
    if (now() - notice.at < 120) {
      if (BAD.has(notice.kind)) alertUser(box ? `${box}: ${text}` : text, { kind: "warn", seconds: 20, id: `n-${notice.kind}` });
      else announce(text);
    }
  }
}
