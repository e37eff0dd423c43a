// Search, filters and order of a table of steps; its rows are in the page already, worst first.

function stepListing(listing) {
  const form = listing.querySelector("form");
  const body = listing.querySelector("tbody");
  const rows = [...body.rows].map((row) => ({
    row,
    order: Number(row.cells[0].textContent),
    text: row.cells[1].textContent.toLowerCase(),
    phase: row.cells[2].textContent,
    status: row.cells[3].textContent,
  }));
  const search = form.querySelector("input[type=search]");
  const chosen = (name) => form.querySelector(`[data-filter="${name}"]`)?.value ?? "";
  let order = "worst";

  function sort() {
    if (order === chosen("order")) return;
    order = chosen("order");
    const sorted = order === "depth" ? [...rows].sort((a, b) => a.order - b.order) : rows;
    body.append(...sorted.map((one) => one.row));
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const [status, phase] = [chosen("status"), chosen("phase")];
    let left = 0;
    for (const one of rows) {
      const fits = (!status || one.status === status) && (!phase || one.phase === phase) && words.every((word) => one.text.includes(word));
      one.row.hidden = !fits;
      left += fits;
    }
    form.querySelector("output").textContent = `${left.toLocaleString("en")} of ${rows.length.toLocaleString("en")} steps`;
    sort();
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", filter);
  form.hidden = false;
  filter();
}
