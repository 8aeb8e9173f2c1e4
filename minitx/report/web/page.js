
// ---- what is shown, and what the reader may do ----

function select(item, remember = true) {
  if (remember && state.selected !== item) state.past.push(state.selected);
  state.selected = item;
  let folded = false;
  for (let x = item.parent; x; x = x.parent) {
    if (!state.open.has(x)) folded = Boolean(state.open.add(x));
  }
  if (folded) {
    drawGraph(null);
    listRows();
  } else {
    markSelected();
  }
  showRow(item);
  paintRows();
  showBox(item);
  details.replaceChildren(...detailsOf(item).flat().filter(Boolean));
  details.scrollTop = 0;
}

function toggle(group, open = !state.open.has(group)) {
  if (!group.group || group === root) return;
  if (open) state.open.add(group);
  else state.open.delete(group);
  drawGraph(group);
  listRows();
}

function unfoldAll(open) {
  const groups = [];
  (function add(x) {
    if (x.group) groups.push(x), x.children.forEach(add);
  })(root);
  state.open = new Set(open ? groups : [root]);
  if (!open && !state.selected.leaf) state.selected = visible(state.selected);
  drawGraph(null);
  listRows();
  select(state.selected, false);
}

// ---- dark and light ----

const preferred = matchMedia("(prefers-color-scheme: dark)");

function dark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : preferred.matches;
}

function setTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  try {
    if (theme) localStorage.setItem("minitx-theme", theme);
  } catch { /* a page from disk may have no storage */ }
  for (const canvas of document.querySelectorAll("canvas")) canvas.repaint?.();
}

try {
  const kept = localStorage.getItem("minitx-theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch { /* as above */ }
preferred.addEventListener("change", () => setTheme());

// ---- the width of the details ----

const divider = byId("divider");

function widen(width) {
  const side = Math.min(innerWidth - 500, Math.max(280, width));
  divider.parentNode.style.setProperty("--side", `${side}px`);
}

divider.addEventListener("pointerdown", (event) => divider.setPointerCapture(event.pointerId));
divider.addEventListener("pointermove", (event) => {
  if (divider.hasPointerCapture(event.pointerId)) widen(innerWidth - event.clientX);
});
divider.addEventListener("keydown", ({ key }) => {
  const by = { ArrowLeft: 40, ArrowRight: -40 }[key];
  if (by) widen(details.offsetWidth + by);
});

// ---- keys ----

function step(by) {
  const at = rows.indexOf(state.selected);
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + by))];
  if (next) select(next);
}

const KEYS = {
  ArrowDown: () => step(1),
  ArrowUp: () => step(-1),
  PageDown: () => step(20),
  PageUp: () => step(-20),
  Home: () => step(-Infinity),
  End: () => step(Infinity),
  ArrowRight() {
    const item = state.selected;
    if (!item.group) return;
    if (state.open.has(item)) select(item.children[0]);
    else toggle(item);
  },
  ArrowLeft() {
    const item = state.selected;
    if (item.group && state.open.has(item) && item !== root) toggle(item);
    else if (item.parent) select(item.parent);
  },
  Enter() {
    if (state.selected.group) toggle(state.selected);
    else details.focus();
  },
};

const ANYWHERE = {
  "/": () => (search.focus(), search.select()),
  d: () => setTheme(dark() ? "light" : "dark"),
  b: () => state.past.length && select(state.past.pop(), false),
  "?": () => byId("help").showModal(),
  "+": () => setZoom(zoom * 1.2),
  "=": () => setZoom(zoom * 1.2),
  "-": () => setZoom(zoom / 1.2),
  0: () => setZoom(1),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const typing = event.target.matches("input, select");
  const inside = (element) => element.contains(event.target);
  let action = typing ? undefined : ANYWHERE[event.key];
  if (event.key === "Escape") {
    action = () => {
      if (inside(search)) search.value = "";
      listRows();
      showRow(state.selected);
      tree.focus();
    };
  } else if (inside(search) && ["ArrowDown", "ArrowUp", "Enter"].includes(event.key)) {
    action = event.key === "Enter" ? () => (rows.includes(state.selected) || step(1), tree.focus())
      : KEYS[event.key];
  } else if (!action && (inside(tree) || inside(graph) || event.target === document.body)) {
    action = KEYS[event.key];
  }
  if (!action) return;
  event.preventDefault();
  action();
});

search.addEventListener("input", () => {
  tree.scrollTop = 0;
  listRows();
});
byId("unfold").addEventListener("click", () => unfoldAll(true));
byId("fold").addEventListener("click", () => unfoldAll(false));
byId("theme").addEventListener("click", () => setTheme(dark() ? "light" : "dark"));
byId("keys").addEventListener("click", () => byId("help").showModal());
addEventListener("resize", () => {
  paintRows();
  paintGraph();
});

byId("summary").textContent =
  `${data.nodes.length} ops, ${large(data.modules[""]?.[1] ?? 0)} parameters, ` +
  `${seconds(timeOf(root))}; minitx ${data.minitx}`;
drawGraph(null);
listRows();
select(root, false);
tree.focus({ preventScroll: true });
