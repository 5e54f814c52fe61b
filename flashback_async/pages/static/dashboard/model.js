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
