// One bucket, in the drawer: its nodes and their last changes.

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
