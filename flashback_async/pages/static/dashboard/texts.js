"use strict";

// What every part uses: looks, limits, texts and elements.
// Everything that the API said goes into the page as text, never as markup.

const $ = (id) => document.getElementById(id);
const LOOKS = JSON.parse($("looks").textContent);
const NAMED = Object.fromEntries(LOOKS.map((look, rank) => [look.css, { ...look, rank }]));
const RANKED = LOOKS.map((look) => NAMED[look.css]);
const ONLINE = NAMED.online, UNKNOWN = NAMED.unknown, OTHER = NAMED.other, NONE = NAMED.none;
const STATES = new Map([ONLINE, NAMED.offline, NAMED.disconnected].map((look) => [look.word, look]));
const OLD = "\0old"; // in counts, the state of nodes whose bucket is UNKNOWN
const GONE = { ...OTHER, word: "GONE", glyph: "–", shape: "m-3 0h6", filled: false };
const NOT_ASKED = { ...NONE, word: "not asked yet", glyph: "·", shape: "m-.2 0h.4" };
const NO_NODES = { ...NONE, word: "no nodes" };
const [ANSWERED, UNASKED, IS_UNKNOWN, IS_GONE] = [0, 1, 2, 3];
const ROWS = 100; // problems that are added to the table at once
const NODES = 6; // nodes that a problem names
const NEWS = 10;
const SILENCE = 45_000; // ms without a sign of life, after which the connection counts as lost
const AGAIN = 5_000; // ms until the next attempt, if the browser makes none
const LONGEST = 120; // characters of a text from the API, as far as the page shows it
const WAIT = {
  hidden: 10_000, // ms until a tab that nobody sees gives its connection back
  open: 300, // ms until the drawer opens, whether the nodes are there or not
  answer: 6_000, // ms for the nodes of a bucket
};

// Texts.

const number = new Intl.NumberFormat("en-US");
const count = (n) => number.format(n);
const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hourCycle: "h23" });

function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [unit, size] of [["d", 86_400], ["h", 3_600], ["min", 60]]) {
    if (whole >= size) return `${Math.floor(whole / size)} ${unit}`;
  }
  return `${whole} s`;
}

const escaped = (c) => {
  const code = c.codePointAt(0), [mark, size] = code < 0x100 ? ["x", 2] : code < 0x10000 ? ["u", 4] : ["U", 8];
  return `\\${mark}${code.toString(16).padStart(size, "0")}`;
};

// Text that the API sent: every character has a picture, and none turns the text around it.
const printable = (text) => text.replace(/(?! )[\p{C}\p{Z}]/gu, escaped);

function shortened(text, most = LONGEST) {
  if (!text.trim()) return "(empty)";
  const start = [...text.slice(0, 2 * most + 2)], all = [...printable(start.slice(0, most + 1).join(""))];
  return all.length <= most ? all.join("") : `${all.slice(0, most - 1).join("")}…`;
}

// What a text from the API is besides what the page shows of it; null if that is all.
function fullOf(text, most = LONGEST) {
  return shortened(text, most) === text ? null : printable(text.slice(0, 4_000));
}

function foreign(text, most = LONGEST, attributes = {}) {
  return make("bdi", { ...attributes, title: fullOf(text, most) }, shortened(text, most));
}

function make(name, attributes, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat());
  return element;
}

function drawn(name, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function stateOf(look, n = null) {
  const words = n === null ? ` ${look.word}` : ` ${count(n)} ${look.word}`;
  const glyph = make("i", { "aria-hidden": "true" }, look.glyph);
  return make("span", { class: `state s-${look.css}${words.length > 30 ? " long" : ""}`, title: look.full ?? null }, glyph, make("bdi", {}, words));
}

// A length of time that goes on; `tick` keeps it up to date.
function since(seconds) {
  const title = new Date(seconds * 1000).toLocaleString();
  return make("time", { "data-since": seconds, title, class: "muted" }, span(now() - seconds));
}

function bucketButton(id) {
  return make("button", { type: "button", class: "plain", onclick: (e) => show(id, e.currentTarget, e.clientX > window.innerWidth / 2) }, foreign(id));
}

// Give an element one child for each key, keeping those whose content is the same.
function keep(parent, items, build) {
  const old = new Map([...parent.children].map((child) => [child.key_, child]));
  const wanted = new Set(items.map(([key]) => String(key)));
  for (const [key, child] of old) if (!wanted.has(key)) child.remove();
  let next = parent.firstElementChild;
  for (const [key, content, ...rest] of items) {
    let child = old.get(String(key));
    if (child && child.content_ !== content) {
      const fresh = build(...rest);
      // The focus stays where it is, as long as the row is there.
      const focused = child.contains(document.activeElement);
      if (child === next) next = fresh;
      child.replaceWith(fresh);
      if (focused) fresh.querySelector("button")?.focus();
      child = fresh;
    }
    child ??= build(...rest);
    child.key_ = String(key);
    child.content_ = content;
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
}
