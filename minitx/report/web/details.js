
// ---- what is known of one op or parameter ----

function section(title, ...content) {
  const shown = content.flat().filter(Boolean);
  return shown.length ? el("section", {}, el("h3", {}, title), shown) : null;
}

function detailsOf(item) {
  if (item.group) return overviewOf(item);
  const { value, grad } = item;
  return [
    crumbs(item),
    el("h2", {}, item.leaf ? item.name : item.label),
    el("p", { class: "facts" }, facts(item)),
    section(
      "Numbers",
      table(value, grad),
      value.bins && histogram(value, "forward", "value"),
      grad?.bins && histogram(grad, "backward", "gradient"),
    ),
    data.maps[item.name] && section("Attention", attentionOf(item)),
    !item.leaf && section("Inputs", names(item.inputs)),
    section("Used by", names(item.users, true)),
    !item.leaf && section("Pullback", sourceOf(item.op)),
    item.lines && !item.leaf && section("Called from", calls(item)),
    item.saved && section("Saved for the pullback", pairs(item.saved)),
    item.options && section("Arguments", pairs(item.options)),
  ];
}

/** The modules around, each to be selected. */
function crumbs(item) {
  const around = [];
  for (let x = item.parent; x; x = x.parent) around.unshift(x);
  if (item.leaf) around.push(root);
  return el("p", { class: "crumbs" }, around.map((x) => [link(x, x.label), " › "]));
}

function facts(item) {
  const parts = [el("b", {}, item.op), ` ${item.dtype} ${item.shape}`];
  if (item.shape === "scalar") parts.push(` = ${scalar(item)}`);
  if (item.op === "unused") parts[0] = el("b", {}, "parameter, not used in this run");
  if (!item.leaf) {
    parts.push(
      el("br"),
      `forward ${seconds(item.forwardTime)}, backward ${seconds(item.backwardTime)}, `,
      `${percent(timeOf(item) / (timeOf(root) || 1))} of the run; keeps ${large(item.bytes)}B`,
    );
  }
  return parts;
}

const scalar = ({ value }) => (value.nan ? "NaN" : value.inf ? "infinite" : number(value.mean));

function table(value, grad) {
  const names = { norm: "norm", mean: "mean", std: "std", min: "min", max: "max", zeros: "zeros" };
  if (value.nan || grad?.nan) names.nan = "NaN";
  if (value.inf || grad?.inf) names.inf = "infinite";
  const told = (x, key) => (key === "zeros" && typeof x[key] === "number" ? percent(x[key])
    : number(x[key] ?? (key === "nan" || key === "inf" ? 0 : undefined)));
  return el(
    "table",
    { class: "numbers" },
    el("tr", {}, el("td"), el("th", { scope: "col" }, "value"),
      el("th", { scope: "col" }, grad ? "gradient" : "no gradient")),
    Object.entries(names).map(([key, name]) =>
      el(
        "tr",
        { class: key === "nan" || key === "inf" ? "alarm" : undefined },
        el("th", { scope: "row" }, name),
        el("td", {}, told(value, key)),
        el("td", {}, grad ? told(grad, key) : ""),
      ),
    ),
  );
}

function names(list, short = false) {
  const shown = list.slice(0, 40).map(([argument, name]) => {
    const item = records.get(name);
    const text = short ? `as ${argument}` : argument;
    return el("tr", {}, el("th", { scope: "row" }, text), el("td", {}, link(item)),
      el("td", { class: "number" }, item.shape));
  });
  if (!shown.length) return null;
  const more = list.length > 40 ? el("p", {}, `and ${list.length - 40} more`) : null;
  return [el("table", { class: "names" }, shown), more];
}

function pairs(values) {
  return el("table", { class: "names" }, Object.entries(values).map(([name, text]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, text))));
}

/** The lines of the model that led to the op, the outermost first. */
function calls(item) {
  return el("ol", { class: "calls" }, item.lines.map((i) => {
    const [place, inside, text] = data.lines[i];
    const line = python(text || "(source not found)");
    line.tabIndex = -1;
    return el("li", {}, el("span", {}, place, el("em", {}, ` in ${inside}`)), line);
  }).reverse());
}
