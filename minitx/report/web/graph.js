
// ---- the graph in the middle ----

const graph = byId("graph");
const boxes = new Map(); // item -> element
let edges = [];
let zoom = 1;

function drawGraph(anchor) {
  const before = boxes.get(anchor)?.getBoundingClientRect().top;
  boxes.clear();
  const layer = el("div", { class: "layer" });
  edges = layOut(root);
  const [width, height] = [root.left + root.w + 24, root.top + root.h + 24];
  const lines = svg("svg", { width, height, "aria-hidden": "true" }, arrowheads());
  for (const edge of edges) {
    edge.line = svg("path", { d: pathOf(edge), "marker-end": "url(#arrow)" });
    lines.append(edge.line);
  }
  const frames = [];
  (function add(item) {
    const element = item.grid ? frame(item) : box(item);
    boxes.set(item, element);
    frames.push(element);
    if (item.grid) item.children.forEach(add);
  })(root);
  layer.append(...frames.filter((x) => x.classList.contains("frame")), lines);
  layer.append(...frames.filter((x) => !x.classList.contains("frame")));
  layer.style.width = `${width}px`;
  layer.style.height = `${height}px`;
  layer.style.zoom = zoom;
  graph.replaceChildren(layer);
  const after = boxes.get(anchor)?.getBoundingClientRect().top;
  if (before !== undefined && after !== undefined) graph.scrollTop += after - before;
  markSelected();
}

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
  const name = el("b", {}, item.label);
  const head = el(
    "button",
    {
      type: "button",
      tabindex: -1,
      onclick: () => (item === state.selected && item !== root ? toggle(item) : select(item)),
      ondblclick: () => item !== root && toggle(item),
    },
    item === root ? "" : "▾ ",
    name,
    item.cls && item.cls !== item.label ? ` ${item.cls}` : "",
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
  for (const { line } of edges) {
    if (line.classList.length === 0) continue;
    line.classList.remove("in", "out");
    line.setAttribute("marker-end", "url(#arrow)");
  }
  const item = state.selected;
  const shown = item.leaf ? null : visible(item);
  boxes.get(shown)?.classList.add("selected");
  const near = item.leaf ? item.users.map(([, name]) => visible(records.get(name))) : [];
  for (const x of near) boxes.get(x)?.classList.add("near");
  for (const { from, to, line } of edges) {
    if (from !== shown && to !== shown) continue;
    const side = to === shown ? "in" : "out";
    line.classList.add(side);
    line.setAttribute("marker-end", `url(#arrow-${side})`);
    line.parentNode.append(line);
    boxes.get(to === shown ? from : to)?.classList.add("near");
  }
}

function showBox(item) {
  const element = boxes.get(item.leaf && item.users[0] ? visible(records.get(item.users[0][1]))
    : visible(item));
  if (!element || item === root) return;
  const [outer, inner] = [graph.getBoundingClientRect(), element.getBoundingClientRect()];
  const tall = inner.height > outer.height - 80;
  if (inner.top < outer.top + 40) graph.scrollTop += inner.top - outer.top - 60;
  else if (tall && inner.top > outer.top + 80) graph.scrollTop += inner.top - outer.top - 60;
  else if (!tall && inner.bottom > outer.bottom - 40) {
    graph.scrollTop += inner.bottom - outer.bottom + 60;
  }
  if (inner.left < outer.left) graph.scrollLeft += inner.left - outer.left - 24;
  else if (inner.right > outer.right) graph.scrollLeft += inner.right - outer.right + 24;
}

function setZoom(value) {
  zoom = Math.min(2, Math.max(0.25, value));
  graph.firstChild.style.zoom = zoom;
}
