// A bar of a chart, or several side by side: pointed at, or chosen by dragging, by two clicks, or by the keyboard. The
// first has its figures told; the others can be looked at closer, on a page of their own.
class Choice {
  pointer = null; // where it is, for the chart may change below it
  place = -1; // the bar whose figures are told
  ends = null; // moments at which the chosen bars begin: the one chosen first, and the last
  pressed = -1; // the bar at which the button went down
  far = false; // whether it was drawn to another since

  constructor(chart) {
    this.chart = chart;
    this.over = chart.plot.over;
    this.bands = ["band", "band chosen"].map((name) => chart.plot.under.appendChild(make("div", name)));
    this.tip = chart.root.appendChild(make("div", "tip"));
    this.way = make("a", "closer");
    this.over.tabIndex = 0;
    this.over.setAttribute("role", "slider");
    for (const [name, act] of Object.entries({
      pointerdown: this.down, pointermove: this.move, pointerup: this.up, pointercancel: this.leave,
      pointerleave: this.leave, keydown: this.key, focus: this.come, blur: this.leave,
    })) this.over.addEventListener(name, act.bind(this));
    this.renew();
  }

  renew() {
    const { chart } = this;
    this.over.setAttribute("aria-label", `One bar of: ${chart.label}`);
    this.over.setAttribute("aria-valuemax", chart.count - 1);
    this.over.setAttribute("aria-valuemin", 0);
    if (this.ends && this.ends.some((at) => at < chart.at(0) || at >= chart.at(chart.count))) this.ends = null;
    if (this.pointer) this.place = this.below(this.pointer);
    this.tell(Math.min(this.place, chart.count - 1), !this.tip.hidden && this.place >= 0);
  }

  below({ clientX }) {
    const box = this.over.getBoundingClientRect();
    const place = Math.floor(((clientX - box.left) / box.width) * this.chart.count);
    return Math.max(0, Math.min(place, this.chart.count - 1));
  }

  // The chosen bars, from and to.
  range() {
    return this.ends?.map((at) => (at - this.chart.first) / this.chart.step).sort((one, other) => one - other);
  }

  choose(from, to) {
    this.ends = this.chart.closer ? [from, to].map((place) => this.chart.at(place)) : null;
  }

  down(event) {
    if (event.button !== 0) return;
    this.pressed = this.below(event);
    this.far = false;
  }

  move(event) {
    this.pointer = event;
    const place = this.below(event);
    // A finger that is drawn across reads one bar after the other.
    if (this.pressed >= 0 && event.buttons && event.pointerType !== "touch" && (this.far || place !== this.pressed)) {
      this.over.setPointerCapture(event.pointerId);
      this.far = true;
      this.choose(this.pressed, place);
    }
    this.tell(place, true);
  }

  up(event) {
    if (this.pressed < 0) return;
    const place = this.below(event);
    const [first, last] = this.range() ?? [];
    const far = this.far;
    this.pressed = -1;
    this.far = false;
    if (far) return this.go();
    if (first === undefined || first !== last) this.choose(place, place);
    else if (first === place) this.ends = null;
    else this.choose(first, place);
    this.tell(place, true);
  }

  leave(event) {
    // A finger that is lifted leaves the figures; they go when something else is touched.
    const lifted = event.type === "pointerleave" && event.pointerType === "touch";
    if (!lifted) this.pointer = null;
    if (this.far) this.ends = null;
    this.pressed = -1;
    this.far = false;
    if (!lifted) this.tell(this.place, false);
  }

  come() {
    if (!this.over.matches(":focus-visible")) return;
    this.tell(this.ends ? (this.ends[1] - this.chart.first) / this.chart.step : this.chart.count - 1, true);
  }

  key(event) {
    const last = this.chart.count - 1;
    const from = this.place < 0 ? last : this.place;
    const moves = { ArrowLeft: from - 1, ArrowDown: from - 1, ArrowRight: from + 1, ArrowUp: from + 1, Home: 0, End: last };
    if (event.key === "Enter" && this.ends) this.go();
    else if (event.key === "Escape") {
      this.ends = null;
      this.tell(this.place, false);
    } else if (event.key in moves && !event.altKey && !event.ctrlKey && !event.metaKey) {
      const to = Math.max(0, Math.min(moves[event.key], last));
      const start = event.shiftKey ? (this.ends ? (this.ends[0] - this.chart.first) / this.chart.step : from) : to;
      this.pointer = null;
      this.choose(start, to);
      this.tell(to, true);
    } else return;
    event.preventDefault();
  }

  go() {
    if (this.way.href) location.assign(this.way.href);
  }

  // The figures of a bar, beside it, and for those who hear them; and what is chosen.
  tell(place, seen) {
    const { chart, over, tip } = this;
    this.place = place;
    const head = place < 0 ? "" : named(chart.at(place), chart.unit);
    const parts = place < 0 ? [] : chart.shown().filter(({ values }) => values[place] > 0).reverse().map((series) => {
      const cell = chart.rows[place].cells[chart.series.indexOf(series) + 1];
      return { ...series, figure: cell.textContent };
    });
    const chosen = this.offer();
    const said = parts.map(({ figure, name }) => `${figure} ${name}`).join(", ") || "nothing";
    over.setAttribute("aria-valuenow", Math.max(0, place));
    over.setAttribute("aria-valuetext", place < 0 ? "none chosen" : `${head}: ${said}${chosen && `; ${chosen}`}`);
    tip.hidden = !seen;
    this.band(0, seen ? [place, place] : null);
    this.band(1, this.range());
    if (!seen) return;
    const title = document.createElement("b");
    title.textContent = head;
    tip.replaceChildren(title, ...(parts.length ? parts : [{ name: "nothing", figure: "" }]).map((part) => {
      const line = document.createElement("span");
      const words = document.createElement("span");
      if (part.swatch) words.append(part.swatch.cloneNode());
      words.append(part.name);
      line.append(words, part.figure);
      return line;
    }));
    this.put();
  }

  put() {
    const [box, field] = [this.chart.root, this.over].map((each) => each.getBoundingClientRect());
    const x = this.pointer?.clientX ?? field.left + ((this.place + 0.5) / this.chart.count) * field.width;
    const y = this.pointer?.clientY ?? field.top + field.height / 3;
    const { tip } = this;
    const right = x - box.left + 14;
    const left = right + tip.offsetWidth > box.width ? right - 28 - tip.offsetWidth : right;
    tip.style.left = `${Math.max(0, Math.min(left, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, y - box.top - tip.offsetHeight - 10)}px`;
  }

  band(which, range) {
    const { style } = this.bands[which];
    style.display = range ? "block" : "none";
    if (!range) return;
    style.left = `${(100 * range[0]) / this.chart.count}%`;
    style.width = `${(100 * (range[1] - range[0] + 1)) / this.chart.count}%`;
  }

  // Where the chosen bars can be looked at closer, in the place of the note; and how that is called.
  offer() {
    const { chart, way } = this;
    const range = this.range();
    chart.note.hidden = Boolean(range);
    if (!range) {
      way.remove();
      way.removeAttribute("href");
      return "";
    }
    const [from, to] = range.map((place) => chart.at(place));
    const until = to + chart.step;
    const written = (at) => new Date(at * 1000).toISOString().slice(0, chart.unit === "hour" ? 16 : 10);
    const zone = chart.unit === "hour" ? "Z" : "";
    const address = new URL(chart.closer, location.href);
    address.searchParams.set("from", written(from) + zone);
    address.searchParams.set("to", written(until) + zone);
    way.href = address.href;
    const last = chart.unit === "hour" ? until : to;
    way.textContent = `Look closer at ${named(from, chart.unit)}${from === to ? "" : ` to ${named(last, chart.unit)}`}`;
    if (!way.isConnected || way.previousElementSibling !== chart.note) chart.note.after(way);
    return way.textContent;
  }
}
