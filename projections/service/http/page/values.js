// How a field's value is shown, and the link to a document.

import { h } from "./dom.js";
import { hash, isHash, number, when } from "./format.js";

export const address = (projection, key, block) =>
  `#/${encodeURIComponent(projection)}/${encodeURIComponent(key)}${block === null || block === undefined ? "" : `?block=${block}`}`;

/** A field's value: an address leads to its document, a time is shown as one, null as nothing. */
export function value(projection, field, item, block) {
  if (item === null || item === undefined) return h("span", { class: "dim" }, "none");
  if (projection.addresses?.includes(field) && isHash(item))
    return h("a", { href: address(projection.name, item, block) }, hash(item));
  if (typeof item === "string" && /^integer/.test(projection.types?.[field])) return number(item);
  if (typeof item === "number")
    return /(At|Timestamp)$/.test(field) && item > 1e9 && item < 1e11 ? when(item) : number(item);
  if (isHash(item)) return hash(item);
  return typeof item === "object" ? h("code", null, JSON.stringify(item)) : String(item);
}
