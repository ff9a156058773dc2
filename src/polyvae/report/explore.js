// Hover and filters; the page is complete without them. The choice is kept in the address: #method=mvae,mopoe&beta=1
const marks = JSON.parse(document.getElementById("marks").textContent);
const tip = document.getElementById("tip");
for (const element of document.querySelectorAll("svg g[id*='mark-']")) {
  const { method, beta, text } = marks[element.id.match(/mark-\d+$/)[0]];
  element.dataset.method = method;
  if (beta) element.dataset.beta = beta;
  if (!text.length) continue;
  element.classList.add("mark");
  const show = (event) => {
    tip.replaceChildren(...text.map((line) => Object.assign(document.createElement("div"), { textContent: line })));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
    tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 12 : event.clientY + 18}px`;
  };
  element.addEventListener("pointerenter", show);
  element.addEventListener("pointermove", show);
  element.addEventListener("pointerleave", () => (tip.hidden = true));
}
const boxes = [...document.querySelectorAll("#filters input")];
const apply = () => {
  for (const kind of ["data", "method", "beta"]) {
    const off = new Set(boxes.filter((box) => box.name === kind && !box.checked).map((box) => box.value));
    for (const element of document.querySelectorAll(`[data-${kind}]`)) element.classList.toggle(`off-${kind}`, off.has(element.dataset[kind]));
  }
};
const read = () => {
  const wanted = new URLSearchParams(location.hash.slice(1));
  for (const box of boxes) box.checked = !wanted.has(box.name) || wanted.get(box.name).split(",").includes(box.value);
  apply();
};
const write = () => {
  const parts = [...new Set(boxes.map((box) => box.name))].flatMap((name) => {
    const all = boxes.filter((box) => box.name === name), on = all.filter((box) => box.checked);
    return on.length === all.length ? [] : [`${name}=${on.map((box) => box.value).join(",")}`];
  });
  history.replaceState(null, "", parts.length ? `#${parts.join("&")}` : location.pathname);
  apply();
};
for (const box of boxes) box.addEventListener("change", write);
if (location.hash.includes("=")) read();
addEventListener("hashchange", () => location.hash.includes("=") && read());
