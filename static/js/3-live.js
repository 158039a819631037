// What changes while one looks. Parts marked data-live are taken anew from this same page, and only where nobody is
// reading with the keyboard; lists hold still and offer what is new. Nothing happens in a tab that nobody sees.
const LEAST = 4000;
let due = Date.now() + LEAST;
let stale = false;

async function renew() {
  stale = true;
  if (document.hidden || Date.now() < due || !document.querySelector("[data-live]")) return;
  stale = false;
  due = Date.now() + LEAST;
  const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
  if (answer?.redirected) leaveIfOver();
  if (!answer?.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  localize(fresh);
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.querySelector(`[data-live="${CSS.escape(old.dataset.live)}"]`);
    const open = old.querySelector("details[open]");
    if (!now || old.contains(document.activeElement) || open || now.innerHTML === old.dataset.was) continue;
    const markup = now.innerHTML;
    old.replaceChildren(...now.childNodes);
    old.dataset.was = markup;
    enliven(old);
  }
}

async function news() {
  const place = document.querySelector("[data-news]");
  if (!place || document.hidden) return;
  const answer = await fetch(place.dataset.news, { headers: { accept: "application/json" } }).catch(() => null);
  if (!answer?.ok) return;
  const { items, next } = await answer.json();
  const found = items.filter((item) => item.id !== place.dataset.newest).length;
  const words = `${found}${next ? "+" : ""} new`;
  if (found && place.textContent !== words) {
    place.textContent = words;
    place.parentElement.hidden = false;
  }
}

const light = document.querySelector("[data-stream]");
if (light && window.EventSource) {
  let source = null, again = 0;
  const told = () => { renew(); news(); };
  const listen = () => {
    clearTimeout(again);
    source = new EventSource(light.dataset.stream);
    source.addEventListener("open", () => {
      light.textContent = "Live";
      light.removeAttribute("data-lost");
    });
    source.addEventListener("state", told);
    source.addEventListener("end", lost);
    source.addEventListener("error", () => {
      light.textContent = "Not live, trying again";
      light.setAttribute("data-lost", "");
      if (source.readyState === EventSource.CLOSED) lost();
    });
  };
  // Browsers try again by themselves when the line is cut, but not when they are refused: the session may be over, the
  // hub be starting, or too many be watching.
  const lost = () => {
    source.close();
    leaveIfOver();
    again = setTimeout(listen, 5000);
  };
  light.hidden = false;
  light.addEventListener("click", () => {
    const on = light.getAttribute("aria-pressed") !== "true";
    light.setAttribute("aria-pressed", String(on));
    light.textContent = on ? "Live" : "Paused";
    clearTimeout(again);
    if (on) listen(); else source.close();
  });
  listen();
  addEventListener("pagehide", () => { clearTimeout(again); source.close(); });
  setInterval(() => {
    if (light.getAttribute("aria-pressed") !== "true") return;
    if (stale) renew();
    news();
  }, 5000);
  document.addEventListener("visibilitychange", () => { if (light.getAttribute("aria-pressed") === "true") told(); });
}
// After signing out nothing may come back from the memory of the browser.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
