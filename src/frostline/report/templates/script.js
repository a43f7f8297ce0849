"use strict";
(() => {
  const said = document.getElementById("said");
  const say = (words) => { said.textContent = words; };

  const compare = (a, b) => {
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
  };

  // What a cell is sorted by; a dash has no value and stays at the end, whichever way the column is sorted.
  const value = (row, index) => {
    const cell = row.cells[index];
    const text = cell.textContent.trim();
    return "sort" in cell.dataset ? cell.dataset.sort : text === "–" ? "" : text;
  };

  const sortBy = (table, index) => {
    const heads = table.tHead.rows[0].cells;
    const up = heads[index].getAttribute("aria-sort") !== "ascending";
    const rows = [...table.tBodies[0].rows].map((row) => [value(row, index), row]);
    const known = rows.filter(([key]) => key !== "").sort((a, b) => (up ? 1 : -1) * compare(a[0], b[0]));
    table.tBodies[0].append(...[...known, ...rows.filter(([key]) => key === "")].map(([, row]) => row));
    for (const head of heads) head.setAttribute("aria-sort", "none");
    heads[index].setAttribute("aria-sort", up ? "ascending" : "descending");
    say(`Sorted by ${heads[index].textContent.trim()}, ${up ? "ascending" : "descending"}.`);
  };

  for (const table of document.querySelectorAll("table[data-sortable]")) {
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sortBy(table, index));
    });
  }

  const select = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  };

  for (const item of document.querySelectorAll(".commands li")) {
    const code = item.querySelector("code");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy the command of ${item.querySelector(".what").textContent}`);
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
        say("Copied.");
        setTimeout(() => { button.textContent = "Copy"; }, 2000);
      } catch {
        select(code);
        say("The command is selected; copy it with the keyboard.");
      }
    });
    item.querySelector(".what").after(button);
  }
})();
