"use strict";
// Fetches the page again and takes over what has changed. What can have the focus,
// or was opened, stays as it is: only the insides of elements with data-live are
// replaced, and those with data-shown come and go.
(() => {
  const every = 5000, patience = 10000; // milliseconds
  const button = document.getElementById("pause");
  const note = document.getElementById("refresh");
  const live = (root) => [...root.querySelectorAll("[data-live]")];
  let timer, paused = false, asked = 0;

  const selecting = () => !getSelection().isCollapsed;
  const say = (text) => { if (note.textContent !== text) note.textContent = text; };

  function take(fresh) {
    const ids = (root) => live(root).map((e) => e.id).join();
    if (ids(fresh) !== ids(document)) { // other pools than before
      document.querySelector("nav")?.remove();
      const nav = fresh.querySelector("nav");
      if (nav) document.querySelector("header").after(nav);
      document.getElementById("pools").replaceChildren(...fresh.getElementById("pools").childNodes);
    }
    for (const now of live(fresh)) {
      const was = document.getElementById(now.id);
      if (was.innerHTML === now.innerHTML) continue;
      was.replaceChildren(...now.childNodes);
      if (now.dateTime) was.dateTime = now.dateTime;
    }
    for (const now of fresh.querySelectorAll("[data-shown]")) document.getElementById(now.id).hidden = now.hidden;
    document.title = fresh.title;
  }

  // What stands there may not be true any more.
  function noAnswer() {
    const since = document.querySelector("#as-of b").textContent;
    for (const p of document.querySelectorAll(".verdict p:not([data-old])")) {
      p.dataset.old = "";
      p.className = "wait";
      p.querySelector("strong").textContent = "No answer.";
      const was = p.querySelector("span");
      was.textContent = `This page gets no answer from the program since ${since}. What was true then: ${was.textContent}`;
    }
    for (const badge of document.querySelectorAll("nav .badge")) {
      badge.className = "badge wait";
      badge.textContent = "No answer";
    }
    document.title = "No answer · snowtether";
    say("Tried again every 5 s.");
  }

  async function refresh() {
    clearTimeout(timer);
    const mine = ++asked;
    if (!document.hidden && !selecting()) {
      let fresh;
      try {
        const reply = await fetch(location.origin + location.pathname + location.search, {
          headers: { Accept: "text/html" }, cache: "no-store", signal: AbortSignal.timeout(patience),
        });
        fresh = new DOMParser().parseFromString(await reply.text(), "text/html");
        if (!fresh.getElementById("pools")) fresh = null; // an error, or a login's page
      } catch { /* no answer */ }
      if (mine !== asked) return; // paused meanwhile, or asked again
      if (!fresh) {
        noAnswer();
      } else if (!selecting()) { // nothing was selected since it was asked
        say("Refreshed every 5 s.");
        take(fresh);
      }
    }
    if (selecting()) say("Waits while text is selected.");
    timer = setTimeout(refresh, every);
  }

  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    if (paused) {
      asked++;
      clearTimeout(timer);
      say("Paused.");
    } else {
      refresh();
    }
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) refresh(); });

  button.hidden = false;
  say("Refreshed every 5 s.");
  timer = setTimeout(refresh, every);
})();
