// What changes while one looks. htmx keeps the line to the hub's events and renews the parts marked data-live from this same
// page; here is when, and what is said of it. Lists hold still and offer what is new.
const LEAST = 4000; // milliseconds between two renewals
const SETTLED = 1500; // what is told of is on record after so many
const light = document.querySelector("[data-stream]");

async function news() {
  const place = document.querySelector("[data-news]");
  const answer = place && (await fetch(place.dataset.news, { headers: { accept: "application/json" } }).catch(() => null));
  if (!answer?.ok) return;
  const { items, next } = await answer.json();
  const found = items.filter((item) => item.id !== place.dataset.newest).length;
  const words = `${found}${next ? "+" : ""} new`;
  if (found && place.textContent !== words) {
    place.textContent = words;
    place.parentElement.hidden = false;
  }
}

if (light) {
  const stream = light.parentElement;
  let line = null, changed = 0, due = Date.now() + LEAST;
  const on = () => light.getAttribute("aria-pressed") === "true";
  const say = (words) => {
    light.textContent = on() ? words : "Paused";
    light.toggleAttribute("data-lost", on() && words !== "Live");
  };
  const hear = (names, act) => {
    for (const name of names) stream.addEventListener(name, (event) => { if (event.target === stream) act(event); });
  };
  const leave = () => {
    line?.abortController.abort();
    for (const each of [light, stream]) htmx.trigger(each, "htmx:abort", {}, false);
  };
  // Nothing is asked while it is paused, nor in a tab that nobody sees: there htmx hangs up by itself.
  hear(["htmx:before:request", "htmx:sse:before:connection"], (event) => {
    if (!on() || document.hidden) event.preventDefault();
    else if (event.detail.connection?.attempt) say("Not live, trying again");
  });
  hear(["htmx:sse:after:connection"], ({ detail: { connection } }) => {
    line = connection;
    if (on()) say("Live");
    else leave();
  });
  // The session may be over, the hub be starting, or too many be watching.
  hear(["htmx:error", "htmx:response:error", "htmx:sse:error"], () => {
    say("Not live, trying again");
    leaveIfOver();
  });
  hear(["away"], () => say("Not live, the database is away"));
  hear(["end"], leaveIfOver);
  hear(["state"], () => {
    say("Live");
    changed = Date.now();
  });
  setInterval(() => {
    const now = Date.now();
    if (!changed || now < due || !on() || document.hidden) return;
    due = now + LEAST;
    if (now - changed > SETTLED) changed = 0;
    news();
    if (!document.querySelector("[data-live]")) return;
    due = Infinity; // until it is answered
    htmx.trigger(light, "renew", {}, false);
  }, 1000);
  light.addEventListener("htmx:finally:request", () => { due = Date.now() + LEAST; });
  light.addEventListener("click", () => {
    light.setAttribute("aria-pressed", String(!on()));
    say("Live");
    if (!on()) leave();
  });
  stream.hidden = false;
  addEventListener("pagehide", leave);
}
// After signing out nothing may come back from the memory of the browser.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
