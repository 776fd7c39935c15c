// What all parts of the page share: the data, colours, numbers for people, elements.
const $ = id => document.getElementById(id);

async function decode() {
  const packed = Uint8Array.from(atob($("data").textContent), c => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

// make("p", {class: "note"}, "text", child, …); "onclick" and the like are listeners.
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const clamp = (value, low = 0, high = 1) => Math.min(high, Math.max(low, value));
const plural = (count, one, many = one + "s") => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
const percent = share => `${(100 * share).toFixed(share > 0.9995 || share === 0 ? 0 : 1)} %`;

function seconds(value) {
  if (value === 0) return "0";
  for (const [unit, size] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6]])
    if (value >= size) return `${Number((value / size).toPrecision(4))} ${unit}`;
  return `${Number((value / 1e-9).toPrecision(3))} ns`;
}

// Colours follow the scheme; `Colours.read()` after each change of it.
const Colours = {
  read() {
    const style = getComputedStyle(document.documentElement);
    for (const name of ["bg", "card", "ink", "soft", "faint", "line", "fill", "wire", "rank", "switch", "frame", "accent", "cut", "copy", "reduce"])
      this[name] = style.getPropertyValue(`--${name}`).trim();
    const stops = [0, 1, 2, 3].map(i => hexToRgb(style.getPropertyValue(`--heat${i}`).trim()));
    this.heat = Array.from({length: 64}, (_, i) => {
      const at = i / 63 * 3, low = Math.min(2, Math.floor(at)), part = at - low;
      return stops[low].map((c, k) => Math.round(c + (stops[low + 1][k] - c) * part));
    });
    this.heatText = this.heat.map(c => `rgb(${c})`);
    const dark = hexToRgb(this.bg)[0] < 100;
    this.kinds = dark ? ["#6ea3ff", "#36cfbf", "#e6b450", "#d18cff", "#8bd450", "#ff8a5c"] : ["#2058c0", "#0b8f83", "#b7791f", "#8250df", "#4d8a1c", "#c2410c"];
  },
};

function hexToRgb(text) {
  const value = parseInt(text.slice(1), 16);
  return [value >> 16 & 255, value >> 8 & 255, value & 255];
}

// A canvas as large as its box on this screen; its context, scaled to CSS pixels.
function fitted(canvas) {
  const ratio = window.devicePixelRatio || 1, {width, height} = canvas.getBoundingClientRect();
  const w = Math.max(1, Math.round(width * ratio)), h = Math.max(1, Math.round(height * ratio));
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return [context, width, height];
}
