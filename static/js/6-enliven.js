// What is done to content: when the page is there, and to each part that comes later. Twice must be as once.
function enliven(root) {
  localize(root);
  count(root);
  drawCharts(root);
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
}
enliven(document);
// Made before as what stands there was made, so that only what is new is changed: what is in use or has the focus stays.
document.addEventListener("htmx:before:swap", ({ detail: { tasks } }) => {
  for (const { fragment } of tasks) {
    expectCharts(fragment);
    localize(fragment);
  }
});
document.addEventListener("htmx:after:swap", () => enliven(document));
