// Spend limits, and whether what was stopped is started again by itself.

import { ApiError, call } from "./api.js";
import { alertUser, byId, field, h, say, shown } from "./dom.js";
import { exactly, in0G, neuronOf } from "./money.js";

function typed(neuron) {
  return neuron === null || neuron === undefined ? "" : in0G(BigInt(neuron), 18).replace(/\u202f/g, "");
}

/** What somebody typed, as the daemon takes it: null for no limit. */
function limitOf(text) {
  if (text.trim() === "") return null;
  const size = neuronOf(text);
  if (size === null) throw new Error(`“${text}” is no amount: write it as 0.5 or 12, or leave it empty.`);
  return size.toString();
}

export class SettingsView {
  constructor(context) {
    this.context = context;
  }

  clear() {
    this.settings = null;
    this.spent = null;
    byId("settings-body").replaceChildren();
  }

  async refresh() {
    const body = byId("settings-body");
    const { session } = this.context;
    let settings;
    try {
      settings = await call("GET", "api/account/settings");
    } catch (problem) {
      if (!(problem instanceof ApiError) || problem.status === 401 || session !== this.context.session) return;
      body.replaceChildren(h("p", { class: "empty" }, problem.isMissing
        ? "This provider offers no limits yet." : `Limits cannot be read right now: ${problem.message}`));
      return;
    }
    // Somebody else has signed in meanwhile.
    if (session !== this.context.session) return;
    this.settings = settings;
    this.render(body);
  }

  render(body) {
    const { limits = {}, auto_resume: resumes } = this.settings;
    const input = (value) => h("input", { type: "text", inputmode: "decimal", autocomplete: "off", value: typed(value), placeholder: "no limit" });
    const [day, total] = [input(limits.per_day), input(limits.total)];
    const auto = h("input", { type: "checkbox", id: "auto-resume", checked: Boolean(resumes) });
    const error = h("p", { class: "error", role: "alert", hidden: true });
    const save = h("button", { type: "submit", class: "primary" }, "Save limits");
    this.spent = h("p");
    this.tellSpent();
    const form = h("form", { class: "card limits", novalidate: true },
      field("A day, in 0G", day, this.spent),
      field("Altogether, in 0G", total, "What has been spent counts."),
      h("div", { class: "check" }, auto, h("label", { for: "auto-resume" }, "Start again what was stopped when money ran out, as soon as there is enough")),
      error, h("div", { class: "actions" }, save));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      shown(error, false);
      save.disabled = true;
      try {
        await this.save({ per_day: day, total, auto_resume: auto });
        alertUser("Saved.", { kind: "good", seconds: 6 });
      } catch (problem) {
        error.textContent = problem.message;
        shown(error, true);
      } finally {
        save.disabled = false;
        say(save, "Save limits");
      }
    });
    body.replaceChildren(form);
    for (const [one, value] of [[day, limits.per_day], [total, limits.total]]) {
      if (value) one.title = exactly(BigInt(value));
    }
  }

  /** The account tells it with each reading. */
  tellSpent() {
    const spent = this.context.account?.limits?.spent_today;
    if (this.spent) say(this.spent, spent === undefined ? "Counted by UTC days." : `Spent today: ${in0G(BigInt(spent), 6)} 0G`);
  }

  /** Only what was changed here: the rest may have been changed elsewhere since it was read. */
  async save({ per_day: day, total, auto_resume: auto }) {
    const body = {};
    const limits = {};
    for (const [name, input] of [["per_day", day], ["total", total]]) {
      if (input.value.trim() !== input.defaultValue) limits[name] = limitOf(input.value);
    }
    if (Object.keys(limits).length > 0) body.limits = limits;
    if (auto.checked !== auto.defaultChecked) body.auto_resume = auto.checked;
    const { session } = this.context;
    if (Object.keys(body).length > 0) await call("PUT", "api/account/settings", { body });
    if (session !== this.context.session) return;
    await this.refresh();
    this.context.refreshSoon();
  }
}
