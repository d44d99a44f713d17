
"use strict";
// Sorts and filters tables, copies lines to type, shows what a link points to. The page is whole without it.
(() => {
  const words = new Intl.Collator("en", { numeric: true });

  // What a row is sorted by: a number where the page gives one, else its text; nothing comes last.
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.order === undefined ? cell.textContent.trim() : Number(cell.dataset.order);
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return words.compare(a, b);
  };

  const sort = (table, head, column) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row) => ({ row, key: key(row, column) }));
    rows.sort((a, b) => {
      const blank = (a.key === "") - (b.key === "");
      return blank || (down ? compare(b.key, a.key) : compare(a.key, b.key));
    });
    body.append(...rows.map((entry) => entry.row));
  };

  const serve = (grid) => {
    const table = grid.querySelector("table");
    Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      button.addEventListener("click", () => sort(table, head, column));
      head.append(button);
    });
    const filter = grid.querySelector(".filter");
    const [input, status] = [filter.querySelector("input"), filter.querySelector("span")];
    const rows = Array.from(table.tBodies[0].rows, (row) => ({ row, text: row.textContent.toLowerCase() }));
    const show = () => {
      const wanted = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let count = 0;
      for (const { row, text } of rows) {
        row.hidden = !wanted.every((word) => text.includes(word));
        count += row.hidden ? 0 : 1;
      }
      status.textContent = count === rows.length ? `${count} rows` : `${count} of ${rows.length} rows`;
    };
    input.addEventListener("input", show);
    filter.hidden = false;
    show();
  };

  const copies = (line) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${line.textContent}`);
    button.addEventListener("click", () => {
      navigator.clipboard.writeText(line.textContent).then(
        () => (button.textContent = "Copied"),
        () => getSelection().selectAllChildren(line),
      );
    });
    line.closest(".remedy").append(button);
  };

  // A link may point into what is folded.
  const unfold = () => {
    const target = document.getElementById(location.hash.slice(1));
    if (!target) return;
    for (let box = target.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
    target.scrollIntoView({ block: "nearest" });
  };

  document.querySelectorAll(".grid").forEach(serve);
  if (navigator.clipboard) document.querySelectorAll(".remedy pre code").forEach(copies);
  addEventListener("hashchange", unfold);
  unfold();
})();
