// Tracks over time: phases, what has arrived, and how full the links of each kind are; each kind opens into its links.
const MOST_ROWS = 1024;

class Timeline {
  constructor(data, fabric, seek) {
    Object.assign(this, {data, fabric, plan: data.plan, seek, drawn: []});
    const root = $("tracks"), {motion} = this.plan;
    $("timeline").hidden = false;
    $("timelinenote").textContent = `${motion.source}, ${plural(motion.segments, "piece")} a chunk · shade: share of the bandwidth in use, mean over the links`;
    this.cursor = make("div", {class: "cursor"});
    root.append(this.axis(), this.track(make("span", {}, ...motion.phases.flatMap(({name}, i) => [i ? ", " : "", make("span", {style: `color:var(--${name})`}, name)])), "", canvas => this.phases(canvas)),
      this.track("arrived", "of all hops' bytes", canvas => this.arrived(canvas), 30), ...this.plan.groups.flatMap(group => this.group(group)), this.cursor);
    this.root = root;
  }

  strip(draw, height) {
    const canvas = make("canvas", {"aria-hidden": "true", style: `height:${height}px`});
    const go = event => { const box = canvas.getBoundingClientRect(); this.seek(clamp((event.clientX - box.left) / box.width)); };
    canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); go(event); });
    canvas.addEventListener("pointermove", event => { if (event.buttons) go(event); });
    this.drawn.push([canvas, draw]);
    return canvas;
  }

  track(name, remark, draw, height = 18) {
    return make("div", {class: "track"}, make("span", {}, name, " ", make("small", {}, remark)), this.strip(draw, height));
  }

  axis() {
    return make("div", {class: "track"}, make("span"), this.strip(canvas => {
      const [context, width, height] = fitted(canvas), end = this.plan.motion.seconds;
      context.clearRect(0, 0, width, height);
      if (!end) return;
      context.font = "11px ui-sans-serif, system-ui, Arial, sans-serif"; context.fillStyle = Colours.faint; context.strokeStyle = Colours.line;
      const rough = end / Math.max(2, width / 110), power = 10 ** Math.floor(Math.log10(rough));
      const step = [1, 2, 5, 10].map(k => k * power).find(value => value >= rough);
      for (let i = 0; i * step < end * 0.97; i++) {
        const x = i * step / end * width;
        context.fillText(i ? seconds(i * step) : "0", x + 4, 11);
        context.beginPath(); context.moveTo(x + 0.5, 4); context.lineTo(x + 0.5, height); context.stroke();
      }
    }, 18));
  }

  phases(canvas) {
    const [context, width, height] = fitted(canvas);
    context.clearRect(0, 0, width, height);
    context.font = "11.5px ui-sans-serif, system-ui, Arial, sans-serif"; context.textBaseline = "middle";
    const half = this.plan.motion.phases.length > 1 && this.plan.motion.phases[1].from < this.plan.motion.phases[0].to - 1000;
    this.plan.motion.phases.forEach((phase, number) => {
      const x = phase.from / 1e5 * width, w = (phase.to - phase.from) / 1e5 * width;
      const y = half ? number * height / 2 : 0, h = half ? height / 2 - 1 : height;
      context.globalAlpha = 0.25; context.fillStyle = Colours[phase.name];
      context.beginPath(); context.roundRect(x + 0.5, y, Math.max(2, w - 1), h, 3); context.fill();
      context.globalAlpha = 1; context.fillStyle = Colours.ink;
      if (w > 60 && !half && this.plan.motion.phases.length > 1) context.fillText(phase.name, x + 8, y + h / 2 + 0.5);
    });
  }

  arrived(canvas) {
    const [context, width, height] = fitted(canvas), values = this.plan.motion.arrived;
    context.clearRect(0, 0, width, height);
    context.beginPath(); context.moveTo(0, height);
    values.forEach((value, i) => context.lineTo((i + 1) / values.length * width, height - value / 1000 * (height - 2)));
    context.lineTo(width, height); context.closePath();
    context.fillStyle = Colours.fill; context.fill();
    context.strokeStyle = Colours.faint; context.lineWidth = 1.2; context.stroke();
  }

  group(group) {
    const {bins} = this.plan.motion, {rates} = this.fabric;
    const mean = new Float32Array(bins);
    for (const link of group.links) for (let b = 0; b < bins; b++) mean[b] += rates[link * bins + b] / group.links.length;
    const open = make("button", {type: "button", "aria-expanded": "false", title: "Show each link"}, group.name, " ", make("small", {}, `${group.links.length.toLocaleString("en")} × ${group.rate}`));
    const line = make("div", {class: "track"}, open, this.strip(canvas => this.heat(canvas, [mean]), 18));
    open.addEventListener("click", () => {
      const opened = open.getAttribute("aria-expanded") === "true";
      open.setAttribute("aria-expanded", String(!opened));
      if (opened) { line.nextSibling.remove(); return; }
      const shown = group.links.slice(0, MOST_ROWS), height = Math.min(12 * shown.length, 288);
      const names = this.data.nodes.name, links = this.data.links, text = link => `${names[links.src[link]]} → ${names[links.dst[link]]}`;
      const rows = shown.map(link => Float32Array.from(rates.subarray(link * bins, link * bins + bins)));
      const label = shown.length > 24 ? `${text(shown[0])} to ${text(shown.at(-1))}${shown.length < group.links.length ? `, the first ${MOST_ROWS}` : ""}` : "";
      const legend = make("span", {}, label);
      if (!label) { legend.style.lineHeight = `${height / shown.length}px`; legend.style.fontSize = `${Math.min(11, height / shown.length)}px`; legend.style.whiteSpace = "pre"; legend.textContent = shown.map(text).join("\n"); }
      const strip = this.strip(canvas => this.heat(canvas, rows), height);
      line.after(make("div", {class: "track rows"}, legend, strip));
      this.heat(strip, rows);
    });
    return [line];
  }

  // Rows of values from 0 to 63, one pixel of an image each, stretched.
  heat(canvas, rows) {
    const [context, width, height] = fitted(canvas), bins = rows[0].length;
    const image = new ImageData(bins, rows.length);
    rows.forEach((row, y) => row.forEach((value, x) => {
      const [r, g, b] = Colours.heat[Math.round(clamp(value, 0, 63))], at = 4 * (y * bins + x);
      image.data.set([r, g, b, 255], at);
    }));
    const small = new OffscreenCanvas(bins, rows.length);
    small.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, width, height);
    if (rows.length > 1 && rows.length <= 64) {
      context.fillStyle = Colours.card;
      for (let i = 1; i < rows.length; i++) context.fillRect(0, Math.round(i * height / rows.length), width, 1);
    }
  }

  draw() {
    this.drawn = this.drawn.filter(([canvas]) => canvas.isConnected);
    for (const [canvas, draw] of this.drawn) draw(canvas);
  }

  moveTo(time) {
    const first = this.drawn[0][0], {left, width} = first.getBoundingClientRect();
    this.cursor.style.left = `${left - this.root.getBoundingClientRect().left + time * width}px`;
  }
}
