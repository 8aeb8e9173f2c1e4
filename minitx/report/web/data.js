"use strict";

// The data, and the tree of modules in order of execution that everything else draws.

const data = JSON.parse(document.getElementById("data").textContent);
const records = new Map();
data.leaves.forEach((x) => Object.assign(x, { leaf: true, depth: 0, users: [] }));
data.nodes.forEach((x, index) => Object.assign(x, { index, users: [] }));
for (const x of [...data.leaves, ...data.nodes]) records.set(x.name, x);
for (const x of data.nodes) {
  x.forwardTime = Number(x.forward) || 0;
  x.backwardTime = Number(x.backward) || 0;
  for (const [argument, name] of x.inputs) records.get(name)?.users.push([argument, x.name]);
}

// A group is one call of a module: what ran from entering it to leaving it.
const root = newGroup("", null);
buildTree();
tally(root);

function newGroup(path, parent) {
  const count = (newGroup.calls ??= new Map()).get(path) ?? 0;
  newGroup.calls.set(path, count + 1);
  const above = parent && parent.path ? parent.path.length + 1 : 0;
  const group = { group: true, path, parent, children: [], cls: data.modules[path]?.[0] ?? "" };
  group.id = count ? `${path} (call ${count + 1})` : path;
  group.label = path.slice(above) || data.title;
  group.call = count + 1;
  return group;
}

/** The modules around an op, the outermost first, each with the number of its call. */
function modulesAround({ path, calls }) {
  const parts = path ? path.split(".") : [];
  const around = parts.map((_, i) => ({ path: parts.slice(0, i + 1).join("."), call: calls[i] }));
  return around.filter((x) => Object.hasOwn(data.modules, x.path));
}

/** Whether an op still belongs to a group: a call that begins as the group did is another. */
function goesOn(group, { path, call }, node) {
  if (group?.path !== path) return false;
  const again = group.entered !== call && String(node.lines) === String(group.lines);
  group.entered = call;
  return !again;
}

function buildTree() {
  let open = [root];
  for (const node of data.nodes) {
    const wanted = modulesAround(node);
    let depth = 0;
    while (depth < wanted.length && goesOn(open[depth + 1], wanted[depth], node)) depth += 1;
    open = open.slice(0, depth + 1);
    for (const { path, call } of wanted.slice(depth)) {
      const parent = open.at(-1);
      const group = Object.assign(newGroup(path, parent), { entered: call, lines: node.lines });
      parent.children.push(group);
      open.push(group);
    }
    node.parent = open.at(-1);
    node.label = node.name.slice(node.path ? node.path.length + 1 : 0);
    node.parent.children.push(node);
  }
  simplify(root);
}

/** A module that is a single op is drawn as that op, under the module's name. */
function simplify(group) {
  group.children = group.children.map((child) => {
    if (!child.group) return child;
    simplify(child);
    const [only] = child.children;
    if (child.children.length > 1 || only.group) return child;
    only.parent = group;
    only.label = child.label + (child.call > 1 ? ` · ${child.call}` : "");
    only.cls = child.cls;
    return only;
  });
}

/** Times and gradients of groups, the ops within them, and the path from the root to each. */
function tally(item) {
  item.depth = item.parent ? item.parent.depth + 1 : 0;
  if (!item.group) return [item];
  item.nodes = item.children.flatMap(tally);
  item.forwardTime = sum(item.nodes, (x) => x.forwardTime);
  item.backwardTime = sum(item.nodes, (x) => x.backwardTime);
  item.bytes = sum(item.nodes, (x) => x.bytes);
  item.last = item.nodes.at(-1);
  return item.nodes;
}

function sum(list, value) {
  return list.reduce((total, x) => total + value(x), 0);
}

const timeOf = (x) => x.forwardTime + x.backwardTime;
const gradientOf = (x) => (x.group ? x.last : x).grad?.norm;

/** The parameters at or below a module. */
function parametersOf(path) {
  return data.leaves.filter((x) => x.op !== "input" && (!path || x.name.startsWith(path + ".")));
}

// ---- numbers as text ----

function number(x) {
  if (typeof x !== "number") return x === undefined ? "–" : String(x);
  const size = Math.abs(x);
  if (size === 0) return "0";
  const short = size >= 1e5 || size < 1e-3;
  const text = short ? x.toExponential(2).replace("e+", "e") : String(Number(x.toPrecision(4)));
  return text.replaceAll("-", "−");
}

function seconds(x) {
  if (x >= 1) return `${x.toPrecision(3)} s`;
  return x >= 1e-3 ? `${(x * 1e3).toPrecision(3)} ms` : `${Math.round(x * 1e6)} µs`;
}

function large(x) {
  for (const [size, unit] of [[1e9, " G"], [1e6, " M"], [1e3, " k"]]) {
    if (x >= size) return (x / size).toPrecision(3) + unit;
  }
  return String(x);
}

const percent = (x) => `${(100 * x).toFixed(x < 0.1 ? 1 : 0)} %`;

// ---- elements ----

/** el("p", {class: "note", onclick: f}, "text", child): an element; texts are never markup. */
function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((x) => x || x === 0));
  return element;
}

const byId = (id) => document.getElementById(id);

// ---- what is shown ----

const search = byId("search");
const details = byId("details");
const state = { selected: root, open: new Set([root]), head: 0, past: [] };
