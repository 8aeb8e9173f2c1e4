
// ---- where the graph's boxes go ----
//
// Within a module, an item stands one row below the lowest of those that it uses; what uses nothing
// there stands just above its first user.  Neighbouring rows are joined by curves; longer ways go
// down lanes at the right, one for each source.

const BOX = { width: 190, height: 40, narrow: 138 };
const GAP = { x: 18, y: 26, lane: 11, pad: 14, head: 30 };
const WIDEST = 6; // boxes in a row

/** Size and place of all that is unfolded, below ``top``; returns the edges between boxes. */
function layOut(top) {
  const edges = visibleEdges();
  const links = new Map(); // by the group within which an edge runs
  for (const group of state.open) group.entered = new Set(); // its items that use what is outside
  for (const edge of edges) {
    const [from, to] = [ancestors(edge.from), ancestors(edge.to)];
    let i = 0;
    while (from[i + 1] === to[i + 1]) i += 1;
    Object.assign(edge, { around: from[i], a: from[i + 1], b: to[i + 1] });
    for (const x of to.slice(i + 2)) x.parent.entered.add(x);
    if (!links.has(edge.around)) links.set(edge.around, []);
    links.get(edge.around).push(edge);
  }
  measure(top, links);
  place(top, 24, 16);
  return edges;
}

function ancestors(item) {
  const list = [];
  for (let x = item; x; x = x.parent) list.unshift(x);
  return list;
}

/** The box that stands for an op: the outermost folded module around it, or the op itself. */
function visible(item) {
  let shown = item;
  for (let x = item.parent; x; x = x.parent) if (!state.open.has(x)) shown = x;
  return shown;
}

function visibleEdges() {
  const shown = new Map(data.nodes.map((x) => [x.name, visible(x)]));
  const edges = new Map();
  for (const node of data.nodes) {
    for (const [, name] of node.inputs) {
      const [from, to] = [shown.get(name), shown.get(node.name)];
      if (!from || from === to) continue;
      const key = `${order(from)} ${order(to)}`;
      if (!edges.has(key)) edges.set(key, { from, to });
    }
  }
  return [...edges.values()];
}

const order = (item) => (item.group ? item.nodes[0].index + 0.5 : item.index);

function measure(item, links) {
  if (!item.group || !state.open.has(item)) {
    Object.assign(item, { w: BOX.width, h: BOX.height, port: BOX.width / 2, grid: null });
    return;
  }
  for (const child of item.children) measure(child, links);
  const own = links.get(item) ?? [];
  item.grid = inRows(item.children, own);
  markAside(item, own);
  const above = new Map(item.children.map((x) => [x, []]));
  for (const { a, b } of own) above.get(b).push(a);
  for (const [x, used] of above) {
    const next = used.filter((y) => y.row === x.row - 1);
    if (next.length) above.set(x, next);
  }
  item.grid.forEach((line) => across(line, above));
  const left = Math.min(...item.children.map((x) => x.x));
  const right = Math.max(...item.children.map((x) => x.x + x.w));
  const lanes = takeLanes(own);
  let y = GAP.head;
  for (const line of item.grid) {
    for (const child of line) Object.assign(child, { x: child.x - left + GAP.pad, y });
    y += Math.max(...line.map((x) => x.h)) + GAP.y;
  }
  item.laneStart = right - left + GAP.pad + 14;
  item.w = right - left + 2 * GAP.pad + (lanes ? 8 + lanes * GAP.lane : 0);
  item.h = y - GAP.y + GAP.pad;
  const first = item.grid[item.start][0];
  item.port = first.x + first.port;
}

function inRows(items, links) {
  const users = new Map(items.map((x) => [x, []]));
  const used = new Map(items.map((x) => [x, []]));
  for (const { a, b } of links) {
    users.get(a).push(b);
    used.get(b).push(a);
  }
  const layer = new Map();
  for (const x of items) layer.set(x, Math.max(-1, ...used.get(x).map((y) => layer.get(y))) + 1);
  for (const x of [...items].reverse()) {
    if (used.get(x).length || !users.get(x).length) continue;
    layer.set(x, Math.min(...users.get(x).map((y) => layer.get(y))) - 1);
  }
  const lines = [];
  for (const x of items) (lines[layer.get(x)] ??= []).push(x);
  const rows = [];
  for (const line of lines) {
    for (let i = 0; i < (line?.length ?? 0); i += WIDEST) rows.push(line.slice(i, i + WIDEST));
  }
  rows.forEach((line, row) => {
    for (const x of line) Object.assign(x, { row, end: x === line.at(-1) });
  });
  return rows;
}

/** What only prepares an argument, such as weights joined, stands beside the way down. */
function markAside(group, links) {
  const { entered } = group;
  const fed = new Set([...entered, ...links.map((x) => x.b)]); // by any op at all
  const busy = new Set([...entered, ...links.filter((x) => fed.has(x.a)).map((x) => x.b)]);
  const needed = new Set(links.map((x) => x.a));
  const first = new Set(links.filter((x) => !busy.has(x.b)).map((x) => x.a));
  for (const x of group.children) {
    x.aside = needed.has(x) && !fed.has(x) && !first.has(x);
    if (x.aside && !x.grid) Object.assign(x, { w: BOX.narrow, port: BOX.narrow / 2 });
  }
  group.start = group.grid.findIndex((line) => line.some((x) => !x.aside));
}

/** Side by side, and as close below what they use as that allows. */
function across(line, above) {
  const wanted = line.map((x) => {
    const straight = above.get(x).filter((y) => !y.aside);
    const ports = straight.map((y) => y.x + y.port);
    if (ports.length) return sum(ports, (p) => p) / ports.length - x.port;
    return above.get(x).length ? -x.port : null;
  });
  if (line[0].aside) { // the way down stays free
    let left = BOX.width / 2 + GAP.x;
    for (const x of line) {
      x.x = left;
      left += x.w + GAP.x;
    }
    return;
  }
  const fixed = wanted.findIndex((x) => x !== null);
  if (fixed > 0) { // what follows from above comes first, what has no source stands beside it
    const [item] = line.splice(fixed, 1);
    line.unshift(item);
    wanted.unshift(...wanted.splice(fixed, 1));
    line.forEach((x) => (x.end = x === line.at(-1)));
  }
  let right = -Infinity;
  const drift = [];
  line.forEach((x, i) => {
    x.x = Math.max(right + GAP.x, wanted[i] ?? (i ? -Infinity : -x.port));
    right = x.x + x.w;
    if (wanted[i] !== null) drift.push(x.x - wanted[i]);
  });
  const shift = drift.length ? sum(drift, (d) => d) / drift.length : (line[0].x + right) / 2;
  for (const x of line) x.x -= shift;
}

/** Give each source of long edges a lane that is free all the way; returns how many there are. */
function takeLanes(links) {
  const bySource = new Map();
  for (const edge of links) {
    edge.direct = edge.b.row === edge.a.row + 1 && bottommost(edge) && topmost(edge);
    if (edge.direct) continue;
    if (!bySource.has(edge.from)) bySource.set(edge.from, []);
    bySource.get(edge.from).push(edge);
  }
  const free = []; // of each lane, the row from which on it is
  const spans = [...bySource.values()].map((edges) => ({
    edges,
    start: edges[0].a.row,
    stop: Math.max(...edges.map((x) => x.b.row)),
  }));
  spans.sort((x, y) => x.start - y.start || x.stop - y.stop);
  for (const { edges, start, stop } of spans) {
    let lane = free.findIndex((row) => row <= start);
    if (lane < 0) lane = free.push(0) - 1;
    free[lane] = stop;
    for (const edge of edges) edge.lane = lane;
  }
  return free.length;
}

function bottommost({ from, a }) {
  for (let x = from; x !== a; x = x.parent) if (x.row < x.parent.grid.length - 1) return false;
  return true;
}

function topmost({ to, b }) {
  for (let x = to; x !== b; x = x.parent) if (x.row > x.parent.start || x.aside) return false;
  return true;
}

function place(item, x, y) {
  Object.assign(item, { left: x, top: y });
  if (item.grid) for (const child of item.children) place(child, x + child.x, y + child.y);
}

// ---- the ways of edges ----

function pathOf({ from, to, around, a, b, direct, lane }) {
  const end = { x: to.left + (to.grid ? to.port : to.w / 2), y: to.top };
  const start = { x: from.left + from.w / 2, y: from.top + from.h };
  if (direct) {
    if (Math.abs(start.x - end.x) < 1) return `M${start.x} ${start.y}V${end.y - 2}`;
    const middle = (start.y + end.y) / 2;
    return `M${start.x} ${start.y}C${start.x} ${middle} ${end.x} ${middle} ${end.x} ${end.y - 2}`;
  }
  const x = around.left + around.laneStart + lane * GAP.lane;
  const points = outermost(from, a)
    ? [[from.left + from.w, from.top + from.h * 0.68]]
    : [[start.x + 8, start.y], [start.x + 8, start.y + 9]];
  points.push([x, points.at(-1)[1]]);
  if (outermost(to, b)) {
    const y = to.top + to.h * 0.32;
    points.push([x, y], [to.left + to.w + 2, y]);
  } else {
    points.push([x, end.y - 10], [end.x + 8, end.y - 10], [end.x + 8, end.y - 2]);
  }
  return rounded(points);
}

/** Nothing stands between a box and the lanes at the right. */
function outermost(item, last) {
  for (let x = item; ; x = x.parent) {
    if (!x.end) return false;
    if (x === last) return true;
  }
}

function rounded(points) {
  let path = `M${points[0].join(" ")}`;
  for (let i = 1; i < points.length - 1; i += 1) {
    const [before, at, after] = points.slice(i - 1, i + 2);
    path += `L${towards(at, before)}Q${at.join(" ")} ${towards(at, after)}`;
  }
  return `${path}L${points.at(-1).join(" ")}`;
}

function towards([x, y], [to, into]) {
  const length = Math.hypot(to - x, into - y) || 1;
  const share = Math.min(7, length / 2) / length;
  return `${x + (to - x) * share} ${y + (into - y) * share}`;
}
