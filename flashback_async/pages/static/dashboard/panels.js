// The panels: the top of the page, problems, regions and the last changes.

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
