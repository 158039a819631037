// Times in the viewer's own zone. Without this script they stand in UTC, and everything else is the same.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime())) {
    time.textContent = at.toLocaleString(undefined, {
      day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
    });
  }
}
for (const zone of document.querySelectorAll("[data-zone]")) {
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (own !== "UTC") zone.textContent = `${own}; hold the pointer over one for UTC`;
}
