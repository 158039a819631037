// Comforts of forms; without this they are sent all the same.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});
for (const select of document.querySelectorAll("[data-shows]")) {
  const show = () => {
    for (const part of document.querySelectorAll(`[data-for="${CSS.escape(select.name)}"]`)) {
      part.hidden = part.dataset.values !== select.value.split(":")[0];
      if ("open" in part.dataset && !part.hidden) part.open = true;
    }
  };
  select.addEventListener("change", show);
  show();
}
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  // Twice is once: the page that follows has new buttons.
  setTimeout(() => { for (const button of form.querySelectorAll("button")) button.disabled = true; });
  addEventListener("pageshow", () => { for (const button of form.querySelectorAll("button")) button.disabled = false; });
});
