
// ---- Python in colour ----

const KEYWORDS = `
  and as assert break class continue def del elif else except finally for from global if import in
  is lambda nonlocal not or pass raise return try while with yield None True False
`.trim().split(/\s+/);
const PYTHON = new RegExp(
  [
    /(?<comment>#[^\n]*)/,
    /(?<string>[rbf]{0,2}(?:"""[\s\S]*?"""|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))/,
    new RegExp(`(?<keyword>\\b(?:${KEYWORDS.join("|")})\\b)`),
    /(?<number>\b\d[\w.]*)/,
    /(?<decorator>^[ \t]*@[\w.]+)/,
  ].map((x) => x.source).join("|"),
  "gm",
);

function python(text) {
  const code = el("code");
  let end = 0;
  for (const match of text.matchAll(PYTHON)) {
    const [kind] = Object.entries(match.groups).find(([, value]) => value !== undefined);
    code.append(text.slice(end, match.index), el("span", { class: `py-${kind}` }, match[0]));
    end = match.index + match[0].length;
  }
  code.append(text.slice(end));
  return el("pre", { tabindex: 0 }, code);
}

/** A heading that opens; what is inside is made when it first does. */
function folded(title, make, open = false) {
  const details = el("details", { class: "more" }, el("summary", {}, title));
  const show = () => details.open && details.children.length === 1 && details.append(make());
  details.addEventListener("toggle", show);
  details.open = open;
  show();
  return details;
}

/** What the op computes, and how its pullback is written. */
function sourceOf(op) {
  const told = data.ops[op];
  if (!told) return [];
  const [first, ...rest] = told.doc.split("\n\n");
  return [
    told.doc && el("p", { class: "doc" }, marked(first)),
    rest.length > 0 && el("p", { class: "doc rest" }, marked(rest.join("\n\n"))),
    told.formula && el("pre", { class: "formula" }, told.formula),
    told.pullback && python(told.pullback),
    told.source && folded(`The whole op, ${op}`, () => python(told.source)),
    told.helpers.length > 0 && el("p", { class: "note" }, "What it calls, in plain NumPy:"),
    ...told.helpers.map(([name, code]) => folded(name, () => python(code))),
  ];
}

/** ``Names`` in a docstring. */
function marked(text) {
  return text.split("``").map((part, i) => (i % 2 ? el("code", {}, part) : part));
}
