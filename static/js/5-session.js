// A session that is over leaves nothing on the screen, on no page and in no tab; that it will be is said before. Who has
// a live page before them is there, though they touch nothing.
const NEAR = 120_000; // milliseconds before the end at which one is asked
const LOOK = 30_000;
const signed = document.body.classList.contains("signed");
const tabs = new BroadcastChannel("session");
const ask = (path) => fetch(path, { redirect: "manual" }).catch(() => null);
const stay = () => ask("/admin/api/health");

async function leaveIfOver() {
  // Whoever is signed in is sent on from there. Asked so, and not of a page, it does not count as being there.
  const over = signed && (await ask("/sign-in"))?.ok;
  if (over) location.replace(`/sign-in?next=${encodeURIComponent(document.body.dataset.here)}`);
  return over;
}
async function left() {
  const answer = (await leaveIfOver()) ? null : await ask("/admin/api/session");
  if (!answer?.ok) return null;
  // By the hub's clock: that of the viewer may be another.
  return (await answer.json()).ends_at * 1000 - Date.parse(answer.headers.get("date"));
}
async function warn(notice) {
  let time = await left();
  if (time !== null && time <= NEAR && !document.hidden && light?.getAttribute("aria-pressed") === "true") {
    await stay();
    time = await left();
  }
  if (time === null) return setTimeout(warn, LOOK, notice);
  notice.hidden = time > NEAR;
  notice.querySelector("[data-until]").dataset.until = new Date(Date.now() + time).toISOString();
  count();
  return setTimeout(warn, notice.hidden ? time - NEAR + 500 : 5000, notice);
}
if (signed) {
  const notice = document.querySelector("[data-ending]");
  setTimeout(warn, Number(notice.dataset.ending) * 1000 - NEAR, notice);
  notice.querySelector("button").addEventListener("click", async () => {
    await stay();
    notice.hidden = true;
  });
  tabs.addEventListener("message", leaveIfOver);
  setInterval(() => { if (!document.hidden) leaveIfOver(); }, LOOK);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) leaveIfOver(); });
} else {
  tabs.postMessage("nobody is signed in");
}
