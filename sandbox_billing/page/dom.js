// Making elements. Strings become text, never markup: what others named stays what they named.

const SVG = "http://www.w3.org/2000/svg";

function filled(made, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, heard] of Object.entries(value)) made.addEventListener(event, heard);
    } else if (name === "class") {
      made.setAttribute("class", value);
    } else {
      made.setAttribute(name, value === true ? "" : String(value));
    }
  }
  made.append(...children.flat().filter((one) => one !== null && one !== undefined));
  return made;
}

export function h(tag, properties, ...children) {
  return filled(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

export function byId(id) {
  return document.getElementById(id);
}

/** Change a text only where it is another: nothing flickers, and no selection is lost. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Show or hide. */
export function shown(element, visible) {
  element.hidden = !visible;
}

/** An amount whose exact digits are there for whoever points at it. */
export function amount(text, exact) {
  return h("span", { class: "amount", title: exact }, text);
}

export function setAmount(element, text, exact) {
  say(element, text);
  if (element.title !== exact) element.title = exact;
}

/** Tell assistive technology once; the same text twice in a row is told twice. */
export function announce(text) {
  const status = byId("status");
  status.textContent = "";
  status.textContent = text;
}

/** A message that stays until it is closed, or for a while. */
export function alertUser(text, { kind = "info", seconds = 0, id = null } = {}) {
  // What goes away by itself lies over the page and moves nothing in it.
  const alerts = byId(seconds > 0 ? "toasts" : "alerts");
  if (id !== null) alerts.querySelector(`[data-id="${CSS.escape(id)}"]`)?.remove();
  const close = h("button", { type: "button", class: "quiet", "aria-label": "Close this message" }, "Close");
  const made = h("div", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "status", "data-id": id },
    h("p", {}, text), close);
  close.addEventListener("click", () => made.remove());
  alerts.append(made);
  if (seconds > 0) setTimeout(() => made.remove(), seconds * 1000);
  return made;
}

export function forget(id) {
  byId("alerts").querySelector(`[data-id="${CSS.escape(id)}"]`)?.remove();
}

/**
 * Ask in the one dialog of the page.
 * fields: elements between title and buttons. `act` is called on confirming; while it works the
 * buttons rest and nothing closes the dialog, and what it throws is shown. An error that is `sent`
 * cannot be tried again. Resolves to what `act` returned, or null.
 */
export function ask({ title, fields, confirm, act, danger = false }) {
  const dialog = byId("dialog");
  if (dialog.open && dialog.querySelector("form[aria-busy]") !== null) return Promise.resolve(null);
  return new Promise((resolve) => {
    let result = null;
    let isBusy = false;
    const error = h("p", { class: "error", role: "alert", hidden: true });
    const cancel = h("button", { type: "button" }, "Cancel");
    const go = h("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm);
    const form = h("form", { novalidate: true }, h("h2", { id: "dialog-title" }, title), ...fields,
      error, h("div", { class: "actions" }, go, cancel));
    const rest = (busy) => {
      isBusy = busy;
      go.disabled = busy;
      cancel.disabled = busy;
      if (busy) form.setAttribute("aria-busy", "true");
      else form.removeAttribute("aria-busy");
    };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (go.disabled) return;
      rest(true);
      shown(error, false);
      try {
        result = (await act(form, (text) => say(go, text))) ?? true;
        rest(false);
        // Whoever signed out meanwhile may see another dialog by now.
        if (dialog.contains(form)) dialog.close();
      } catch (problem) {
        rest(false);
        const text = problem.message || String(problem);
        say(go, confirm);
        if (problem.sent && dialog.contains(form)) {
          go.disabled = true;
          say(cancel, "Close");
          // What is to be looked at must not be gone with the dialog.
          dialog.addEventListener("close", () => alertUser(text, { kind: "bad" }), { once: true });
        }
        error.textContent = text;
        shown(error, true);
        if (!dialog.contains(form)) alertUser(text, { kind: "bad" });
        else if (problem.sent) cancel.focus();
      }
    });
    const stay = (event) => {
      if (isBusy && dialog.contains(form) && (event.type === "cancel" || event.key === "Escape")) event.preventDefault();
    };
    const leave = () => {
      // The event comes late: by now the dialog may be open again, for another question.
      if (dialog.open && dialog.contains(form)) return;
      dialog.removeEventListener("close", leave);
      dialog.removeEventListener("cancel", stay);
      document.removeEventListener("keydown", stay, true);
      if (dialog.contains(form)) dialog.replaceChildren();
      resolve(result);
    };
    cancel.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(form);
    dialog.addEventListener("cancel", stay);
    // A second Escape would close it, whatever the event above says.
    document.addEventListener("keydown", stay, true);
    dialog.addEventListener("close", leave);
    dialog.showModal();
    (form.querySelector("input, select") ?? (danger ? cancel : go)).focus();
  });
}

/** A labelled field. */
export function field(label, control, hint = null) {
  const id = control.id || `f-${Math.random().toString(36).slice(2)}`;
  control.id = id;
  const made = h("div", { class: "field" }, h("label", { for: id }, label), control);
  if (hint !== null) {
    const told = hint instanceof Node ? hint : h("p", {}, hint);
    told.id = `${id}-hint`;
    told.classList.add("hint");
    control.setAttribute("aria-describedby", told.id);
    made.append(told);
  }
  return made;
}
