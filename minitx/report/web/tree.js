
// ---- the tree on the left: only the rows in sight are in the document ----

const ROW = 26;
const tree = byId("tree");
const canvasOfRows = el("div", { class: "rows", role: "presentation" });
tree.append(canvasOfRows);
let rows = [];

const longest = Math.max(...data.nodes.map(timeOf), 1e-12);
const norms = data.nodes.map(gradientOf).filter((x) => x > 0);
const highest = Math.max(...norms, 1e-300);
const lowest = Math.max(Math.min(...norms, highest), highest * 1e-8);

/** 0 to 1, by the logarithm of a gradient's norm. */
function gradientShare(x) {
  const norm = gradientOf(x);
  if (!(norm > 0)) return 0;
  return 0.06 + 0.94 * Math.max(0, Math.log(norm / lowest) / Math.log(highest / lowest || 1) || 0);
}

function timeShare(x) {
  return Math.min(1, timeOf(x) / (x.group ? timeOf(root) : longest) || 0);
}

/** What the tree lists: the unfolded part of it, or what a search found. */
function listRows() {
  rows = [];
  const found = search.value.trim() ? matches(search.value.trim()) : null;
  if (found) {
    rows = found;
  } else {
    (function add(item) {
      rows.push(item);
      if (item.group && state.open.has(item)) item.children.forEach(add);
    })(root);
  }
  byId("found").textContent = found ? `${found.length} found` : "";
  canvasOfRows.style.height = `${rows.length * ROW}px`;
  paintRows();
}

function paintRows() {
  const first = Math.max(0, Math.floor(tree.scrollTop / ROW) - 10);
  const last = Math.min(rows.length, first + Math.ceil(tree.clientHeight / ROW) + 20);
  canvasOfRows.replaceChildren(...rows.slice(first, last).map((x, i) => row(x, first + i)));
  const at = rows.indexOf(state.selected);
  if (at >= first && at < last) tree.setAttribute("aria-activedescendant", `row-${at}`);
  else tree.removeAttribute("aria-activedescendant");
}

function row(item, i) {
  const searching = Boolean(search.value.trim());
  const open = item.group && state.open.has(item);
  const element = el(
    "div",
    {
      id: `row-${i}`,
      class: `row${item === state.selected ? " selected" : ""}${item.group ? " group" : ""}`,
      style: `top:${i * ROW}px;padding-left:${searching ? 10 : 10 + 14 * item.depth}px`,
      role: "treeitem",
      title: item.group ? item.id : item.name,
      "aria-level": item.depth + 1,
      "aria-selected": item === state.selected,
      "aria-expanded": item.group && !searching ? open : undefined,
      onclick: (event) => {
        if (event.target.classList.contains("mark")) toggle(item);
        else select(item);
      },
      ondblclick: () => item.group && toggle(item),
    },
    el("span", { class: "mark" }, item.group && !searching ? (open ? "▾" : "▸") : ""),
    el("span", { class: "label" }, searching ? shortName(item) : item.label),
    el("span", { class: "kind" }, searching ? item.name.slice(0, -shortName(item).length - 1)
      : kindOf(item)),
    item.leaf ? null : bar("forward", timeShare(item)),
    bar("backward", gradientShare(item)),
  );
  return element;
}

function kindOf(item) {
  const kind = item.group ? (item.call > 1 ? `call ${item.call}` : item.cls) : item.op;
  return kind === item.label ? "" : kind;
}

const shortName = (item) => item.name.slice(item.name.lastIndexOf(".") + 1);

function bar(kind, share) {
  return el("span", { class: `bar ${kind}` }, el("i", { style: `width:${100 * share}%` }));
}

function showRow(item) {
  const i = rows.indexOf(item);
  if (i < 0) return;
  const top = i * ROW;
  if (top < tree.scrollTop + ROW) tree.scrollTop = top - ROW;
  const bottom = top + 2 * ROW - tree.clientHeight;
  if (bottom > tree.scrollTop) tree.scrollTop = bottom;
}

/** Ops, then leaves, that a pattern of the shell's fits, or whose names have such a part. */
function matches(text) {
  const everything = [...data.nodes, ...data.leaves];
  if (!/[*?]/.test(text)) {
    const part = text.toLowerCase();
    return everything.filter((x) => x.name.toLowerCase().includes(part));
  }
  const escaped = text.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  const pattern = new RegExp(`^${escaped.replace(/\*/g, ".*").replace(/\?/g, ".")}$`, "i");
  return everything.filter((x) => pattern.test(x.name));
}

tree.addEventListener("scroll", paintRows);
