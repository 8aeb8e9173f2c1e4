
// ---- attention: who looks at whom ----

/** The bytes of all of an op's maps, decoded when first needed. */
function bytesOf(maps) {
  if (!maps.bytes) {
    const text = atob(maps.data);
    maps.bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) maps.bytes[i] = text.charCodeAt(i);
  }
  return maps.bytes;
}

function paintMap(canvas, maps, example, head) {
  const { rows, columns } = maps;
  const bytes = bytesOf(maps);
  const start = (example * maps.heads + head) * rows * columns;
  canvas.width = columns;
  canvas.height = rows;
  const [red, green, blue] = dark() ? [142, 184, 255] : [36, 76, 150];
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const pixels = image.data;
  for (let i = 0; i < rows * columns; i += 1) {
    pixels[4 * i] = red;
    pixels[4 * i + 1] = green;
    pixels[4 * i + 2] = blue;
    pixels[4 * i + 3] = bytes[start + i];
  }
  context.putImageData(image, 0, 0);
  canvas.repaint = () => paintMap(canvas, maps, example, head);
}

/** The weight that a byte stands for. */
function weightAt(maps, example, head, row, column) {
  const place = ((example * maps.heads + head) * maps.rows + row) * maps.columns + column;
  return maps.peak * (bytesOf(maps)[place] / 255) ** 2;
}

/** One head in large, all of them in small; arrow keys go from head to head. */
function attentionOf(node) {
  const maps = data.maps[node.name];
  let [example, head] = [0, Math.min(state.head, maps.heads - 1)];
  const big = el("canvas", { class: "map", role: "img" });
  const readout = el("p", { class: "readout" });
  const thumbs = Array.from({ length: maps.heads }, (_, i) =>
    el(
      "button",
      { type: "button", class: "head", "aria-label": `Head ${i}`, onclick: () => show(example, i) },
      el("canvas"),
      el("span", {}, String(i)),
    ),
  );
  const grid = el(
    "div",
    { class: "heads", role: "group", "aria-label": "Heads", onkeydown: move },
    thumbs,
  );
  const choice = el(
    "select",
    { "aria-label": "Example of the batch", onchange: () => show(Number(choice.value), head) },
    Array.from({ length: maps.examples }, (_, i) => el("option", { value: i }, `example ${i}`)),
  );

  function show(newExample, newHead) {
    const all = newExample !== example || !thumbs[0].firstChild.repaint;
    [example, head] = [newExample, newHead];
    state.head = head;
    paintMap(big, maps, example, head);
    big.setAttribute("aria-label", `Attention of head ${head}`);
    thumbs.forEach((thumb, i) => {
      if (all) paintMap(thumb.firstChild, maps, example, i);
      thumb.setAttribute("aria-pressed", i === head);
    });
    readout.textContent = `Head ${head}: a row for each query, a column for each key; ` +
      `full colour is ${number(Number(maps.peak.toPrecision(3)))}.${reduced(maps)}`;
  }

  function move(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 6, ArrowUp: -6 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const at = thumbs.indexOf(event.target.closest("button"));
    show(example, Math.min(maps.heads - 1, Math.max(0, at + step)));
    thumbs[head].focus();
  }

  big.addEventListener("mousemove", (event) => {
    const row = Math.floor((event.offsetY / big.clientHeight) * maps.rows);
    const column = Math.floor((event.offsetX / big.clientWidth) * maps.columns);
    if (row < 0 || column < 0 || row >= maps.rows || column >= maps.columns) return;
    const query = place(example, row, maps.queries, maps.rows);
    const key = place(example, column, maps.keys, maps.columns);
    const weight = weightAt(maps, example, head, row, column);
    readout.textContent = `Head ${head}: query ${query} looks at key ${key}: ${number(weight)}`;
  });
  function place(which, i, length, shown) {
    const at = Math.floor(i * Math.ceil(length / shown));
    const token = data.tokens[which]?.[at];
    return token === undefined ? String(at) : `${at} ${JSON.stringify(token)}`;
  }
  show(example, head);
  return el("div", {}, big, readout, maps.examples > 1 ? choice : null, grid);
}

function reduced({ rows, columns, queries, keys }) {
  if (rows === queries && columns === keys) return "";
  return ` ${queries} × ${keys} drawn as ${rows} × ${columns}, the largest weight of each patch.`;
}

/** Paints a canvas when it first comes into sight. */
const whenSeen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    whenSeen.unobserve(target);
    target.paint();
  }
});

/** Every head of every attention of a group, a row each. */
function gallery(group) {
  const nodes = group.nodes.filter((x) => data.maps[x.name]);
  return nodes.map((node) => {
    const maps = data.maps[node.name];
    const heads = Array.from({ length: maps.heads }, (_, head) => {
      const canvas = el("canvas");
      canvas.paint = () => paintMap(canvas, maps, 0, head);
      whenSeen.observe(canvas);
      const choose = () => {
        state.head = head;
        select(node);
      };
      const label = `${node.name}, head ${head}`;
      const properties = { type: "button", title: label, "aria-label": label, onclick: choose };
      return el("button", properties, canvas);
    });
    const name = node.path.replace(/\.(self_)?attention$/, "") || node.name;
    const size = Math.max(20, Math.min(42, Math.floor(296 / maps.heads) - 3));
    return el("div", { class: "layer-heads" }, link(node, name),
      el("div", { style: `--head:${size}px` }, heads));
  });
}
