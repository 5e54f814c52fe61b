// Time that passes, the connection, and what both of them draw.

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
