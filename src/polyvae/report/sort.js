// Click a column head to sort its table; without scripts the order is method, beta, seed.
for (const table of document.querySelectorAll("table.metrics")) {
  const value = (row, i) => row.cells[i].dataset.value ?? row.cells[i].textContent.trim();
  const compare = (a, b) => (isNaN(a) || isNaN(b) ? isNaN(a) - isNaN(b) || a.localeCompare(b) : a - b);
  table.querySelectorAll("thead th").forEach((head, i) => {
    head.tabIndex = 0;
    const sort = () => {
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
      head.ariaSort = sign > 0 ? "ascending" : "descending";
      const rows = [...table.tBodies[0].rows];
      table.tBodies[0].append(...rows.sort((a, b) => sign * compare(value(a, i), value(b, i))));
    };
    head.addEventListener("click", sort);
    head.addEventListener("keydown", (event) => event.key === "Enter" && sort());
  });
}
