"use strict";
(() => {
  const said = document.getElementById("said");

  // Sorting by keys, where a column has none by text; what has neither stays last.
  const keysOf = (rows, column) => {
    const keys = rows.map((row) => row.cells[column].dataset.key ?? null);
    if (keys.some((key) => key !== null)) return keys;
    return rows.map((row) => row.cells[column].textContent.trim() || null);
  };
  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const sort = (table, head) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const column = head.cellIndex;
    const body = table.tBodies[0];
    const keys = keysOf([...body.rows], column);
    const rows = [...body.rows].map((row, k) => [keys[k], row]);
    rows.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      return down ? compare(b, a) : compare(a, b);
    });
    body.append(...rows.map(([, row]) => row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    said.textContent = `${table.caption.textContent}: sorted by ${head.textContent.trim()}, ${down ? "descending" : "ascending"}.`;
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    for (const head of table.tHead.rows[0].cells) {
      head.firstElementChild.addEventListener("click", () => sort(table, head));
    }
  }

  // Only a frame that scrolls is a stop on the way through the page.
  const frames = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const scrolls = target.scrollWidth > target.clientWidth + 1;
      if (scrolls) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const frame of document.querySelectorAll(".scroll, .drawing")) frames.observe(frame);

  // The theme: the system's until the button is pressed.
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const show = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `${button.textContent} theme`);
  };
  button.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; show(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  button.hidden = false;
  show();
})();
