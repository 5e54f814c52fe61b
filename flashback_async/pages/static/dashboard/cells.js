// The cells: one for each bucket, on a canvas.

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
