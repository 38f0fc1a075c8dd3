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
 * buttons rest, and what it throws is shown. Resolves to what it returned, or null.
 */
export function ask({ title, fields, confirm, act, danger = false }) {
  const dialog = byId("dialog");
  return new Promise((resolve) => {
    let result = null;
    const error = h("p", { class: "error", role: "alert", hidden: true });
    const cancel = h("button", { type: "button" }, "Cancel");
    const go = h("button", { type: "submit", class: danger ? "danger" : "primary" }, confirm);
    const form = h("form", { novalidate: true }, h("h2", { id: "dialog-title" }, title), ...fields,
      error, h("div", { class: "actions" }, go, cancel));
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      go.disabled = true;
      form.setAttribute("aria-busy", "true");
      shown(error, false);
      try {
        result = (await act(form, (text) => say(go, text))) ?? true;
        dialog.close();
      } catch (problem) {
        error.textContent = problem.message || String(problem);
        shown(error, true);
        say(go, confirm);
      } finally {
        go.disabled = false;
        form.removeAttribute("aria-busy");
      }
    });
    cancel.addEventListener("click", () => dialog.close());
    dialog.replaceChildren(form);
    dialog.addEventListener("close", () => { dialog.replaceChildren(); resolve(result); }, { once: true });
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
