
// ---- run.html#selftest clicks through the page and writes what it found into the document ----

if (location.hash === "#selftest") {
  const results = {};
  const press = (key, target = document.activeElement) =>
    target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  const check = (name, test) => {
    try {
      results[name] = Boolean(test());
    } catch (error) {
      results[name] = String(error);
    }
  };
  const group = root.children.find((x) => x.group);
  const shown = () => details.querySelector("h2").textContent;

  check("the whole run is shown first", () => shown() === data.title && laid.length > 1);
  if (group) {
    check("a click on a folded box selects it, a second unfolds it", () => {
      boxes.get(group).click();
      const selected = shown() === group.label;
      boxes.get(group).click();
      return selected && state.open.has(group) && boxes.has(group.children[0]);
    });
    check("a click on its frame folds it again", () => {
      boxes.get(group).querySelector("button").click();
      return !state.open.has(group) && !boxes.has(group.children[0]);
    });
    check("the tree's mark unfolds", () => {
      tree.querySelector(`#row-${rows.indexOf(group)} .mark`).click();
      return state.open.has(group) && rows.includes(group.children[0]);
    });
    check("arrow keys unfold, enter, leave and fold", () => {
      select(group);
      tree.focus();
      press("ArrowLeft");
      const folded = !state.open.has(group);
      press("ArrowRight");
      press("ArrowRight");
      const entered = state.selected === group.children[0];
      press("ArrowLeft");
      return folded && entered && state.selected === group;
    });
  }
  check("arrow keys go down and up", () => {
    select(root);
    press("ArrowDown", tree);
    const down = state.selected === root.children[0];
    press("ArrowUp", tree);
    return down && state.selected === root;
  });
  check("every op shows its numbers, pullback and lines", () =>
    data.nodes.slice(0, 40).every((node) => {
      select(node);
      const text = details.textContent;
      return text.includes(node.shape) && text.includes("Called from") && boxes.has(node);
    }));
  check("inputs can be followed, and b goes back", () => {
    const node = data.nodes.find((x) => x.inputs.length);
    select(node);
    const [, name] = node.inputs[0];
    [...details.querySelectorAll("button.link")].find((x) => x.textContent === name).click();
    const followed = state.selected === records.get(name);
    press("b", tree);
    return followed && state.selected === node;
  });
  check("a search finds by part and by pattern, escape ends it", () => {
    press("/", tree);
    const focused = document.activeElement === search;
    const find = (text) => {
      search.value = text;
      search.dispatchEvent(new Event("input"));
      return rows.length;
    };
    const { op } = data.nodes.at(-1);
    const part = find(op);
    const pattern = find(`*${op}`);
    const nothing = find("no such op");
    press("Escape", search);
    return focused && part > 0 && pattern > 0 && nothing === 0 && rows.includes(root);
  });
  check("everything unfolds and folds", () => {
    unfoldAll(true);
    const all = new Set(laid);
    unfoldAll(false);
    return data.nodes.every((x) => all.has(x)) && laid.length === 1 + root.children.length;
  });
  check("dark and light", () => {
    const ink = () => getComputedStyle(document.body).color;
    const [before, was] = [ink(), dark()];
    byId("theme").click();
    const changed = ink() !== before && dark() !== was;
    press("d", tree);
    return changed && ink() === before;
  });
  const [attention] = Object.keys(data.maps);
  if (attention) {
    check("a head is chosen by a click and by keys", () => {
      select(records.get(attention));
      const heads = [...details.querySelectorAll("button.head")];
      const pressed = () => heads.findIndex((x) => x.getAttribute("aria-pressed") === "true");
      heads.at(-1).click();
      const last = pressed() === heads.length - 1;
      heads.at(-1).focus();
      press("ArrowLeft");
      return last && pressed() === Math.max(0, heads.length - 2);
    });
  }
  check("nothing but this file is needed", () =>
    performance.getEntriesByType("resource").every((x) => x.name.startsWith("data:")));
  document.body.append(el("pre", { id: "results" }, JSON.stringify(results)));
}
