// Sorts tables: a click on a column's name sorts by it, a second click in the other direction.
(() => {
  "use strict";

  // The first number of a cell, with its prefix ("1.2 GiB", "3.4 TFLOP", "5 M"); NaN for text.
  function number(text) {
    const match = /^\(?([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?:\s(k|K|M|G|B|T|P|E|Z)(?=$|i|FLOP))?/.exec(text.trim());
    if (!match) return NaN;
    const power = { k: 1, K: 1, M: 2, G: 3, B: 3, T: 4, P: 5, E: 6, Z: 7 }[match[2]] ?? 0;
    return Number(match[1].replaceAll(",", "")) * 1000 ** power;
  }

  // Numbers by size, then texts by name.
  function compare(a, b) {
    const [x, y] = [number(a), number(b)];
    if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
    return Number.isNaN(x) ? a.localeCompare(b, "en") : x - y;
  }

  function sort(table, header) {
    const column = [...header.parentNode.children].indexOf(header);
    const sign = header.getAttribute("aria-sort") === "descending" ? 1 : -1;
    const body = table.tBodies[0];
    const rows = [...body.rows].filter((row) => !row.classList.contains("start")); // the start model stays on top
    const text = (row) => row.children[column].textContent;
    rows.sort((a, b) => sign * compare(text(a), text(b)));
    body.append(...rows);
    for (const other of header.parentNode.children) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  }

  for (const table of document.querySelectorAll("table")) {
    if (table.tBodies[0].rows.length < 2) continue;
    for (const header of table.querySelectorAll("thead th")) {
      if (!header.textContent) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.addEventListener("click", () => sort(table, header));
      header.append(button);
    }
  }
})();
