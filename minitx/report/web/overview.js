
// ---- what is known of a module, or of the whole run ----

function overviewOf(group) {
  const parameters = parametersOf(group.path);
  const total = timeOf(group);
  const whole = timeOf(root) || 1;
  const gradient = section(
    "Gradients by depth",
    el("figure", {}, gradientsByDepth(group),
      el("figcaption", {}, "Norm of each op's gradient, in order of execution")),
    parametersByDepth(parameters),
  );
  return [
    group === root ? null : crumbs(group),
    el("h2", {}, group.label + (group.call > 1 ? `, call ${group.call}` : "")),
    el("p", { class: "facts" },
      group.cls && group.cls !== group.label ? [el("b", {}, group.cls), ", "] : "",
      `${group.nodes.length} ops, ${large(data.modules[group.path]?.[1] ?? 0)} parameters`,
      el("br"),
      group === root ? "" : `${percent(total / whole)} of the run: `,
      `forward ${seconds(group.forwardTime)}, backward ${seconds(group.backwardTime)}; `,
      `keeps ${large(group.bytes)}B`,
      group.last.shape === "scalar"
        ? [el("br"), link(group.last, group.last.label), ` = ${scalar(group.last)}`]
        : ""),
    alarms(group, parameters),
    gradient,
    section("Time", split(group), folded("By op", () => timeBars(byOp(group), total), true),
      group.children.some((x) => x.group) &&
        folded("By module", () => timeBars(byModule(group), total), true)),
    section("Attention", gallery(group)),
    section("Parameters", parameterTable(parameters, group.path)),
  ];
}

/** What should worry: numbers that are not finite, parameters that nothing used. */
function alarms(group, parameters) {
  const bad = (x) => x && (x.nan || x.inf);
  const first = group.nodes.find((x) => bad(x.value));
  const last = group.nodes.findLast((x) => bad(x.grad));
  const unused = parameters.filter((x) => x.op === "unused");
  return [
    first && el("p", { class: "alarm" }, "The first value that is not finite: ", link(first)),
    last && el("p", { class: "alarm" }, "The first gradient that is not finite: ", link(last)),
    unused.length > 0 && el("p", { class: "alarm" }, "Not used in this run: ",
      unused.slice(0, 8).map((x) => [link(x), " "]),
      unused.length > 8 ? `and ${unused.length - 8} more` : ""),
  ];
}

function split(group) {
  const total = timeOf(group) || 1;
  const part = (kind, time) => {
    const share = time / total;
    const name = share > 0.2 && `${kind} ${percent(share)}`;
    return el("i", { class: kind, style: `width:${100 * share}%` }, name);
  };
  return el("p", { class: "split" }, part("forward", group.forwardTime),
    part("backward", group.backwardTime));
}

function byOp(group) {
  const ops = new Map();
  for (const x of group.nodes) {
    const [forward, backward, count] = ops.get(x.op) ?? [0, 0, 0];
    ops.set(x.op, [forward + x.forwardTime, backward + x.backwardTime, count + 1]);
  }
  const list = [...ops].map(([op, [f, b, n]]) => [n > 1 ? `${op} ×${n}` : op, f, b, null]);
  return list.sort((x, y) => y[1] + y[2] - x[1] - x[2]);
}

function byModule(group) {
  return group.children
    .map((x) => [x.label, x.forwardTime, x.backwardTime, x])
    .sort((x, y) => y[1] + y[2] - x[1] - x[2])
    .slice(0, 40);
}

function parameterTable(parameters, path) {
  if (!parameters.length) return null;
  const head = ["", "shape", "norm", "gradient", ""];
  return el("table", { class: "names parameters" },
    el("tr", {}, head.map((x) => el("th", { scope: "col" }, x))),
    parameters.map((x) =>
      el("tr", {},
        el("th", { scope: "row" }, link(x, breakable(x.name.slice(path && path.length + 1)))),
        el("td", { class: "number" }, x.shape),
        el("td", { class: "number" }, number(x.value.norm)),
        el("td", { class: "number" }, x.grad ? number(x.grad.norm) : "none"),
        el("td", {}, bar("backward", gradientShare(x))))));
}
