// Times in the viewer's own zone, and countdowns that count. Without this they stand in UTC, and everything else is the same.
const forms = {
  full: { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
  hour: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  moment: { day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
};
function localize(root) {
  for (const each of root.querySelectorAll("time[datetime], [data-at]")) {
    const at = new Date(each.dateTime ?? each.dataset.at);
    if (!Number.isNaN(at.getTime())) each.textContent = at.toLocaleString(undefined, forms[each.dataset.form ?? "full"]);
  }
}
function duration(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.ceil(seconds))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
function count(root = document) {
  for (const each of root.querySelectorAll("[data-until]:not([data-until=''])")) {
    each.textContent = duration((Date.parse(each.dataset.until) - Date.now()) / 1000);
  }
}
setInterval(count, 1000);
for (const zone of document.querySelectorAll("[data-zone]")) {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (own !== "UTC") zone.textContent = `${own}; hold the pointer over one for UTC`;
}
