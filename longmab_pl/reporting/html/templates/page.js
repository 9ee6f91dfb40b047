"use strict";
(() => {
  const byId = (id) => document.getElementById(id);

  // theme: as the system, light or dark; kept for this browser tab only
  const themes = ["system", "light", "dark"];
  let theme = 0;
  byId("theme").addEventListener("click", () => {
    theme = (theme + 1) % themes.length;
    const name = themes[theme];
    if (name === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = name;
    byId("theme").setAttribute("aria-label", "Color theme: " + (name === "system" ? "as the system" : name));
    byId("theme").textContent = name === "system" ? "Theme" : name === "light" ? "Light" : "Dark";
  });

  // the section in view
  let watcher = null;
  function watchSections() {
    if (watcher) watcher.disconnect();
    const links = new Map([...document.querySelectorAll("#sections a")].map((a) => [a.hash.slice(1), a]));
    watcher = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting && links.has(entry.target.id)) {
        for (const a of links.values()) a.removeAttribute("aria-current");
        links.get(entry.target.id).setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-20% 0px -70% 0px" });
    for (const section of document.querySelectorAll("main > section")) watcher.observe(section);
  }

  // the sample browser: one sample at a time
  const kept = { sample: 0, round: "", outcome: "", find: "", page: 0, column: -1, down: false };
  function browseSamples() {
    const browser = byId("browser");
    if (!browser) return;
    const all = [...browser.querySelectorAll(".sample")];
    const fill = (select, values, value) => {
      for (const v of values) select.add(new Option(v, v));
      select.value = values.includes(value) ? value : "";
    };
    const round = byId("by-round"), outcome = byId("by-outcome");
    fill(round, [...new Set(all.map((s) => s.dataset.round))], kept.round);
    fill(outcome, [...new Set(all.map((s) => s.dataset.outcome))].sort(), kept.outcome);
    browser.querySelector(".controls").hidden = false;
    const show = () => {
      kept.round = round.value; kept.outcome = outcome.value;
      const fits = all.filter((s) => (!round.value || s.dataset.round === round.value) && (!outcome.value || s.dataset.outcome === outcome.value));
      kept.sample = Math.max(0, Math.min(kept.sample, fits.length - 1));
      for (const s of all) s.hidden = s !== fits[kept.sample];
      byId("which").textContent = fits.length ? `${kept.sample + 1} of ${fits.length}` : "none";
      byId("previous").disabled = kept.sample === 0;
      byId("next").disabled = kept.sample >= fits.length - 1;
    };
    const go = (by) => { kept.sample += by; show(); };
    byId("previous").addEventListener("click", () => go(-1));
    byId("next").addEventListener("click", () => go(1));
    for (const select of [round, outcome]) select.addEventListener("change", () => { kept.sample = 0; show(); });
    browser.addEventListener("keydown", (event) => {
      if (event.target.closest("select, input, .scroll, pre") || event.altKey || event.ctrlKey || event.metaKey) return;
      if (event.key === "ArrowRight" && !byId("next").disabled) go(1);
      else if (event.key === "ArrowLeft" && !byId("previous").disabled) go(-1);
    });
    browser.addEventListener("click", (event) => {
      const link = event.target.closest(".tree a");
      if (!link) return;
      event.preventDefault();
      const node = byId(link.getAttribute("href").slice(1));
      node.closest("details").open = true;
      node.scrollIntoView({ block: "nearest" });
      node.focus();
    });
    show();
  }

  // the table of all records: sorted, searched and paged
  const ROWS = 25;
  function tableRecords() {
    const table = byId("record-table");
    if (!table) return;
    const rows = JSON.parse(byId("record-rows").textContent);
    const heads = [...table.tHead.querySelectorAll("button")];
    let found = rows;
    const REWARDS = [3, 4];
    const cell = (value, column) => value === null ? "–" : REWARDS.includes(column) ? value.toFixed(3) : String(value);
    const compare = (a, b, sign) => a === b ? 0 : a === null ? 1 : b === null ? -1 : a < b ? -sign : sign;
    const draw = () => {
      const pages = Math.max(1, Math.ceil(found.length / ROWS));
      kept.page = Math.max(0, Math.min(kept.page, pages - 1));
      const body = document.createElement("tbody");
      for (const row of found.slice(kept.page * ROWS, (kept.page + 1) * ROWS)) {
        const line = body.insertRow();
        row.forEach((value, column) => { line.insertCell().textContent = cell(value, column); });
      }
      table.tBodies[0].replaceWith(body);
      byId("page-which").textContent = `${(kept.page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
      byId("page-back").disabled = kept.page === 0;
      byId("page-on").disabled = kept.page >= pages - 1;
    };
    const search = () => {
      const text = kept.find.toLowerCase();
      found = rows.filter((row) => !text || String(row[1]).toLowerCase().includes(text) || String(row[6]).toLowerCase().includes(text));
      if (kept.column >= 0) found.sort((a, b) => compare(a[kept.column], b[kept.column], kept.down ? -1 : 1));
      heads.forEach((head, i) => head.parentElement.setAttribute("aria-sort", i !== kept.column ? "none" : kept.down ? "descending" : "ascending"));
      draw();
    };
    byId("find").value = kept.find;
    byId("find").addEventListener("input", (event) => { kept.find = event.target.value; kept.page = 0; search(); });
    byId("page-back").addEventListener("click", () => { kept.page -= 1; draw(); });
    byId("page-on").addEventListener("click", () => { kept.page += 1; draw(); });
    heads.forEach((head, i) => head.addEventListener("click", () => {
      kept.down = kept.column === i ? !kept.down : false;
      kept.column = i; kept.page = 0; search();
    }));
    search();
  }

  function begin() { watchSections(); browseSamples(); tableRecords(); }
  begin();

  // a live page asks its own server for a newer version and takes over its contents
  const live = document.querySelector('meta[name="longmab-live"]');
  if (live) {
    let version = live.content;
    const state = (text) => { const chip = byId("live-state"); if (chip) chip.textContent = text; };
    const ask = async () => {
      try {
        const newest = await (await fetch("version", { cache: "no-store" })).text();
        if (newest !== version && !document.hidden) {
          const page = new DOMParser().parseFromString(await (await fetch("./", { cache: "no-store" })).text(), "text/html");
          const open = new Set([...document.querySelectorAll("main details")].flatMap((d, i) => d.open ? [i] : []));
          const same = page.querySelectorAll("main details").length === document.querySelectorAll("main details").length;
          const place = window.scrollY;
          byId("content").replaceWith(page.getElementById("content"));
          byId("sections").replaceWith(page.getElementById("sections"));
          if (same) document.querySelectorAll("main details").forEach((d, i) => { d.open = open.has(i); });
          version = newest;
          begin();
          window.scrollTo(0, place);
        }
        state("live");
      } catch (error) { state("the server has stopped"); }
      window.setTimeout(ask, 3000);
    };
    window.setTimeout(ask, 3000);
  }
})();
