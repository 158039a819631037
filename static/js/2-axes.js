// What stands at the axes of a chart: the same as on the server (charts.py and words.py), and a test compares them.
const STEPS = { hour: 3600, day: 86400, week: 604800 };
const DATE = { timeZone: "UTC", day: "2-digit", month: "short" };

// When a bar begins, in full or as there is room for at the axis: hours in the viewer's zone, days and weeks are of UTC.
function named(at, unit) {
  const moment = new Date(at * 1000);
  if (unit === "hour") return moment.toLocaleString(undefined, forms.moment);
  if (unit === "day") return moment.toLocaleDateString(undefined, { ...DATE, weekday: "short" });
  return `Week of ${moment.toLocaleDateString(undefined, { ...DATE, year: "numeric" })}`;
}
function shortly(at, unit, count) {
  const form = unit === "hour" ? (count > 36 ? forms.moment : forms.hour) : DATE;
  return new Date(at * 1000).toLocaleString(undefined, form);
}

// Which bars are named: at even distances, about eight, and no more than there is room for.
function marked(count, room) {
  const most = Math.min(8.5, room);
  const every = [1, 2, 3, 4, 6, 12, 24, 48, 96].find((each) => count <= most * each) ?? count;
  return Array.from({ length: Math.ceil(count / every) }, (_, place) => place * every);
}

// Of a text, in pixels of the page.
const paper = document.createElement("canvas").getContext("2d");
function breadth(text, font) {
  paper.font = font;
  return paper.measureText(text).width;
}

function roundUp(value, kind) {
  if (value <= 0) return kind === "money" ? 2e9 : 2;
  const magnitude = 10 ** (String(value).length - 1);
  const even = kind !== "money" && magnitude === 1;
  const steps = even ? [2, 4, 6, 8, 10] : magnitude === 1 ? [1, 2, 3, 4, 5, 6, 8, 10] : [1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10];
  return steps.map((step) => step * magnitude).find((top) => top >= value);
}

function short(value) {
  const [size, letter] = [[1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([least]) => value >= least) ?? [1, ""];
  return `${Number((value / size).toFixed(2))}${letter}`;
}
function tick(value, kind) {
  if (kind !== "money") return short(value);
  const dollars = value / 1e9;
  if (dollars >= 10 || Number.isInteger(dollars)) return `$${short(dollars)}`;
  return `$${Number(dollars.toFixed(2)) === dollars ? dollars.toFixed(2) : dollars.toFixed(9).replace(/0+$/, "")}`;
}
