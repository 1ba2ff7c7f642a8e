// The console without this script is complete, and stands still. It renews the parts that say where from (data-live), by
// server-sent events.
"use strict";

const MOST_OFTEN_MS = 250;
const AGAIN_MS = 10000;

function put(part) {
  const place = document.getElementById(part.id);
  // What is being read with the keyboard stays.
  if (!place || place.contains(document.activeElement)) return;
  const kept = Array.from(place.querySelectorAll(".scroll, .way"), (element) => element.scrollLeft);
  const open = Array.from(place.querySelectorAll("details"), (element) => element.open);
  place.innerHTML = part.html;
  place.querySelectorAll("details").forEach((element, at) => { element.open = open[at] || false; });
  place.querySelectorAll(".scroll, .way").forEach((element, at) => { element.scrollLeft = kept[at] || 0; });
}

function follow(source) {
  const lost = document.getElementById("lost");
  let stream = null;
  const waiting = new Map();
  let timer = null;
  function flush() {
    timer = null;
    waiting.forEach(put);
    waiting.clear();
  }
  function open() {
    if (stream) return;
    stream = new EventSource(source);
    stream.onopen = () => { lost.textContent = ""; };
    stream.onerror = () => {
      lost.textContent = document.body.dataset.lost;
      // A browser comes again by itself, unless it was refused: too many pages are live, or nobody is signed in.
      if (!stream || stream.readyState !== EventSource.CLOSED) return;
      close();
      setTimeout(() => { if (!document.hidden) open(); }, AGAIN_MS);
    };
    stream.addEventListener("part", (event) => {
      const part = JSON.parse(event.data);
      waiting.set(part.id, part);
      if (timer === null) timer = setTimeout(flush, MOST_OFTEN_MS);
    });
  }
  function close() {
    if (stream) stream.close();
    stream = null;
  }
  // A page that nobody sees costs nothing.
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else open(); });
  addEventListener("pagehide", close);
  if (!document.hidden) open();
}

new Set(Array.from(document.querySelectorAll("[data-live]"), (part) => part.dataset.live)).forEach(follow);

// A form is sent once.
document.addEventListener("submit", (event) => {
  if (event.target.method !== "post") return;
  if (event.target.dataset.sent) event.preventDefault();
  event.target.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  document.querySelectorAll("form[data-sent]").forEach((form) => { delete form.dataset.sent; });
});
