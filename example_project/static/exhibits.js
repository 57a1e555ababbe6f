/* The exhibits that move: a lattice as it cools, a stampede, a plug. No library, no build step. */
"use strict";

const one = (selector, within = document) => within.querySelector(selector);
const json = (id) => JSON.parse(document.getElementById(id).textContent);
const make = (tag, className, text = "") => {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
};
const post = (form, address) => fetch(address, {
  method: "POST",
  headers: {"X-CSRFToken": one("[name=csrfmiddlewaretoken]", form).value},
});

/* A lattice, frame by frame. */

function movie(box) {
  const frames = json("frames"), times = json("times");
  const picture = one("img", box), slider = one("input", box), button = one("button", box), told = one("output", box);
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let playing = null;
  const show = (number) => {
    picture.src = frames[number];
    slider.value = number;
    told.textContent = `${times[number].toLocaleString("en")} sweep${times[number] === 1 ? "" : "s"}`;
  };
  const play = (on) => {
    clearInterval(playing);
    playing = on ? setInterval(() => {
      const next = Number(slider.value) + 1;
      show(next % frames.length);
      if (next === frames.length - 1) {
        play(false);
        playing = setTimeout(() => { show(0); play(true); }, 2500);
      }
    }, 110) : null;
    button.textContent = on ? "\u275a\u275a" : "\u25b6\ufe0e";
    button.setAttribute("aria-label", on ? "Pause" : "Play");
  };
  slider.max = frames.length - 1;
  slider.addEventListener("input", () => { play(false); show(Number(slider.value)); });
  button.addEventListener("click", () => play(playing === null));
  show(calm ? frames.length - 1 : 0);
  play(!calm);
}

/* A stampede: first without the lease, then with it, so that the two do not share the processors. */

async function* linesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = "";;) {
    const {value, done} = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    yield* lines.map((line) => JSON.parse(line));
  }
}

async function run(box, form, fixed = 0) {
  const lanes = one(".lanes", box), big = one(".big i", box), verdict = one(".verdict", box);
  const began = performance.now(), visits = [];
  let scale = fixed || 1000, over = false;
  lanes.replaceChildren();
  const bars = Array.from({length: Number(form.dataset.size)}, () => lanes.appendChild(make("div", "lane")).appendChild(make("i", "")));
  const draw = () => {
    const now = over ? Math.max(...visits.map((visit) => visit.ended)) : performance.now() - began;
    scale = over && !fixed ? now : Math.max(scale, now);
    bars.forEach((bar, number) => {
      const visit = visits.find((each) => each.number === number);
      bar.style.width = `${100 * (visit ? visit.ended : now) / scale}%`;
    });
    if (!over && box.classList.contains("running")) requestAnimationFrame(draw);
  };
  box.classList.add("running");
  verdict.textContent = "Visitors are waiting \u2026";
  draw();
  const response = await post(form, `/stampede/run/${box.dataset.way}/`);
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  for await (const visit of linesOf(response)) {
    visits.push(visit);
    const bar = bars[visit.number];
    bar.className = visit.error ? "bad" : visit.computed ? "hot" : "cool";
    bar.parentNode.append(make("span", "", visit.worker || "?"));
    const count = visits.filter((each) => each.computed).length;
    big.textContent = count;
    big.nextSibling.textContent = count === 1 ? " computation" : " computations";
  }
  over = true;
  draw();
  box.classList.remove("running");
  const computed = Number(big.textContent), seconds = Math.max(...visits.map((visit) => visit.ended)) / 1000;
  const mean = visits.reduce((sum, visit) => sum + visit.ended, 0) / visits.length / 1000;
  verdict.textContent = `${visits.length} answers in ${seconds.toFixed(1)} s, ${mean.toFixed(1)} s on average.`;
  box.dataset.done = computed;
  return {computed, scale};
}

function stampede(form) {
  const button = one("button", form), told = one("span", form);
  const boxes = [...document.querySelectorAll(".run")];
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    told.textContent = "";
    for (const box of boxes) {
      delete box.dataset.done;
      one(".big i", box).textContent = "\u2013";
      one(".lanes", box).replaceChildren();
    }
    try {
      const plain = await run(boxes[0], form);
      const lock = await run(boxes[1], form, plain.scale);
      told.textContent = `${form.dataset.size} visitors: ${plain.computed} computations without the lease, ${lock.computed} with it.`;
    } catch (error) {
      boxes.forEach((box) => box.classList.remove("running"));
      told.textContent = `Something went wrong: ${error.message}`;
    }
    button.disabled = false;
  });
}

/* The plug: a page that is visited all the time, and the state of the workers. */

const KEPT = 60, EVERY = 500;

function plug(form) {
  const button = one("button", form), told = one(".state", form), ticks = one(".ticks"), tally = one(".tally");
  const rows = one(".workers tbody"), log = one(".log");
  const workers = new Map(), answers = {};
  let plugged;
  const show = (state) => {
    plugged = state;
    form.dataset.plugged = state ? "in" : "out";
    button.textContent = state ? "Pull the plug" : "Plug it in again";
    told.textContent = state ? "S3 can be reached." : "S3 cannot be reached.";
  };
  const tick = async () => {
    let seen = {}, status;
    try {
      const response = await fetch("/plug/tick/", {signal: AbortSignal.timeout(20000)});
      status = response.status;
      if (response.ok) seen = await response.json();
    } catch {
      status = "none";
    }
    answers[status] = (answers[status] || 0) + 1;
    const column = ticks.appendChild(make("span", plugged ? "" : "out"));
    const bar = column.appendChild(make("i", status !== 200 ? "bad" : seen.computed ? "hot" : "cool"));
    bar.style.height = `${Math.min(100, 12 + 22 * Math.log10(1 + (seen.ms || 1)))}%`;
    column.title = `HTTP ${status}, ${seen.ms} ms, worker ${seen.worker}`;
    while (ticks.childElementCount > KEPT) ticks.firstChild.remove();
    tally.textContent = Object.entries(answers).map(([code, count]) => `${count} \u00d7 HTTP ${code}`).join(", ");
    if (seen.worker) {
      workers.set(seen.worker, seen);
      report();
    }
    setTimeout(tick, EVERY);
  };
  const report = () => {
    const known = [...workers.values()].sort((a, b) => a.worker.localeCompare(b.worker));
    rows.replaceChildren(...known.map((each) => {
      const row = make("tr", each.away ? "open" : "closed"), stats = each.stats;
      row.append(make("td", "", each.worker), make("td", "breaker", each.away ? "open" : "closed"));
      for (const name of ["requests", "not_asked", "hits", "misses", "outages"]) {
        row.append(make("td", "", stats[name].toLocaleString("en")));
      }
      return row;
    }));
    const lines = known.flatMap((each) => each.lines.map(([when, text]) => [when, each.worker, text]));
    log.textContent = lines.sort((a, b) => a[0] - b[0]).slice(-8)
      .map(([when, worker, text]) => `${new Date(1000 * when).toLocaleTimeString("en-GB")}  worker ${worker}  ${text}`)
      .join("\n") || "Nothing yet.";
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      const response = await post(form, `/plug/${plugged ? "out" : "in"}/`);
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      show((await response.json()).in);
    } catch (error) {
      told.textContent = `Something went wrong: ${error.message}`;
    }
    button.disabled = false;
  });
  show(form.dataset.plugged === "in");
  tick();
}

for (const [id, begin] of Object.entries({movie, stampede, plug})) {
  const found = document.getElementById(id);
  if (found) begin(found);
}
