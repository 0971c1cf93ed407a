// SPDX-License-Identifier: Apache-2.0
"use strict";
{
  const box = document.getElementById("find");
  const order = document.getElementById("order");
  const found = document.getElementById("found");
  const list = document.getElementById("hosts");
  const rows = [...list.children].map((element) => ({ element, keys: element.dataset.keys.split(",").map(Number) }));
  const number = (amount) => amount.toLocaleString("en");
  const opensAlone = 3; // so many hosts show the servers that were looked for by themselves

  const find = () => {
    const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = rows.filter((row) => {
      row.text ??= row.element.textContent.toLowerCase(); // read once, and only for a search
      const isHit = words.every((word) => row.text.includes(word));
      row.element.hidden = !isHit;
      return isHit;
    });
    for (const row of rows) {
      const servers = row.element.querySelector("details");
      const isMeant = words.length > 0 && hits.length <= opensAlone && hits.includes(row);
      if (servers && (row.isOpened ?? false) !== isMeant) {
        servers.open = row.isOpened = isMeant;
      }
    }
    const all = `${number(rows.length)} host${rows.length === 1 ? "" : "s"}`;
    found.textContent = words.length ? `${number(hits.length)} of ${all}` : all;
    history.replaceState(null, "", words.length ? `#find=${encodeURIComponent(box.value)}` : "#");
  };

  const ways = {
    name: (one, other) => one.keys[0] - other.keys[0],
    cpus: (one, other) => other.keys[1] - one.keys[1] || ways.name(one, other),
    full: (one, other) => one.keys[1] - other.keys[1] || ways.name(one, other),
    memory: (one, other) => other.keys[2] - one.keys[2] || ways.name(one, other),
    servers: (one, other) => other.keys[3] - one.keys[3] || ways.name(one, other),
  };
  const sort = () => list.append(...rows.sort(ways[order.value]).map((row) => row.element));

  const look = (words) => {
    box.value = words;
    find();
  };
  const fromAddress = () => {
    const given = new URLSearchParams(location.hash.slice(1)).get("find");
    if (given !== null) look(given);
  };

  box.addEventListener("input", find);
  order.addEventListener("change", sort);
  box.form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of document.querySelectorAll("[data-find]")) {
    button.addEventListener("click", () => {
      look(button.dataset.find);
      box.focus();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target === document.body) {
      event.preventDefault();
      box.focus();
    }
  });
  addEventListener("hashchange", fromAddress);
  fromAddress();
}
