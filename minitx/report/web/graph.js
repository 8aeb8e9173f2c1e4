
// ---- the graph in the middle: only what is near the window is in the document ----

const AROUND = 600; // pixels above and below the window that are painted too
const graph = byId("graph");
const boxes = new Map(); // item -> element, of those that are painted
let laid = []; // every item that has a place, frames before what is in them
let edges = [];
let painted = [0, 0];
let zoom = 1;

/** Lay the graph out anew; ``anchor`` stays where it is in the window. */
function drawGraph(anchor) {
  const before = anchor?.top;
  edges = layOut(root);
  laid = [];
  (function add(item) {
    laid.push(item);
    if (item.grid) item.children.forEach(add);
  })(root);
  const [width, height] = [root.left + root.w + 24, root.top + root.h + 24];
  const size = `width:${width}px;height:${height}px;zoom:${zoom}`;
  graph.replaceChildren(el("div", { class: "layer", style: size }));
  if (before !== undefined) graph.scrollTop += (anchor.top - before) * zoom;
  paintGraph();
}

function paintGraph() {
  const first = graph.scrollTop / zoom - AROUND;
  const last = (graph.scrollTop + graph.clientHeight) / zoom + AROUND;
  painted = [first, last];
  boxes.clear();
  const lines = svg("svg", { "aria-hidden": "true" }, arrowheads());
  for (const edge of edges) {
    edge.line = null;
    if (edge.from.top > last || edge.to.top + edge.to.h < first) continue;
    edge.line = svg("path", { d: pathOf(edge), "marker-end": "url(#arrow)" });
    lines.append(edge.line);
  }
  for (const item of laid) {
    if (item.top > last || item.top + item.h < first) continue;
    boxes.set(item, item.grid ? frame(item) : box(item));
  }
  const [frames, rest] = [[], []];
  for (const [item, element] of boxes) (item.grid ? frames : rest).push(element);
  graph.firstChild.replaceChildren(...frames, lines, ...rest);
  markSelected();
}

/** Paint what scrolling or zooming has brought into sight. */
function followScroll() {
  const [first, last] = painted;
  const top = graph.scrollTop / zoom;
  const bottom = top + graph.clientHeight / zoom;
  const ends = root.top + root.h;
  if (top < Math.max(0, first + 100) || bottom > Math.min(ends, last - 100)) paintGraph();
}

graph.addEventListener("scroll", followScroll);

function arrowheads() {
  const head = (id) =>
    svg(
      "marker",
      { id, viewBox: "0 0 8 8", refX: 6, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" },
      svg("path", { d: "M0 0.8L7 4L0 7.2z" }),
    );
  return svg("defs", {}, head("arrow"), head("arrow-in"), head("arrow-out"));
}

const at = ({ left, top, w, h }) => `left:${left}px;top:${top}px;width:${w}px;height:${h}px`;

function frame(item) {
  const head = el(
    "button",
    {
      type: "button",
      tabindex: -1,
      onclick: () => (item === state.selected && item !== root ? toggle(item) : select(item)),
      ondblclick: () => item !== root && toggle(item),
    },
    el("b", { style: `max-width:${item.port - 8}px` }, item === root ? "" : "▾ ", item.label),
    el("span", { style: `left:${item.port + 12}px` }, item.cls === item.label ? "" : item.cls),
  );
  return el("div", { class: "frame", style: at(item) }, head);
}

function box(item) {
  const second = item.group
    ? `${item.cls}${item.call > 1 ? ` · call ${item.call}` : ""} · ${item.nodes.length} ops`
    : `${item.label === item.op ? "" : `${item.op} · `}${item.shape}`;
  const scale = 100 / (item.group ? timeOf(root) : longest);
  return el(
    "button",
    {
      type: "button",
      tabindex: -1,
      class: `box${item.group ? " folded" : ""}${data.maps[item.name] ? " maps" : ""}`,
      style: at(item),
      title: item.group ? item.id : item.name,
      onclick: () => (item.group && item === state.selected ? toggle(item) : select(item)),
      ondblclick: () => item.group && !state.open.has(item) && toggle(item),
    },
    el("b", {}, item.group ? `▸ ${item.label}` : item.label),
    el("small", {}, second),
    el(
      "span",
      { class: "spent" },
      el("i", { class: "forward", style: `width:${item.forwardTime * scale}%` }),
      el("i", { class: "backward", style: `width:${item.backwardTime * scale}%` }),
    ),
  );
}

/** Outline what is selected, and colour the edges to and from it. */
function markSelected() {
  for (const element of graph.querySelectorAll(".selected, .near")) {
    element.classList.remove("selected", "near");
  }
  for (const line of graph.querySelectorAll("path.in, path.out")) {
    line.classList.remove("in", "out");
    line.setAttribute("marker-end", "url(#arrow)");
  }
  const item = state.selected;
  const shown = item.leaf ? null : visible(item);
  if (shown !== root) boxes.get(shown)?.classList.add("selected");
  const near = item.leaf ? item.users.map(([, name]) => visible(records.get(name))) : [];
  for (const x of near) boxes.get(x)?.classList.add("near");
  for (const { from, to, line } of edges) {
    if (!line || (from !== shown && to !== shown)) continue;
    const side = to === shown ? "in" : "out";
    line.classList.add(side);
    line.setAttribute("marker-end", `url(#arrow-${side})`);
    line.parentNode.append(line);
    boxes.get(to === shown ? from : to)?.classList.add("near");
  }
}

/** Scroll as little as brings the box of an item into the window. */
function showBox(item) {
  const [user] = item.users ?? [];
  const shown = item.leaf ? user && visible(records.get(user[1])) : visible(item);
  if (!shown || shown === root) return;
  const height = graph.clientHeight / zoom;
  const [top, left] = [graph.scrollTop / zoom, graph.scrollLeft / zoom];
  const tall = shown.h > height - 80;
  let wanted = top;
  if (shown.top < top + 40 || (tall && shown.top > top + 80)) wanted = shown.top - 60;
  else if (!tall && shown.top + shown.h > top + height - 40) {
    wanted = shown.top + shown.h - height + 60;
  }
  if (wanted !== top) graph.scrollTop = wanted * zoom;
  const width = graph.clientWidth / zoom;
  if (shown.left < left) graph.scrollLeft = (shown.left - 24) * zoom;
  else if (shown.left + Math.min(shown.w, width) > left + width) {
    graph.scrollLeft = (shown.left + shown.w - width + 24) * zoom;
  }
  followScroll();
}

function setZoom(value) {
  zoom = Math.min(2, Math.max(0.25, value));
  graph.firstChild.style.zoom = zoom;
  paintGraph();
}
