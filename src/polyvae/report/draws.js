// Choose a row and what is given, and see what each method draws of the rest; without scripts, the strips show some of it.
for (const place of document.querySelectorAll(".ask")) {
  const { columns, given, chosen, names, members } = JSON.parse(place.querySelector("script").textContent);
  const [rows, sets] = place.querySelectorAll("fieldset"), answers = place.querySelector(".answers");
  const make = (tag, fields, ...parts) => {
    const element = Object.assign(document.createElement(tag), fields);
    element.append(...parts);
    return element;
  };
  const drawing = (tag, attributes) => { // no markup is built from text: ids and names come from the store
    const element = document.createElementNS(document.querySelector("svg").namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const cell = (member, name, line, column) => {
    if (!Object.hasOwn(member.sheets, name)) return make("span", { className: "text" }, member.texts[name][line][column]);
    const [id, across, down] = member.sheets[name];
    const viewBox = `${column * across + 1} ${line * down + 1} ${across - 1} ${down - 1}`;
    const svg = drawing("svg", { viewBox, "aria-hidden": "true" });
    svg.append(drawing("use", { href: `#${id}` }));
    return svg;
  };
  const pick = (field, value, ...parts) => {
    const kind = `${field.className}-${[...document.querySelectorAll(".ask")].indexOf(place)}`;
    field.append(make("label", {}, make("input", { type: "radio", name: kind, value, checked: value === 0 }), ...parts));
  };
  const named = (list) => list.join(", ").replace(/, ([^,]*)$/, " and $1");
  const answer = (label, method, asked, cells) => {
    const row = make("tr", {}, make("th", { scope: "row" }, label), ...asked.map((name) => make("td", {}, ...cells(name))));
    if (method) row.dataset.method = method;
    return row;
  };
  const show = () => {
    const row = +rows.querySelector(":checked").value, known = given[+sets.querySelector(":checked").value];
    const asked = names.filter((name) => !known.includes(name));
    const title = known.length ? `${named(asked)} given ${named(known)} of row ${row + 1}` : `joint samples of ${named(asked)}`;
    for (const part of rows.querySelectorAll("[data-name]")) part.classList.toggle("known", known.includes(part.dataset.name));
    const drawn = (member, name) => {
      const first = 1 + member.draws * given.filter((set) => !set.includes(name)).indexOf(known);
      return Array.from({ length: member.draws }, (_, i) => cell(member, name, first + i, row));
    };
    answers.replaceChildren(make("table", {},
      make("caption", {}, title),
      make("thead", {}, make("tr", {}, ...["", ...asked].map((name) => make("th", { scope: "col" }, name)))),
      make("tbody", {},
        ...(known.length ? [answer("in the data", "", asked, (name) => [cell(members[0], name, 0, row)])] : []),
        ...members.map((member) => answer(member.label, member.method, asked, (name) => drawn(member, name))))));
    apply();
  };
  for (let row = 0; row < columns; row++) {
    const parts = names.map((name) => cell(members[0], name, 0, row));
    parts.forEach((part, i) => (part.dataset.name = names[i]));
    pick(rows, row, ...parts);
  }
  given.forEach((set, i) => pick(sets, i, set.length ? set.join(" + ") : "nothing"));
  sets.querySelectorAll("input")[chosen].checked = true;
  place.addEventListener("change", show);
  place.hidden = false;
  show();
}
