// What a bar stands for, beside the pointer. Without this the browser shows the bar's title.
const drawn = new WeakSet();
function figures(chart) {
  for (const title of chart.querySelectorAll("g.bar > title")) title.remove();
  if (drawn.has(chart)) return;
  drawn.add(chart);
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.hidden = true;
  let shown = null;
  chart.addEventListener("pointermove", (event) => {
    const bar = event.target.closest?.("g.bar");
    shown?.classList.remove("on");
    shown = bar;
    tip.hidden = !bar;
    if (!bar) return;
    chart.append(tip);
    bar.classList.add("on");
    tip.replaceChildren();
    const head = document.createElement("b");
    head.textContent = bar.dataset.label || "";
    if (bar.dataset.moment) {
      head.dataset.at = bar.dataset.moment;
      head.dataset.form = "moment";
    }
    tip.append(head);
    for (const part of bar.dataset.parts.split("\n")) {
      const [kind, name, value] = part.split("\t");
      const line = document.createElement("span");
      const words = document.createElement("span");
      const swatch = document.createElement("i");
      swatch.className = kind;
      words.append(swatch, name);
      line.append(words, value);
      tip.append(line);
    }
    localize(tip);
    const box = chart.getBoundingClientRect();
    const x = event.clientX - box.left + 14;
    tip.style.left = `${Math.max(0, Math.min(x, box.width - tip.offsetWidth))}px`;
    tip.style.top = `${Math.max(0, event.clientY - box.top - tip.offsetHeight - 10)}px`;
  });
  chart.addEventListener("pointerleave", () => {
    tip.hidden = true;
    shown?.classList.remove("on");
  });
}
