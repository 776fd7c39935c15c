// Puts the parts together: modes, time, camera, keys, colour scheme.
async function start() {
  const data = await decode(), {plan} = data;
  const state = {mode: plan ? "journey" : "kinds", time: 0, playing: false, journey: 0, cut: true};
  Colours.read();
  heading(data);
  const fabric = new Fabric(data, state);
  const redraw = () => { fabric.drawBase(); fabric.drawLive(); };
  const guide = new Guide(data, state, redraw);
  guide.show();
  let timeline = null;
  if (plan) {
    timeline = new Timeline(data, fabric, time => seek(time));
    loads(data); trees(data); sizes(data);
  } else { $("transport").remove(); $("cutbox").remove(); }
  if (plan && !plan.cuts.length) $("cutbox").remove();

  const modes = plan ? [["journey", "One tree"], ["traffic", "All traffic"], ["load", "Load"], ["kinds", "Links"]] : [["kinds", "Links"]];
  $("modes").append(...modes.map(([mode, name]) => make("label", {}, make("input", {type: "radio", name: "mode", value: mode, checked: mode === state.mode, onchange: () => {
    state.mode = mode; guide.show(); redraw();
    $("transport").style.visibility = mode === "journey" || mode === "traffic" ? "visible" : "hidden";
  }}), make("span", {}, name))));
  if (!plan) $("modes").hidden = true;

  function seek(time) {
    state.time = clamp(time);
    $("time").value = Math.round(state.time * 1000);
    $("clock").textContent = `${seconds(state.time * plan.motion.seconds)} of ${seconds(plan.motion.seconds)}`;
    fabric.drawLive();
    timeline.moveTo(state.time);
  }
  let before = 0;
  function frame(now) {
    if (!state.playing) return;
    const passed = before ? (now - before) / 1000 / Number($("speed").value) : 0;
    before = now;
    const next = state.time + passed;
    seek(next > 1 ? 1 : next);
    if (next > 1) play(false); else requestAnimationFrame(frame);
  }
  function play(on) {
    if (!plan) return;
    state.playing = on; before = 0;
    $("play").textContent = on ? "❚❚" : "▶";
    $("play").setAttribute("aria-label", on ? "Pause" : "Play");
    if (on) { if (state.time >= 1) seek(0); requestAnimationFrame(frame); }
  }
  if (plan) {
    $("play").addEventListener("click", () => play(!state.playing));
    $("time").addEventListener("input", event => { play(false); seek(event.target.value / 1000); });
  }
  if ($("cut")) $("cut").addEventListener("change", event => { state.cut = event.target.checked; guide.show(); redraw(); });
  $("in").addEventListener("click", () => { fabric.zoom(1.4); redraw(); });
  $("out").addEventListener("click", () => { fabric.zoom(1 / 1.4); redraw(); });
  $("fit").addEventListener("click", () => { fabric.fit(); redraw(); });

  pointer(fabric, redraw, node => {
    const numbers = guide.starts && guide.starts.get(node);
    if (numbers) guide.pick(numbers[0]);
  });
  document.addEventListener("keydown", event => {
    if (event.target.closest("input, select, button") && event.key !== "Escape") return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const c = fabric.camera, move = {ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60]}[event.key];
    if (move && document.activeElement === $("stage")) { c.x += move[0]; c.y += move[1]; fabric.whole = false; }
    else if (event.key === " ") play(!state.playing);
    else if (event.key === "+" || event.key === "=") fabric.zoom(1.3);
    else if (event.key === "-") fabric.zoom(1 / 1.3);
    else if (event.key === "0") fabric.fit();
    else return;
    event.preventDefault();
    redraw();
  });
  const resized = () => { fabric.settle(); if (fabric.whole) fabric.fit(); redraw(); if (timeline) { timeline.draw(); timeline.moveTo(state.time); } };
  new ResizeObserver(resized).observe($("stage"));
  scheme(() => { Colours.read(); guide.show(); redraw(); if (timeline) timeline.draw(); });
  $("stage").setAttribute("aria-label", `Drawing of ${data.fabric.name}: ${plural(data.fabric.ranks, "rank")}`);
  fabric.fit();
  resized();
  if (plan) seek(0);
  document.documentElement.dataset.ready = "yes";
  window.collsched = {state, fabric, seek, play, redraw, guide};
}

function pointer(fabric, redraw, chosen) {
  const stage = $("stage"), tip = $("tip");
  let held = null, moved = false;
  const here = event => { const box = stage.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  stage.addEventListener("wheel", event => {
    if (!event.ctrlKey && document.activeElement !== stage) return; // the page scrolls until the drawing is in use
    event.preventDefault();
    fabric.zoom(Math.exp(-event.deltaY * 0.0015), ...here(event));
    redraw();
  }, {passive: false});
  stage.addEventListener("pointerdown", event => { held = here(event); moved = false; stage.setPointerCapture(event.pointerId); });
  stage.addEventListener("pointermove", event => {
    const now = here(event);
    if (held) {
      if (!moved && Math.hypot(now[0] - held[0], now[1] - held[1]) < 4) return;
      moved = true; tip.hidden = true;
      fabric.camera.x += now[0] - held[0]; fabric.camera.y += now[1] - held[1];
      held = now; fabric.whole = false;
      redraw();
      return;
    }
    const text = fabric.describe(fabric.at(...now));
    tip.hidden = !text;
    if (!text) return;
    tip.replaceChildren(make("b", {}, text[0]), `\n${text[1]}`);
    const {width, height} = stage.getBoundingClientRect();
    tip.style.left = `${Math.min(now[0] + 14, width - tip.offsetWidth - 8)}px`;
    tip.style.top = `${Math.min(now[1] + 14, height - tip.offsetHeight - 8)}px`;
  });
  stage.addEventListener("pointerup", event => {
    const found = held && !moved ? fabric.at(...here(event)) : null;
    held = null;
    if (!found) return;
    if ("frame" in found) { fabric.focus(...fabric.drawing.frames[found.frame].slice(1)); redraw(); }
    if ("node" in found) chosen(found.node);
  });
  stage.addEventListener("pointerleave", () => { tip.hidden = true; });
}

// Automatic, light, dark; the choice lasts as long as the page.
function scheme(changed) {
  const order = ["auto", "light", "dark"], signs = {auto: "◐ auto", light: "○ light", dark: "● dark"};
  let current = "auto";
  $("theme").addEventListener("click", () => {
    current = order[(order.indexOf(current) + 1) % 3];
    if (current === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = current;
    $("theme").textContent = signs[current];
    $("theme").setAttribute("aria-label", `Colour scheme: ${current === "auto" ? "automatic" : current}`);
    changed();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
}

start().catch(error => {
  $("title").textContent = "This page cannot be shown";
  $("subtitle").textContent = `${error.message}; a browser of 2023 or newer is needed`;
  throw error;
});
