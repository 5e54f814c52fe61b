"use strict";

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

// The model: a record for each bucket, and counts that follow them.

let model = null;
let facts = null;
let offset = 0; // seconds that the server's clock is ahead

const now = () => Date.now() / 1000 + offset;

function newModel(snapshot) {
  const size = snapshot.ids.length;
  const found = {
    ...snapshot,
    looks: new Array(size).fill(NOT_ASKED),
    places: new Map(snapshot.ids.map((id, place) => [id, place])),
    nodes: new Map(), // look and word -> number
    regions: new Map(), // region -> the same
    problems: new Set(),
    conditions: [0, 0, 0, 0],
    well: 0,
    down: 0,
    empty: 0, // without a node
  };
  for (let place = 0; place < size; place++) include(found, place, 1);
  return found;
}

const wordOf = (state) => (state === null ? NONE.word : shortened(state, 40));
const lookOf = (state) =>
  state === null ? NONE : STATES.get(state) ?? { ...OTHER, word: wordOf(state), full: fullOf(state, 40) };

function lookAt(of, record) {
  const [condition, nodes] = record;
  if (condition !== ANSWERED) return [null, NOT_ASKED, UNKNOWN, GONE][condition];
  if (!nodes.length) return NO_NODES;
  let worst = ONLINE;
  for (let n = 0; n < nodes.length; n += 2) {
    const look = lookOf(of.states[nodes[n]]);
    if (look.rank < worst.rank) worst = look;
  }
  return worst;
}

// Add a bucket to the counts (sign 1), or take it out (-1).
function include(of, place, sign) {
  const record = of.buckets[place];
  const [condition, nodes] = record;
  const look = lookAt(of, record);
  of.looks[place] = look;
  of.conditions[condition] += sign;
  let online = 0;
  for (let n = 0; n < nodes.length; n += 2) {
    const state = of.states[nodes[n]];
    if (state === "ONLINE") online++;
    // What is known of a bucket that cannot be asked is old.
    const word = condition === IS_UNKNOWN ? OLD : state;
    add(of.nodes, word, sign);
    const region = of.regions_[nodes[n + 1]];
    if (!of.regions.has(region)) of.regions.set(region, new Map());
    add(of.regions.get(region), word, sign);
    if (!of.regions.get(region).size) of.regions.delete(region);
  }
  if (condition === ANSWERED && !nodes.length) of.empty += sign;
  if (condition === ANSWERED && nodes.length) {
    if (look === ONLINE) of.well += sign;
    else if (!online) of.down += sign;
  }
  const isProblem = condition > UNASKED || (nodes.length > 0 && look !== ONLINE && condition === ANSWERED);
  if (isProblem && sign > 0) of.problems.add(place);
  else of.problems.delete(place);
}

function add(counts, key, sign) {
  const n = (counts.get(key) ?? 0) + sign;
  if (n) counts.set(key, n);
  else counts.delete(key);
}

const lookOfWord = (word) => (word === OLD ? UNKNOWN : lookOf(word));

function apply(delta) {
  if (delta.states) [model.states, model.regions_] = [delta.states, delta.regions];
  const changed = [];
  for (const [place, record] of delta.buckets) {
    include(model, place, -1);
    model.buckets[place] = record;
    include(model, place, 1);
    changed.push(place);
  }
  model.news = [...delta.news, ...model.news].slice(0, 30);
  model.v = delta.v;
  return changed;
}

function problemOf(place) {
  const record = model.buckets[place];
  const [condition, nodes, troubles = [], at = 0] = record;
  const total = nodes.length / 2;
  const online = total - troubles.length;
  const latest = Math.max(at, ...troubles.map((trouble) => trouble[2]));
  const isTotal = condition === IS_GONE || (condition === ANSWERED && !online);
  return { place, record, condition, online, total, troubles, latest, isTotal };
}

// What is down as a whole first, then the latest; those that may be fine come last.
function worstProblems() {
  const all = [...model.problems].map(problemOf);
  const rank = (problem) => (problem.isTotal ? 0 : problem.condition === IS_UNKNOWN ? 2 : 1);
  const why = ({ condition, record }) => (condition === IS_UNKNOWN ? record[4] ?? "" : "").replace(/, request id '[^']*'$/, "");
  all.sort((a, b) =>
    rank(a) - rank(b) || why(a).localeCompare(why(b)) || b.latest - a.latest || a.place - b.place);
  // When the API is down, all say the same.
  all.forEach((problem, n) => (problem.isRepeat = n > 0 && why(problem) !== "" && why(problem) === why(all[n - 1])));
  return all;
}

// The top of the page.

function renderTop() {
  const total = model.ids.length, bad = model.problems.size;
  const unknown = model.conditions[IS_UNKNOWN], unasked = model.conditions[UNASKED];
  const broken = bad - unknown;
  let text, look;
  if (!total) [text, look] = ["No bucket yet", NONE];
  else if (unknown === total) [text, look] = [`None of ${plural(total, "bucket")} can be asked`, UNKNOWN];
  else if (broken) {
    text = `${count(broken)} of ${plural(total, "bucket")} ${broken === 1 ? "has" : "have"} ${model.conditions[IS_GONE] ? "a problem" : "a node that is not ONLINE"}`;
    if (unknown) text += `; ${count(unknown)} cannot be asked`;
    look = RANKED[Math.min(...[...model.problems].map((place) => model.looks[place].rank))];
  } else if (unknown) [text, look] = [`${count(unknown)} of ${plural(total, "bucket")} cannot be asked`, UNKNOWN];
  else if (unasked) [text, look] = ["No problems so far", NONE];
  else if (model.nodes.size) {
    const others = model.empty ? `; ${count(model.empty)} ${model.empty === 1 ? "has" : "have"} no node` : "";
    [text, look] = [`Every node of ${plural(total - model.empty, "bucket")} is ONLINE${others}`, ONLINE];
  }
  else [text, look] = [`${plural(total, "bucket")} without a node`, NONE];
  setText($("summary"), text);
  $("headline").className = `headline s-${look.css}`;
  const counts = orderedStates(model.nodes).map(([word, n]) => [JSON.stringify(word), String(n), lookOfWord(word), n]);
  keep($("counts"), counts, (l, n) => stateOf(l, n));
  const online = model.nodes.get("ONLINE") ?? 0;
  const nodes = [...model.nodes.values()].reduce((a, b) => a + b, 0), old = model.nodes.get(OLD) ?? 0;
  const known = (n, isKnown) => (isKnown ? count(n) : "unknown");
  const ofNodes = old && old < nodes ? ` of ${count(nodes)}, ${count(old)} unknown` : ` of ${count(nodes)}`;
  const figures = [
    ["Buckets", count(total)],
    ["Every node ONLINE", known(model.well, !total || unknown < total)],
    ["No node ONLINE", known(model.down, !total || unknown < total)],
    ["UNKNOWN", count(unknown)],
    ["Nodes ONLINE", known(online, !old || old < nodes), ofNodes],
  ];
  if (model.conditions[IS_GONE]) figures.splice(4, 0, ["GONE", count(model.conditions[IS_GONE])]);
  keep($("figures"), figures.map(([name, n, of = ""]) => [name, n + of, name, n, of]), (name, n, of) =>
    make("div", {}, make("dt", {}, name), make("dd", {}, n, make("span", { class: "small muted" }, of))));
}

function orderedStates(counts) {
  const key = ([word]) => (word === "ONLINE" ? -1 : lookOfWord(word).rank);
  return [...counts].sort((a, b) => key(a) - key(b) || String(a[0]).localeCompare(String(b[0])));
}

// Problems.

let rows = ROWS;

function renderProblems() {
  const all = worstProblems();
  const shown = all.slice(0, rows);
  const unasked = model.conditions[UNASKED];
  const empty = model.empty ? ` ${plural(model.empty, "bucket")} ${model.empty === 1 ? "has" : "have"} no node.` : "";
  const every = model.nodes.size ? `Every bucket answers, and every node is ONLINE.${empty}` : "Every bucket answers, but none has a node.";
  const calm = unasked || !model.ids.length ? "Nothing so far." : every;
  const unknown = model.conditions[IS_UNKNOWN], broken = all.length - unknown;
  const titles = [broken && `${plural(broken, "bucket")} with a problem`, unknown && `${count(unknown)} UNKNOWN`];
  setText($("problems"), titles.filter(Boolean).join(", ") || "No problems");
  const last = unknown ? " Those that cannot be asked come last." : "";
  setText($("problems-intro"), all.length ? `Buckets without a node ONLINE come first, then the latest problem.${last}` : calm);
  $("problems-table").hidden = !all.length;
  const body = $("problems-table").tBodies[0];
  keep(body, shown.map((p) => [model.ids[p.place], JSON.stringify(p.record) + p.isRepeat, p]), problemRow);
  const left = all.length - shown.length;
  $("problems-more").hidden = !left;
  setText($("problems-more"), `Show ${count(Math.min(left, 5 * ROWS))} more${left > 5 * ROWS ? ` of ${count(left)}` : ""}`);
}

function problemRow({ place, record, condition, online, total, troubles, isTotal, isRepeat }) {
  const lines = [];
  if (condition !== ANSWERED) {
    const [, , , at, why] = record;
    lines.push(make("div", {}, stateOf(condition === IS_GONE ? GONE : UNKNOWN), " ", since(at), why ? make("span", { class: "muted" }, " ", isRepeat ? "for the same reason" : foreign(why)) : ""));
  } else {
    const nodes = record[1];
    for (const [node, name, at] of troubles.slice(0, NODES)) {
      const region = model.regions_[nodes[2 * node + 1]];
      const where = region === null ? "" : [", ", foreign(region, 40, { class: "region" })];
      lines.push(make("div", {}, stateOf(lookOf(model.states[nodes[2 * node]])), " ", since(at), " ", foreign(name, 60), where));
    }
    const more = troubles.length - NODES;
    if (more > 0) lines.push(make("div", { class: "muted" }, `and ${count(more)} more`));
  }
  const known = condition === ANSWERED ? `${count(online)} of ${count(total)}` : "–";
  // On narrow screens these are blocks, which would be no table without roles.
  return make("tr", { role: "row" },
    make("th", { scope: "row", role: "rowheader" }, bucketButton(model.ids[place])),
    make("td", { role: "cell", class: isTotal ? "total" : null, "data-of": `${known} ONLINE` }, known),
    make("td", { role: "cell" }, lines));
}

$("problems-more").addEventListener("click", () => {
  rows += 5 * ROWS;
  renderProblems();
});

// Regions.

let fitted = ""; // for what columns, regions and width it was seen whether the table fits
let regionsWidth = 0;

new ResizeObserver(([entry]) => {
  if (regionsWidth === entry.contentRect.width) return;
  regionsWidth = entry.contentRect.width;
  if (model) plan([]);
}).observe($("regions-panel"));

function renderRegions() {
  const panel = $("regions-panel"), table = panel.querySelector("table");
  panel.hidden = !model.regions.size;
  const columns = orderedStates(model.nodes);
  if (columns[0]?.[0] !== "ONLINE") columns.unshift(["ONLINE", 0]);
  const words = columns.map(([word]) => word);
  const sum = (counts) => [...counts.values()].reduce((a, b) => a + b, 0);
  const share = (counts) => (counts.get("ONLINE") ?? 0) / sum(counts);
  const all = [...model.regions].sort(([a, x], [b, y]) => share(x) - share(y) || String(a).localeCompare(String(b)));
  const key = JSON.stringify(words);
  keep(table.tHead, [["head", key, words]], regionHead);
  const body = all.map(([name, counts]) => [JSON.stringify(name), key + JSON.stringify([...counts].sort()), name, counts, words, sum(counts)]);
  keep(table.tBodies[0], body, regionRow);
  const fits = JSON.stringify([regionsWidth, words, all.map(([name]) => name)]);
  if (fits === fitted) return;
  fitted = fits;
  // As a list if the columns have no room. To measure takes a while, so it is done seldom.
  table.classList.remove("listed");
  table.classList.toggle("listed", table.parentElement.scrollWidth > table.parentElement.clientWidth);
}

function regionHead(words) {
  const head = (css, ...children) => make("th", { scope: "col", role: "columnheader", class: css }, ...children);
  const states = words.map((word) => head("n", stateOf(lookOfWord(word))));
  return make("tr", { role: "row" }, head(null, "Region"), head("n", "Nodes"), states,
    head(null, make("span", { class: "hidden" }, "Share of each state")));
}

function regionRow(name, counts, words, total) {
  const title = name === null ? make("em", {}, "not reported") : foreign(name, 40, { class: "region" });
  const bar = drawn("svg", { viewBox: `0 -1 ${total} 2`, preserveAspectRatio: "none", "aria-hidden": "true" });
  let at = 0;
  const cells = words.map((word) => {
    const n = counts.get(word) ?? 0;
    if (n) bar.append(drawn("path", { d: `M${at} 0h${n}`, class: `s-${lookOfWord(word).css}` }));
    at += n;
    return make("td", { role: "cell", class: n ? "n" : "n muted", "data-of": lookOfWord(word).word }, count(n));
  });
  // In a list these are blocks, which would be no table without roles.
  return make("tr", { role: "row" }, make("th", { scope: "row", role: "rowheader" }, title),
    make("td", { role: "cell", class: "n", "data-of": total === 1 ? "node" : "nodes" }, count(total)), cells,
    make("td", { role: "cell", class: "share" }, bar));
}

// Last changes.

function changeOf(kind, before, after) {
  if (kind === "APPEARED") return [lookOf(after), `appeared, ${wordOf(after)}`];
  if (kind === "STATE") return [lookOf(after), `${wordOf(before)} → ${wordOf(after)}`];
  if (kind === "GONE") return [GONE, before === null ? "gone" : `${wordOf(before)} → gone`];
  return kind === "UNKNOWN" ? [UNKNOWN, "UNKNOWN"] : [ONLINE, "answers again"];
}

function renderNews() {
  $("news-panel").hidden = !model.news.length;
  const seen = new Map();
  const items = model.news.slice(0, NEWS).map((change) => {
    const key = JSON.stringify(change), times = (seen.get(key) ?? 0) + 1;
    seen.set(key, times);
    return [`${key}${times}`, "", change];
  });
  keep($("news-panel").querySelector("tbody"), items, ([at, kind, id, ip, before, after]) => {
    const [look, word] = changeOf(kind, before, after);
    const bucket = model.places.has(id) ? bucketButton(id) : foreign(id);
    return make("tr", { role: "row" }, make("td", { role: "cell" }, clock(at)),
      make("td", { role: "cell" }, make("div", {}, stateOf({ ...look, word })), make("div", { class: "id" }, bucket)),
      make("td", { role: "cell" }, ip === null ? "" : foreign(ip, 60)));
  });
}

// The cells.

const canvas = $("cells"), pen = canvas.getContext("2d");
let grid = { pitch: 12, columns: 1, ratio: 1, sprites: new Map(), colours: {} };
let cursor = -1;

function layOut() {
  const total = model?.ids.length ?? 0, width = $("map").clientWidth, ratio = window.devicePixelRatio || 1;
  const least = total > 20_000 ? 5 : 8;
  let pitch = 22;
  const height = (size) => Math.ceil(total / Math.max(1, Math.floor(width / size))) * size;
  while (pitch > least && height(pitch) > 560) pitch--;
  const columns = Math.max(1, Math.floor(width / pitch));
  const tall = Math.max(1, Math.ceil(total / columns)) * pitch;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(tall * ratio);
  canvas.style.height = `${tall}px`;
  grid = { pitch, columns, ratio, sprites: new Map(), colours: coloursOf(getComputedStyle(document.documentElement)) };
}

function coloursOf(style) {
  const names = LOOKS.flatMap(({ css }) => [css, `${css}-tint`]);
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`)]));
}

// Each look is drawn once; after that, it is copied.
function spriteOf(look) {
  let sprite = grid.sprites.get(look.shape);
  if (sprite) return sprite;
  const size = Math.round(grid.pitch * grid.ratio), { colours } = grid;
  sprite = document.createElement("canvas");
  sprite.width = sprite.height = size;
  const brush = sprite.getContext("2d");
  brush.scale(size / 12, size / 12);
  if (look !== ONLINE && look.css !== "none") {
    brush.fillStyle = colours[`${look.css}-tint`];
    brush.fillRect(0.5, 0.5, 11, 11);
  }
  const path = new Path2D(`M6 6${look.shape}`);
  brush.strokeStyle = brush.fillStyle = colours[look.css];
  brush.lineWidth = 2.2;
  brush.lineCap = brush.lineJoin = "round";
  brush.stroke(path);
  if (look.filled) brush.fill(path);
  grid.sprites.set(look.shape, sprite);
  return sprite;
}

function drawCell(place) {
  const { pitch, columns, ratio } = grid;
  const x = Math.round((place % columns) * pitch * ratio), y = Math.round(Math.floor(place / columns) * pitch * ratio);
  const sprite = spriteOf(model.looks[place]);
  pen.clearRect(x, y, sprite.width, sprite.height);
  pen.drawImage(sprite, x, y);
}

// Draw every cell with one look: a row of them is drawn once, and then copied as a whole.
function drawRows(look) {
  const { pitch, columns, ratio } = grid, sprite = spriteOf(look), total = model.ids.length;
  const row = document.createElement("canvas");
  [row.width, row.height] = [canvas.width, sprite.height];
  const brush = row.getContext("2d"), from = (column) => Math.round(column * pitch * ratio);
  for (let column = 0; column < columns; column++) brush.drawImage(sprite, from(column), 0);
  for (let at = 0; at < total; at += columns) {
    const width = Math.min(from(Math.min(columns, total - at) - 1) + sprite.width, row.width);
    pen.drawImage(row, 0, 0, width, row.height, 0, from(at / columns), width, row.height);
  }
}

function mostFrequentLook() {
  const numbers = new Map();
  for (const look of model.looks) numbers.set(look.shape, [(numbers.get(look.shape)?.[0] ?? 0) + 1, look]);
  return [...numbers.values()].reduce((a, b) => (b[0] > a[0] ? b : a))[1];
}

function drawAll() {
  performance.clearMeasures("draw");
  const began = performance.now();
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (model.ids.length) {
    const common = mostFrequentLook();
    drawRows(common);
    for (let place = 0; place < model.ids.length; place++) {
      if (model.looks[place].shape !== common.shape) drawCell(place);
    }
  }
  performance.measure("draw", { start: began, end: performance.now() });
  moveCursor(cursor, false);
  renderLegend();
}

function renderLegend() {
  const numbers = new Map();
  for (const look of model.looks) {
    const word = look.css === "other" && look !== GONE ? "another state" : look.word;
    numbers.set(word, { look, word, n: (numbers.get(word)?.n ?? 0) + 1 });
  }
  const items = [...numbers.values()].sort((a, b) => a.look.rank - b.look.rank);
  keep($("legend"), items.map((item) => [item.word, String(item.n), item]), ({ look, word, n }) => {
    const picture = drawn("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" });
    picture.append(drawn("path", { d: `M6 6${look.shape}`, class: `shape s-${look.css}${look.filled ? " filled" : ""}` }));
    return make("li", {}, picture, `${word === "ONLINE" ? "every node ONLINE" : word} ${count(n)}`);
  });
}

function describe(place) {
  const record = model.buckets[place], [condition, nodes] = record;
  const states = new Map();
  for (let n = 0; n < nodes.length; n += 2) add(states, model.states[nodes[n]], 1);
  const told = orderedStates(states).map(([word, n]) => `${count(n)} ${lookOf(word).word}`).join(", ");
  const whole = condition === ANSWERED ? "" : `${lookAt(model, record).word}${told ? "; last seen: " : ""}`;
  return `${shortened(model.ids[place])}: ${whole}${told || (condition === ANSWERED ? "no nodes" : "")}`;
}

function moveCursor(place, isTold = true) {
  cursor = model && place < model.ids.length ? place : -1;
  const ring = $("cursor");
  ring.hidden = cursor < 0;
  if (cursor < 0) return;
  const { pitch, columns } = grid;
  Object.assign(ring.style, {
    width: `${pitch + 4}px`,
    height: `${pitch + 4}px`,
    transform: `translate(${(cursor % columns) * pitch - 2}px, ${Math.floor(cursor / columns) * pitch - 2}px)`,
  });
  setText($("cell"), describe(cursor));
  if (isTold) ring.scrollIntoView({ block: "nearest" });
}

function cellAt(event) {
  const box = canvas.getBoundingClientRect(), { pitch, columns } = grid;
  const column = Math.floor((event.clientX - box.left) / pitch), row = Math.floor((event.clientY - box.top) / pitch);
  const place = row * columns + column;
  return model && column >= 0 && column < columns && row >= 0 && place < model.ids.length ? place : -1;
}

canvas.addEventListener("mousemove", (event) => {
  const place = cellAt(event);
  if (place >= 0) setText($("cell"), describe(place));
});
canvas.addEventListener("mouseleave", () => setText($("cell"), cursor < 0 ? "" : describe(cursor)));
canvas.addEventListener("click", (event) => {
  const place = cellAt(event);
  if (place < 0) return;
  moveCursor(place, false);
  show(model.ids[place], canvas, event.clientX > window.innerWidth / 2);
});

function nextProblem(step) {
  const places = [...model.problems].sort((a, b) => a - b);
  if (!places.length) return cursor;
  if (step > 0) return places.find((place) => place > cursor) ?? places[0];
  return places.findLast((place) => place < cursor) ?? places.at(-1);
}

canvas.addEventListener("keydown", (event) => {
  if (!model?.ids.length || event.ctrlKey || event.altKey || event.metaKey) return;
  const last = model.ids.length - 1, { columns } = grid, from = Math.max(cursor, 0);
  const moves = {
    ArrowLeft: () => from - 1, ArrowRight: () => (cursor < 0 ? 0 : from + 1),
    ArrowUp: () => from - columns, ArrowDown: () => (cursor < 0 ? 0 : from + columns),
    Home: () => 0, End: () => last, n: () => nextProblem(1), p: () => nextProblem(-1),
  };
  if (event.key === "Enter" || event.key === " ") {
    event.preventDefault();
    if (cursor >= 0) show(model.ids[cursor], canvas, true);
    return;
  }
  const move = moves[event.key] ?? moves[event.key.toLowerCase()];
  if (!move) return;
  event.preventDefault();
  const place = move();
  if (place >= 0 && place <= last) moveCursor(place);
  if (!$("drawer").hidden && cursor >= 0) show(model.ids[cursor], canvas, true, false);
});
canvas.addEventListener("focus", () => {
  if (cursor < 0 && model?.ids.length && canvas.matches(":focus-visible")) moveCursor(0, false);
});

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  const wanted = $("wanted").value.trim().toLowerCase();
  if (!wanted || !model) return;
  const fits = (test) => model.ids.findIndex((id) => test(id.toLowerCase()));
  let place = fits((id) => id === wanted);
  if (place < 0) place = fits((id) => id.startsWith(wanted));
  if (place < 0) place = fits((id) => id.includes(wanted));
  setText($("found"), place < 0 ? "No bucket has an id like this." : "");
  if (place < 0) return;
  moveCursor(place);
  show(model.ids[place], $("wanted"), true);
});

// One bucket.

let shown = null, opener = null, asked = 0;

async function show(id, from, isLeft = false, takesFocus = true) {
  const drawer = $("drawer");
  if (takesFocus) opener = from;
  drawer.classList.toggle("left", isLeft);
  setText($("drawer-title"), shortened(id));
  $("drawer-title").title = fullOf(id) ?? "";
  if (model.places.has(id)) moveCursor(model.places.get(id), false);
  if (shown !== id) {
    // Its nodes are hidden, so that the size of the drawer stays the same for a moment.
    drawer.setAttribute("aria-busy", "true");
    setText($("drawer-state"), "Loading…");
  }
  shown = id;
  let isOpen = false;
  const open = () => {
    if (shown !== id || isOpen) return;
    drawer.hidden = false;
    if (takesFocus) drawer.focus();
    isOpen = true;
  };
  setTimeout(open, WAIT.open);
  await refresh();
  open();
}

async function refresh() {
  const id = shown, turn = ++asked;
  let found = null, problem = "";
  try {
    const answer = await fetch(`bucket/${encodeURIComponent(id)}`, { signal: AbortSignal.timeout(WAIT.answer) });
    if (answer.ok) found = await answer.json();
    else problem = answer.status === 404 ? "This bucket is not watched any more." : `The dashboard answered ${answer.status}.`;
  } catch (error) {
    const isLate = error.name === "TimeoutError";
    problem = `The nodes could not be loaded: the dashboard ${isLate ? `has not answered for ${span(WAIT.answer / 1000)}` : "does not answer"}.`;
    if (isLate) problem += " A browser allows six connections; each visible tab of this page takes one.";
  }
  if (turn !== asked || shown !== id) return;
  $("drawer").removeAttribute("aria-busy");
  if (found) fill(found);
  else {
    const again = make("button", { type: "button", onclick: () => {
      setText($("drawer-state"), "Loading…");
      $("drawer").focus();
      refresh();
    } }, "Try again");
    setText($("drawer-state"), problem);
    $("drawer-body").replaceChildren(again);
  }
}

const secondsOf = (time) => Date.parse(time) / 1000;

function fill(found) {
  const state = $("drawer-state");
  state.replaceChildren();
  if (found.condition === "UNKNOWN" || found.condition === "GONE") {
    state.append(stateOf(found.condition === "GONE" ? GONE : UNKNOWN), " ", since(secondsOf(found.since)), " ");
  }
  if (found.asked_at) state.append("Asked ", since(secondsOf(found.asked_at)), " ago.");
  else state.append("Not asked yet.");
  if (found.error) state.append(" ", foreign(found.error, 160));
  const heads = (names) => make("thead", {}, make("tr", {}, names.map((name) => make("th", { scope: "col" }, name))));
  const text = (value) => (value === null ? "–" : foreign(value, 60));
  const nodes = found.nodes.map((node) => make("tr", {},
    make("td", {}, stateOf(lookOf(node.state))), make("td", {}, text(node.ip)), make("td", {}, since(secondsOf(node.since))),
    make("td", {}, text(node.region)), make("td", { class: "n" }, node.latency_ms === null ? "–" : `${count(node.latency_ms)} ms`),
    make("td", {}, text(node.version))));
  const changes = found.changes.map((change) => {
    const [look, word] = changeOf(change.kind, change.before, change.after);
    const at = secondsOf(change.at);
    return make("tr", {}, make("td", { title: new Date(at * 1000).toLocaleString() }, clock(at)),
      make("td", {}, stateOf({ ...look, word })), make("td", {}, text(change.ip ?? change.error ?? null)),
      make("td", { class: "muted" }, change.since ? `after ${span(at - secondsOf(change.since))}` : ""));
  });
  const table = (head, body, nothing) =>
    body.length ? make("div", { class: "scroll" }, make("table", {}, heads(head), make("tbody", {}, body))) : make("p", { class: "muted" }, nothing);
  $("drawer-body").replaceChildren(
    make("h3", {}, found.condition === "UNKNOWN" ? "Nodes, as last seen" : "Nodes"),
    table(["State", "Node", "For", "Region", "Latency", "Version"], nodes, "No nodes."),
    make("h3", {}, "Last changes"),
    table(["Time", "Change", "Node", ""], changes, "None since this dashboard began."));
}

function hide() {
  if (shown === null) return;
  shown = null;
  $("drawer").hidden = true;
  if (opener?.isConnected) opener.focus();
  else canvas.focus();
}

$("drawer-close").addEventListener("click", hide);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") hide();
});

// Time that passes, and the connection.

let heard = 0; // when the last event came, in ms
let lostAt = null, ending = null, problem = "";
let isResting = false; // nobody sees the page, and it has no connection
let isWaking = false; // somebody sees it again, and it has heard nothing yet

function tick() {
  const moment = now();
  for (const element of document.querySelectorAll("time[data-since]")) {
    setText(element, span(moment - Number(element.dataset.since)));
  }
  if (heard && lostAt === null && !isResting && Date.now() - heard > SILENCE) {
    lose("");
    connect();
  }
  renderConnection();
}

function renderConnection() {
  const isLost = !isResting && (lostAt !== null || ending !== null);
  document.body.classList.toggle("lost", isLost);
  $("pulse").classList.toggle("off", isLost || isResting || isWaking || !facts);
  const alarm = $("alarm");
  alarm.hidden = !isLost;
  if (ending !== null) setText(alarm, `The watch has ended at ${clock(ending.at)}: ${ending.message}. What is shown is from then.`);
  else if (isLost) {
    const old = model ? " What is shown is from then." : "";
    setText(alarm, `${problem || "The connection is lost"} since ${clock(lostAt)}.${old} Trying again.`);
  }
  if (isLost) setText($("age"), `no news for ${span(now() - (ending?.at ?? lostAt))}`);
  else if (isResting) setText($("age"), "paused");
  else if (isWaking) setText($("age"), "Connecting");
  else if (facts) {
    // While answers come, the time of the last one is not sent. So only a silence has an age.
    const age = facts.silent ? now() - facts.answered : null;
    const answer = facts.answered === null ? " · no answer yet" : age === null ? "" : ` · last answer ${span(age)} ago`;
    const lag = facts.lag > 1 ? ` · ${span(facts.lag)} behind` : "";
    setText($("age"), `asked every ${count(facts.interval)} s${answer}${lag}`);
    $("pulse").classList.toggle("late", age !== null && age > 30 + 2 * facts.interval);
    const isYoung = facts.buckets > 0 && facts.asked < facts.buckets;
    $("progress").hidden = !isYoung;
    if (isYoung) {
      const bar = $("progress").firstElementChild;
      [bar.max, bar.value] = [facts.buckets, facts.asked];
      setText($("progress").lastElementChild, `${count(facts.asked)} of ${count(facts.buckets)} asked`);
    }
  }
  const bad = model?.problems.size ?? 0;
  document.title = `${isResting ? "Paused: " : ending !== null ? "Ended: " : isLost ? "Lost: " : bad ? `(${count(bad)}) ` : ""}Flashback`;
}

let changed = new Set(), isWhole = false, isPlanned = false;

// Draw at most once a frame, and not at all while nobody looks.
function plan(places) {
  if (places === null) isWhole = true;
  else for (const place of places) changed.add(place);
  if (isPlanned) return;
  isPlanned = true;
  requestAnimationFrame(render);
}

function render() {
  const places = changed, whole = isWhole;
  [changed, isWhole, isPlanned] = [new Set(), false, false];
  if (!model) return;
  if (whole) layOut(); // before the page changes, because to measure it then would take a while
  renderTop();
  renderProblems();
  renderRegions();
  renderNews();
  if (whole) drawAll();
  else if (places.size) {
    for (const place of places) drawCell(place);
    renderLegend();
  }
  if (cursor >= 0 && places.has(cursor)) setText($("cell"), describe(cursor));
}

function lose(why) {
  lostAt ??= now();
  problem = why;
  renderConnection();
}

let source = null, retrying = 0;

function connect() {
  clearTimeout(retrying);
  source?.close();
  if (isResting) return;
  source = new EventSource("events");
  const on = (name, act) => source.addEventListener(name, (event) => {
    heard = Date.now();
    [lostAt, problem, isWaking] = [null, "", false];
    act(JSON.parse(event.data));
    renderConnection();
  });
  on("snapshot", (data) => {
    ending = null;
    const id = cursor >= 0 ? model.ids[cursor] : null;
    const { regions, ...rest } = data;
    model = newModel({ ...rest, regions_: regions });
    cursor = model.places.get(id) ?? -1;
    plan(null);
    if (shown !== null) refresh();
  });
  on("delta", (data) => {
    if (!model || data.v !== model.v + 1) return connect(); // an event is missing: begin anew
    const places = apply(data);
    plan(places);
    if (shown !== null && places.includes(model.places.get(shown))) refresh();
  });
  on("facts", (data) => {
    facts = data;
    offset = data.now - Date.now() / 1000;
  });
  on("end", ({ message }) => {
    ending = { message, at: now() };
    source.close();
    retrying = setTimeout(connect, AGAIN);
  });
  source.onerror = () => {
    isWaking = false;
    if (ending === null) lose("");
    if (source.readyState === EventSource.CLOSED) again();
  };
}

// The browser gives up after an answer that is no stream of events, such as 503.
async function again() {
  clearTimeout(retrying);
  retrying = setTimeout(connect, AGAIN);
  try {
    const answer = await fetch("events", { method: "HEAD" });
    if (answer.status === 503) lose("As many as can be look at this dashboard already");
  } catch {
    // It is lost, which the page says.
  }
}

// What changes how the cells are drawn.

new ResizeObserver(() => model && plan(null)).observe($("map"));
function redraw() {
  if (!model) return;
  layOut();
  drawAll();
}
for (const query of ["(prefers-color-scheme: dark)", "print", "(forced-colors: active)"]) {
  matchMedia(query).addEventListener("change", redraw);
}
function heedRatio() {
  const query = matchMedia(`(resolution: ${window.devicePixelRatio}dppx)`);
  query.addEventListener("change", () => {
    redraw();
    heedRatio();
  }, { once: true });
}
heedRatio();

// A browser allows few connections to a host. So a tab that nobody sees gives its own back.
let falling = 0;
function heedSight() {
  clearTimeout(falling);
  if (document.hidden) falling = setTimeout(rest, WAIT.hidden);
  else if (isResting) wake();
  else tick();
}

function rest() {
  isResting = true;
  connect(); // which closes the old connection only
  renderConnection();
}

function wake() {
  [isResting, isWaking, heard] = [false, true, Date.now()];
  connect(); // the first event is a snapshot
  renderConnection();
}

document.addEventListener("visibilitychange", heedSight);
setInterval(tick, 1_000);
connect();
heedSight();
