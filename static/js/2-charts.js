// Charts, drawn by uPlot over the numbers that the server's own drawing brings along. That one stays in the page: it is
// what is printed, and what people see without this.
const COLOURS = 6; // of one chart, at most
const LEAST_HEIGHT = 0.8 / 84; // of the whole: what is there can be seen, as in charts.py
const BARS = [0.72, 0.84].map((share) => uPlot.paths.bars({ size: [share, Infinity] }));

function make(tag, name) {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}

class Chart {
  hidden = new Set(); // names of series
  root = make("div", "drawn");

  constructor(figure) {
    this.read(figure);
    this.plot = new uPlot(this.options(), this.stacked(), this.root);
    const picture = this.plot.ctx.canvas;
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", this.label);
    this.choice = new Choice(this);
    this.sizes = new ResizeObserver(() => this.fit());
    this.sizes.observe(this.root);
  }

  // The same chart as the server has it now: what is hidden, chosen or pointed at stays so.
  renew(figure) {
    this.read(figure);
    this.draw();
    this.choice.renew();
  }

  read(figure) {
    this.figure = figure;
    this.label = labelOf(figure);
    const { unit, kind, first, values, closer } = figure.dataset;
    Object.assign(this, { unit, kind, closer, first: Number(first), step: STEPS[unit] });
    const columns = JSON.parse(values);
    this.count = columns[0].length;
    const row = figure.nextElementSibling;
    this.note = row.querySelector(".legend").nextElementSibling;
    this.series = [...row.querySelector(".legend").children].map((entry, place) => {
      const button = this.button(entry);
      return { name: button.textContent, swatch: button.querySelector("i"), values: columns[place] };
    });
    // The table below says each value as the whole page says such values; bars of nothing have no row there.
    const rows = figure.parentElement.querySelector(".twin tbody").rows;
    let next = 0;
    this.rows = columns[0].map((_, place) => (columns.some((each) => each[place] > 0) ? rows[next++] : null));
    if (this.root.parentElement !== figure) figure.append(this.root);
  }

  // An entry of the legend, as a button that hides its series or shows it again.
  button(entry) {
    if (entry.localName === "button") return entry;
    const button = make("button", "");
    const pressed = () => button.setAttribute("aria-pressed", String(!this.hidden.has(button.textContent)));
    button.type = "button";
    button.append(...entry.childNodes);
    button.addEventListener("click", () => {
      const name = button.textContent;
      if (!this.hidden.delete(name)) this.hidden.add(name);
      pressed();
      this.draw();
      this.choice.renew();
    });
    pressed();
    entry.replaceWith(button);
    return button;
  }

  shown() {
    return this.series.filter(({ name }) => !this.hidden.has(name));
  }

  // Each series on the sum of those below it, the highest first: what comes later is drawn over it.
  stacked() {
    const places = Array.from({ length: this.count }, (_, place) => place);
    const sums = places.map((place) => this.shown().reduce((sum, { values }) => sum + values[place], 0));
    this.top = roundUp(Math.max(0, ...sums), this.kind);
    const least = LEAST_HEIGHT * this.top;
    const heights = places.map(() => 0);
    this.layers = this.shown().map((series) => ({
      series,
      ends: series.values.map((value, place) => (value > 0 ? (heights[place] += Math.max(value, least)) : null)),
    })).reverse();
    const none = places.map(() => null);
    return [places, ...Array.from({ length: COLOURS }, (_, layer) => this.layers[layer]?.ends ?? none)];
  }

  draw() {
    this.plot.setData(this.stacked());
  }

  fit() {
    const { clientWidth: width, clientHeight: height } = this.root;
    if (width && (width !== this.plot.width || height !== this.plot.height)) this.plot.setSize({ width, height });
  }

  options() {
    const { clientWidth: width, clientHeight: height } = this.root;
    const style = getComputedStyle(this.root);
    this.font = `${style.fontSize} ${style.fontFamily}`;
    const text = { font: this.font, stroke: () => style.color, ticks: { show: false } };
    const colour = (layer) => () => {
      const found = this.layers[layer];
      return found ? getComputedStyle(found.series.swatch).backgroundColor : "transparent";
    };
    return {
      width,
      height,
      padding: [(plot) => plot.height * 0.04, 0, 0, 0],
      cursor: { show: false },
      legend: { show: false },
      scales: {
        x: { time: false, range: () => [-0.5, this.count - 0.5] },
        y: { range: () => [0, this.top] },
      },
      axes: [
        {
          ...text,
          grid: { show: false },
          gap: 11,
          size: (plot) => Math.max(25, plot.height * 0.12),
          splits: () => this.marks(),
          values: (_, places) => places.map((place) => this.mark(place)),
        },
        {
          ...text,
          grid: { stroke: () => style.borderTopColor, width: 1 },
          gap: 10,
          size: () => this.margin(),
          splits: () => this.ticks(),
          values: (_, values) => values.map((value) => tick(value, this.kind)),
        },
      ],
      series: [{}, ...Array.from({ length: COLOURS }, (_, layer) => ({
        fill: colour(layer),
        width: 0,
        points: { show: false },
        paths: (...all) => BARS[this.count < 60 ? 0 : 1](...all),
      }))],
    };
  }

  ticks() {
    return [0, this.top / 2, this.top];
  }

  margin() {
    return Math.max(48, ...this.ticks().map((value) => Math.ceil(breadth(tick(value, this.kind), this.font)) + 12));
  }

  mark(place) {
    return shortly(this.at(place), this.unit, this.count);
  }

  // The last name goes where it would be cut.
  marks() {
    const width = this.root.clientWidth - this.margin();
    const name = breadth(this.mark(0), this.font);
    return marked(this.count, width / (name + 10)).filter(
      (place) => ((place + 0.5) / this.count) * width + name / 2 <= width,
    );
  }

  at(place) {
    return this.first + place * this.step;
  }

  end() {
    this.sizes.disconnect();
    this.plot.destroy();
  }
}

const charts = new Map();
function labelOf(figure) {
  return figure.querySelector("[role=img]").getAttribute("aria-label");
}
// Numbers that are to come, for charts that are drawn: what these have put into the page is also in what takes its place.
function expectCharts(root) {
  for (const figure of root.querySelectorAll(".chart[data-values]")) {
    const chart = charts.get(labelOf(figure));
    if (!chart) continue;
    figure.append(make("div", "drawn"));
    const legend = figure.nextElementSibling.querySelector(".legend");
    for (const entry of [...legend.children]) chart.button(entry);
    const { way } = chart.choice;
    if (way.isConnected) legend.nextElementSibling.after(way.cloneNode(true));
  }
}
function drawCharts(root) {
  for (const figure of root.querySelectorAll(".chart[data-values]")) {
    const name = labelOf(figure);
    if (charts.has(name)) charts.get(name).renew(figure);
    else charts.set(name, new Chart(figure));
  }
  for (const [name, chart] of charts) {
    if (chart.root.isConnected) continue;
    chart.end();
    charts.delete(name);
  }
}
for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)", "(prefers-contrast: more)"]) {
  matchMedia(query).addEventListener("change", () => { for (const chart of charts.values()) chart.draw(); });
}
