// What the pages of scfd have in common. Everything goes into a page as text, never as markup: plugins, nodes
// and callers choose it.
export const byId = (id) => document.getElementById(id);

export function element(tag, text = "", className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function cell(content, className = "") {
  const td = element("td", "", className);
  td.append(...(Array.isArray(content) ? content : [content ?? ""]));
  return td;
}

// Rows of cells under the headings of a table, which on a phone become the cells' labels.
export function fill(id, rows, nothing) {
  const body = byId(id);
  const labels = [...body.closest("table").querySelectorAll("th")].map((th) => th.textContent);
  const lines = rows.map((cells) => {
    const tr = document.createElement("tr");
    cells.forEach((td, index) => { td.dataset.label = labels[index]; });
    tr.append(...cells);
    return tr;
  });
  if (!lines.length) {
    const td = cell(nothing, "quiet");
    td.colSpan = labels.length;
    const tr = document.createElement("tr");
    tr.append(td);
    lines.push(tr);
  }
  body.replaceChildren(...lines);
  return lines;
}

// A screen reader speaks up when such a line changes, so it is only touched then.
export function say(id, text, className) {
  const line = byId(id);
  if (line.textContent !== text) line.textContent = text;
  if (className !== undefined) line.className = className;
  return line;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "";
  const scale = [[1, "ms", 0.001], [120, "s", 1], [7200, "min", 60], [172800, "h", 3600], [Infinity, "d", 86400]];
  const [, unit, size] = scale.find(([limit]) => seconds < limit);
  const value = seconds / size;
  return `${value >= 10 || Number.isInteger(value) ? Math.round(value) : value.toFixed(1)} ${unit}`;
}

// How long ago something was. The element keeps the moment, so that `grow` can tell it anew.
export function age(at, lateAfter = Infinity) {
  const time = document.createElement("time");
  time.dateTime = at;
  time.title = new Date(at).toLocaleString();
  time.dataset.lateAfter = lateAfter;
  tell(time);
  return time;
}

function tell(time) {
  const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
  time.textContent = seconds >= 0
    ? (seconds < 1 ? "now" : `${duration(Math.floor(seconds))} ago`)
    : `in ${duration(Math.ceil(-seconds))}`;
  time.className = seconds > Number(time.dataset.lateAfter) ? "bad" : "";
}

export function grow() {
  document.querySelectorAll("time").forEach(tell);
}
