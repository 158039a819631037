// Filters change a page without leaving it. What fails leaves it as it stands, says so and can be tried again.
function filters(event, act) {
  if (event.detail.ctx?.target?.id === "main") act(document.querySelector("[data-unanswered]"));
}
document.addEventListener("htmx:before:request", (event) => filters(event, (notice) => { notice.hidden = true; }));
document.addEventListener("htmx:error", (event) => filters(event, (notice) => { notice.hidden = false; }));
document.addEventListener("htmx:before:swap", (event) => filters(event, (notice) => {
  const { ctx, tasks } = event.detail;
  const { redirected, status, url } = ctx.response.raw;
  // Whoever is no longer signed in leaves; an answer of something before the hub is not a page.
  if (redirected) location.assign(url);
  else if (status < 500 && tasks[0].fragment.childElementCount) return;
  else notice.hidden = false;
  event.preventDefault();
}));
// Where signing in again and another choice of colours lead back to.
function stand(path) {
  document.body.dataset.here = path;
  for (const next of document.querySelectorAll(".mine [name=next]")) next.value = path;
}
document.addEventListener("htmx:after:history:push", (event) => stand(event.detail.path));
// Back and forward: the page of that address, in the same place, with the filters as they were then.
document.addEventListener("htmx:before:history:restore", async (event) => {
  const { path } = event.detail;
  event.preventDefault();
  stand(path);
  await htmx.ajax("GET", path, { source: "#main", target: "#main", select: "#main", swap: "outerMorph" });
  for (const form of document.querySelectorAll("form[hx-get]")) form.reset();
});
