// Elements from plain calls, and a patch of what is shown that keeps focus, selection and what was opened.

const SVG = "http://www.w3.org/2000/svg";
const HANDLERS = ["onclick", "onsubmit", "onchange", "oninput", "ontoggle"];

export const by = (id) => document.getElementById(id);

/** An element of HTML: attributes (null, undefined and false are left out), handlers, children. */
export const h = (tag, attributes, ...children) => made(document.createElement(tag), attributes, children);

/** The same of SVG. */
export const svg = (tag, attributes, ...children) =>
  made(document.createElementNS(SVG, tag), attributes, children);

/** Makes `parent` hold these children, by changing what differs. `data-key` says which child is which. */
export function patch(parent, ...children) {
  reconcile(parent, flat(children));
}

/** Says a sentence to who listens and does not look. */
export function say(sentence) {
  by("said").textContent = sentence;
}

function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...flat(children));
  return node;
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false && child !== "")
    .map((child) => (child instanceof Node ? child : document.createTextNode(String(child))));
}

const keyOf = (node) => (node instanceof Element ? node.dataset.key : undefined);

function reconcile(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  let at = parent.firstChild;
  for (const node of wanted) {
    const key = keyOf(node);
    const old = key ? keyed.get(key) : at && !keyOf(at) ? at : null;
    if (old && old.nodeName === node.nodeName) {
      if (old === at) at = at.nextSibling;
      else parent.insertBefore(old, at);
      update(old, node);
    } else {
      parent.insertBefore(node, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function update(old, node) {
  if (!(old instanceof Element)) {
    if (old.nodeValue !== node.nodeValue) old.nodeValue = node.nodeValue;
    return;
  }
  for (const { name } of [...old.attributes])
    if (!node.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of node.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const name of HANDLERS) if (old[name] !== node[name]) old[name] = node[name];
  reconcile(old, [...node.childNodes]);
}
