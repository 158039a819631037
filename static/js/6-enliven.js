// What is done to content: when the page is there, and to each part that comes later. Twice must be as once.
function enliven(root) {
  localize(root);
  count();
  drawCharts(root);
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
}
enliven(document);
document.addEventListener("htmx:after:swap", () => enliven(document));
