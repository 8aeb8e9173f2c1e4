
// ---- small charts ----

const DECADES = 8; // of a logarithmic axis at most; what is smaller stands at its foot
const CHART = { width: 372, height: 132, left: 44, right: 8, top: 8, bottom: 20 };

/** How often each value occurs, between the smallest and the largest. */
function histogram(statistics, kind, caption) {
  const { bins } = statistics;
  const [width, height, base] = [372, 92, 74];
  const step = width / (bins?.length ?? 1);
  const most = Math.max(...(bins ?? [1]));
  const label = `${caption}, ${number(statistics.min)} to ${number(statistics.max)}`;
  const view = `0 0 ${width} ${height}`;
  const picture = svg("svg", { viewBox: view, role: "img", "aria-label": label });
  const [low, high] = [statistics.min, statistics.max];
  (bins ?? []).forEach((count, i) => {
    const tall = count ? Math.max(1, (count / most) * (base - 4)) : 0;
    const from = low + ((high - low) * i) / bins.length;
    const to = low + ((high - low) * (i + 1)) / bins.length;
    const bar = svg("rect", {
      x: i * step + 0.5, y: base - tall, width: step - 1, height: tall, class: kind,
    });
    bar.append(svg("title", {}, `${number(from)} to ${number(to)}: ${count}`));
    picture.append(bar);
  });
  picture.append(svg("path", { class: "axis", d: `M0 ${base}H${width}` }));
  if (low < 0 && high > 0) {
    const zero = (-low / (high - low)) * width;
    picture.append(svg("path", { class: "axis", d: `M${zero} ${base}v4` }));
    if (zero > 60 && zero < width - 60) picture.append(note(zero, height - 3, "0", "middle"));
  }
  picture.append(note(0, height - 3, number(low)), note(width, height - 3, number(high), "end"));
  const name = svg("text", { x: 0, y: 10, class: kind }, caption);
  picture.append(name);
  return el("figure", {}, picture);
}

function note(x, y, text, anchor = "start") {
  return svg("text", { x, y, "text-anchor": anchor }, text);
}

/** A frame with a logarithmic axis; ``draw(picture, x, y)`` gets the two scales. */
function logChart(values, count, label, draw) {
  const positive = values.filter((x) => x > 0);
  if (!positive.length) return el("p", { class: "none" }, "No gradient arrived.");
  const high = Math.ceil(Math.log10(Math.max(...positive)) + 1e-9);
  const low = Math.max(Math.floor(Math.log10(Math.min(...positive))), high - DECADES);
  const { width, height, left, right, top, bottom } = CHART;
  const span = Math.max(1, high - low);
  const x = (i) => left + ((i + 0.5) / count) * (width - left - right);
  const y = (v) => {
    const share = (Math.max(Math.log10(v), low) - low) / span;
    return height - bottom - share * (height - top - bottom);
  };
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, class: "chart",
  });
  const step = Math.ceil(span / 4);
  for (let power = low; power <= high; power += step) {
    const line = y(10 ** power);
    picture.append(svg("path", { class: "grid", d: `M${left} ${line}H${width - right}` }));
    const name = power === 0 ? "1" : `1e${power}`.replace("-", "−");
    picture.append(note(left - 6, line + 3.5, name, "end"));
  }
  draw(picture, x, y);
  return picture;
}

/** The gradient's norm at every op of a group, in order of execution. */
function gradientsByDepth(group) {
  const { nodes } = group;
  const values = nodes.map((x) => x.grad?.norm ?? 0);
  return logChart(values, nodes.length, "gradient norms by depth", (picture, x, y) => {
    const { height, bottom, top } = CHART;
    let start = 0;
    let shaded = false;
    for (const child of group.children) {
      const size = child.group ? child.nodes.length : 1;
      if (child.group && size > 1) {
        shaded = !shaded;
        const [from, to] = [x(start - 0.5), x(start + size - 0.5)];
        if (shaded) {
          const band = { x: from, y: top, width: to - from, height: height - top - bottom };
          picture.append(svg("rect", { ...band, class: "band" }));
        }
        const name = child.label.split(".").at(-1);
        if (to - from > 7 * name.length + 4) {
          picture.append(note((from + to) / 2, height - 6, name, "middle"));
        }
      }
      start += size;
    }
    const radius = Math.max(1.3, Math.min(3.5, 160 / nodes.length));
    nodes.forEach((node, i) => {
      if (!(values[i] > 0)) return;
      const dot = svg("circle", {
        cx: x(i), cy: y(values[i]), r: radius, class: "backward", onclick: () => select(node),
      });
      dot.append(svg("title", {}, `${node.name}: ${number(values[i])}`));
      picture.append(dot);
    });
  });
}

/** "blocks.3.mlp.up.weight" -> ["blocks", 3, "mlp.up.weight"] where a name counts layers. */
function layerOf(name) {
  const found = /^(.*?)\.?(?<![^.])(\d+)\.(.*)$/.exec(name);
  return found ? [found[1], Number(found[2]), found[3]] : null;
}

/** Each kind of parameter as a line over the layers, and the norm of all of a layer's together. */
function parametersByDepth(parameters) {
  const stacks = new Map();
  for (const parameter of parameters) {
    const place = layerOf(parameter.name);
    if (!place || !(parameter.grad?.norm > 0)) continue;
    const [stack, layer, kind] = place;
    if (!stacks.has(stack)) stacks.set(stack, new Map());
    const kinds = stacks.get(stack);
    if (!kinds.has(kind)) kinds.set(kind, []);
    kinds.get(kind).push([layer, parameter]);
  }
  return [...stacks].flatMap(([stack, kinds]) => {
    const count = Math.max(...[...kinds.values()].flat().map(([layer]) => layer)) + 1;
    if (count < 2) return [];
    const squares = new Array(count).fill(0);
    for (const [layer, x] of [...kinds.values()].flat()) squares[layer] += x.grad.norm ** 2;
    const whole = squares.map(Math.sqrt);
    const values = [...kinds.values()].flat().map(([, x]) => x.grad.norm);
    const caption = `Gradients of the parameters of ${stack || "layers"}, by layer; ` +
      "the thick line is all of a layer together";
    const chart = logChart([...values, ...whole], count, caption, (picture, x, y) => {
      for (const [kind, points] of kinds) {
        const path = points.map(([layer, p], i) => `${i ? "L" : "M"}${x(layer)} ${y(p.grad.norm)}`);
        const line = svg("path", { d: path.join(""), class: "series" });
        line.append(svg("title", {}, kind));
        picture.append(line);
        for (const [layer, p] of points) {
          const dot = svg("circle", {
            cx: x(layer), cy: y(p.grad.norm), r: 2, class: "series", onclick: () => select(p),
          });
          dot.append(svg("title", {}, `${p.name}: ${number(p.grad.norm)}`));
          picture.append(dot);
        }
      }
      const path = whole.map((v, i) => (v > 0 ? `${i ? "L" : "M"}${x(i)} ${y(v)}` : ""));
      picture.append(svg("path", { d: path.join("").replace(/^L/, "M"), class: "whole" }));
      const every = Math.ceil(count / 16);
      for (let i = 0; i < count; i += every) {
        picture.append(note(x(i), CHART.height - 6, String(i), "middle"));
      }
    });
    return [el("figure", {}, chart, el("figcaption", {}, caption))];
  });
}

/** Rows of [name, forward seconds, backward seconds, what to select]; the longest first. */
function timeBars(list, total) {
  const longest = Math.max(...list.map(([, f, b]) => f + b), 1e-12);
  return el(
    "table",
    { class: "times" },
    list.map(([name, forward, backward, item]) =>
      el(
        "tr",
        { title: `forward ${seconds(forward)}, backward ${seconds(backward)}` },
        el("th", { scope: "row" }, item ? link(item, name) : name),
        el(
          "td",
          { class: "length" },
          el("i", { class: "forward", style: `width:${(100 * forward) / longest}%` }),
          el("i", { class: "backward", style: `width:${(100 * backward) / longest}%` }),
        ),
        el("td", { class: "number" }, seconds(forward + backward)),
        el("td", { class: "number" }, percent((forward + backward) / (total || 1))),
      ),
    ),
  );
}

/** A name that selects what it names; it may be broken after its dots. */
function link(item, text = breakable(item.name)) {
  return el("button", { type: "button", class: "link", onclick: () => select(item) }, text);
}

function breakable(name) {
  return name.split(".").map((part, i) => (i ? [".", el("wbr"), part] : part));
}
