// The fabric: a base canvas that changes with the camera, and a live one above it that changes with time.
class Fabric {
  constructor(data, state) {
    Object.assign(this, {data, state, drawing: data.drawing, nodes: data.nodes, links: data.links, plan: data.plan});
    this.base = $("base"); this.live = $("live"); this.stage = $("stage");
    this.count = this.nodes.name.length;
    this.boxes = this.nodes.name.map((_, node) => this.nodes.box.slice(4 * node, 4 * node + 4));
    this.box = node => this.boxes[node];
    this.paths = this.links.wire.map((wire, link) => this.offset(this.drawing.wires[wire], this.links.back[link]));
    this.rates = this.plan ? Uint8Array.from(atob(this.plan.motion.rates), c => c.charCodeAt(0)) : null;
    this.bins = this.plan ? this.plan.motion.bins : 1;
    this.followed = new Map();
    this.camera = {scale: 1, x: 0, y: 0};
  }

  // A link beside its wire, so that the two directions can be told apart. Parts of a wire: [x, y, x, y, …].
  offset(parts, back) {
    const away = this.count > 200 ? 0.9 : 1.5;
    const ordered = back ? parts.slice().reverse().map(part => { const r = []; for (let i = part.length - 2; i >= 0; i -= 2) r.push(part[i], part[i + 1]); return r; }) : parts;
    return ordered.map(part => {
      const moved = new Float32Array(part.length), last = part.length - 2;
      for (let i = 0; i <= last; i += 2) {
        const a = Math.max(0, i - 2), b = Math.min(last, i + 2);
        let dx = part[b] - part[a], dy = part[b + 1] - part[a + 1];
        const length = Math.hypot(dx, dy) || 1;
        moved[i] = part[i] - dy / length * away; moved[i + 1] = part[i + 1] + dx / length * away;
      }
      return moved;
    });
  }

  // As high as the drawing needs at its full width, within limits.
  settle() {
    const {width} = this.stage.getBoundingClientRect(), scale = Math.min((width - 52) / this.drawing.width, 2.6);
    this.stage.style.height = `${Math.round(clamp(this.drawing.height * scale + 76, 330, 560))}px`;
  }

  fit() {
    const {width, height} = this.stage.getBoundingClientRect(), pad = 26;
    this.whole = true;
    const scale = Math.min((width - 2 * pad) / this.drawing.width, (height - 2 * pad - 8) / this.drawing.height, 2.6);
    this.camera = {scale, x: (width - this.drawing.width * scale) / 2, y: (height - this.drawing.height * scale) / 2 + 4};
  }

  focus(x, y, w, h) {
    this.whole = false;
    const {width, height} = this.stage.getBoundingClientRect();
    const scale = Math.min(width / (w * 1.5), height / (h * 1.5), 5);
    this.camera = {scale, x: width / 2 - (x + w / 2) * scale, y: height / 2 - (y + h / 2) * scale};
  }

  zoom(factor, px, py) {
    const c = this.camera, {width, height} = this.stage.getBoundingClientRect();
    this.whole = false;
    px ??= width / 2; py ??= height / 2;
    const scale = clamp(c.scale * factor, 0.05, 12), ratio = scale / c.scale;
    this.camera = {scale, x: px - (px - c.x) * ratio, y: py - (py - c.y) * ratio};
  }

  world(context) {
    const {scale, x, y} = this.camera, ratio = window.devicePixelRatio || 1;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * x, ratio * y);
  }

  trace(context, parts) {
    for (const part of parts) {
      context.moveTo(part[0], part[1]);
      for (let i = 2; i < part.length; i += 2) context.lineTo(part[i], part[i + 1]);
    }
  }

  drawBase() {
    const [context, width, height] = fitted(this.base), {scale} = this.camera;
    context.clearRect(0, 0, width, height);
    this.world(context);
    context.lineJoin = "round";
    for (const [, x, y, w, h] of this.drawing.frames) {
      context.beginPath(); context.roundRect(x, y, w, h, 8);
      context.fillStyle = Colours.frame; context.fill();
      context.strokeStyle = Colours.line; context.lineWidth = 1 / scale; context.stroke();
    }
    const {mode} = this.state;
    if (mode === "kinds") this.drawKinds(context);
    else if (mode === "load") this.strokeHeat(context, link => Math.round(63 * this.plan.shares[link] / 1000), 1);
    else {
      context.strokeStyle = Colours.wire; context.lineWidth = Math.max(0.7 / scale, 0.9);
      context.globalAlpha = this.links.src.length > 3000 && scale < 1 ? 0.5 : 0.9;
      context.beginPath();
      for (const parts of this.drawing.wires) this.trace(context, parts);
      context.stroke();
      context.globalAlpha = 1;
    }
    if (this.state.cut) this.drawCut(context);
    this.drawNodes(context);
    this.drawLabels(context);
  }

  drawKinds(context) {
    const rates = this.data.kinds.length;
    for (let kind = rates - 1; kind >= 0; kind--) {
      context.strokeStyle = Colours.kinds[kind % Colours.kinds.length];
      context.lineWidth = Math.max(0.8 / this.camera.scale, rates > 1 ? 3.2 - 2 * kind / (rates - 1) : 1.6);
      context.globalAlpha = 0.85;
      context.beginPath();
      this.links.kind.forEach((k, link) => { if (k === kind && !(this.links.back[link] && this.twoWay(link))) this.trace(context, this.drawing.wires[this.links.wire[link]]); });
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  twoWay(link) {
    if (!this.pairs) { this.pairs = new Map(); for (const wire of this.links.wire) this.pairs.set(wire, (this.pairs.get(wire) || 0) + 1); }
    return this.pairs.get(this.links.wire[link]) > 1;
  }

  drawCut(context) {
    const cut = this.plan && this.plan.cuts[0];
    if (!cut) return;
    const thin = this.links.src.length > 1024 ? 0.5 : 1;
    for (const [width, alpha] of [[7, 0.22], [1.5, 1]]) {
      context.strokeStyle = Colours.cut; context.globalAlpha = alpha;
      context.lineWidth = Math.max(width * thin / this.camera.scale, width * thin);
      context.beginPath();
      for (const link of cut.links) this.trace(context, this.paths[link]);
      context.stroke();
    }
    context.globalAlpha = 1;
  }

  drawNodes(context) {
    const {scale} = this.camera, inCut = this.state.cut && this.plan && this.plan.cuts[0] ? new Set(this.plan.cuts[0].side) : null;
    for (let node = 0; node < this.count; node++) {
      const [x, y, w, h] = this.box(node), rank = this.nodes.rank[node] >= 0, inside = inCut && inCut.has(node);
      context.beginPath(); context.roundRect(x, y, w, h, rank ? 6 : 4);
      context.fillStyle = rank ? Colours.rank : Colours.switch; context.fill();
      context.strokeStyle = inside ? Colours.cut : rank ? Colours.faint : Colours.wire;
      context.lineWidth = inside ? Math.max(2 / scale, 2) : Math.min(1.1 / scale, 1.4); context.stroke();
    }
  }

  short(node) {
    return this.nodes.name[node].split(/[/:]/).pop();
  }

  drawLabels(context) {
    const {scale, x: cx, y: cy} = this.camera, ratio = window.devicePixelRatio || 1;
    const {width, height} = this.stage.getBoundingClientRect();
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.textBaseline = "middle"; context.textAlign = "center";
    for (let node = 0; node < this.count; node++) {
      const [x, y, w, h] = this.box(node), sx = x * scale + cx, sy = y * scale + cy, sw = w * scale, sh = h * scale;
      if (sx + sw < 0 || sy + sh < 0 || sx > width || sy > height) continue;
      const rank = this.nodes.rank[node] >= 0, name = this.short(node);
      const size = clamp(rank ? sw * 0.3 : sh * 0.72, 0, 13);
      if (size < 7.5) continue;
      context.font = `${rank ? 560 : 500} ${size}px ui-sans-serif, system-ui, "Liberation Sans", Arial, sans-serif`;
      const number = /\d+$/.exec(name), fits = context.measureText(name).width < sw - 3;
      const text = fits ? name : number ? number[0] : "";
      if (!text || context.measureText(text).width > sw) continue;
      context.fillStyle = rank ? Colours.ink : Colours.soft;
      const visible = clamp(sx + sw / 2, Math.min(40, sx + sw / 2), Math.max(width - 40, sx));
      context.fillText(text, rank ? sx + sw / 2 : visible, sy + sh / 2 + 0.5);
    }
    context.textAlign = "left"; context.textBaseline = "alphabetic"; context.fillStyle = Colours.soft;
    for (const [name, x, y, w] of this.drawing.frames) {
      const size = clamp(13 * scale, 0, 12.5);
      if (size < 7) continue;
      context.font = `500 ${size}px ui-sans-serif, system-ui, "Liberation Sans", Arial, sans-serif`;
      if (context.measureText(name).width < w * scale) context.fillText(name, x * scale + cx + 3, y * scale + cy - 4);
    }
  }

  // Links in the colours of values from 0 to 63, in sixteen strokes; those of 0 are left out.
  strokeHeat(context, value, alpha) {
    const buckets = Array.from({length: 16}, () => []);
    for (let link = 0; link < this.paths.length; link++) {
      const v = value(link);
      if (v > 0) buckets[Math.min(15, v >> 2)].push(link);
    }
    context.globalAlpha = alpha;
    buckets.forEach((some, level) => {
      if (!some.length) return;
      context.strokeStyle = Colours.heatText[level * 4 + 3];
      context.lineWidth = Math.max((0.8 + level / 14) / this.camera.scale, 1 + level / 9);
      context.beginPath();
      for (const link of some) this.trace(context, this.paths[link]);
      context.stroke();
    });
    context.globalAlpha = 1;
  }

  drawLive() {
    const [context, width, height] = fitted(this.live);
    context.clearRect(0, 0, width, height);
    if (!this.plan) return;
    this.world(context);
    if (this.state.mode === "traffic") this.drawTraffic(context);
    if (this.state.mode === "journey" && this.plan.journeys.length) this.drawJourney(context);
  }

  drawTraffic(context) {
    const bin = Math.min(this.bins - 1, Math.floor(this.state.time * this.bins));
    this.strokeHeat(context, link => this.rates[link * this.bins + bin], 1);
    this.drawNodes(context);
    this.drawIntake(context, bin);
    this.drawLabels(context);
  }

  // Ranks as dark as the links into them are full.
  drawIntake(context, bin) {
    if (!this.into) {
      this.into = this.nodes.name.map(() => []);
      this.links.dst.forEach((node, link) => this.into[node].push(link));
    }
    context.globalAlpha = this.camera.scale < 0.6 ? 0.9 : 0.3;
    for (let node = 0; node < this.count; node++) {
      const into = this.into[node];
      if (this.nodes.rank[node] < 0 || !into.length) continue;
      const mean = into.reduce((sum, link) => sum + this.rates[link * this.bins + bin], 0) / into.length;
      const [x, y, w, h] = this.box(node);
      context.fillStyle = Colours.heatText[Math.round(mean)];
      context.beginPath(); context.roundRect(x, y, w, h, 6); context.fill();
    }
    context.globalAlpha = 1;
  }

  // What a journey needs to be drawn: each hop's line with lengths along it; when each node gives and gets.
  follow(number) {
    if (this.followed.has(number)) return this.followed.get(number);
    const journey = this.plan.journeys[number], gives = new Map(), gets = new Map();
    let turn = 0;
    const hops = journey.routes.map((route, hop) => {
      const links = this.plan.routes[route], line = [], t = journey.times.slice(4 * hop, 4 * hop + 4);
      for (const link of links) for (const part of this.paths[link]) line.push(part);
      const along = [0];
      let points = [], total = 0, gaps = [];
      line.forEach((part, k) => {
        // A link around a grid leaves it and comes back: no line between its two parts.
        const jump = k && this.paths[links[0]].length > 1 && links.length === 1;
        for (let i = 0; i < part.length; i += 2) {
          if (points.length) {
            const step = Math.hypot(part[i] - points.at(-2), part[i + 1] - points.at(-1));
            const gap = jump && i === 0;
            total += gap ? 0.01 : step; along.push(total); gaps.push(gap);
          }
          points.push(part[i], part[i + 1]);
        }
      });
      const src = this.links.src[links[0]], dst = this.links.dst[links.at(-1)], reduces = journey.reduces[hop];
      if (reduces) { gives.set(src, [t[0], t[2], t[3]]); turn = Math.max(turn, t[3]); } else gets.set(dst, [t[1], t[3]]);
      return {points, along, gaps, total, t, reduces, src, dst};
    });
    const reducing = journey.reduces.some(Boolean);
    const found = {hops, gives, gets, turn, reducing, start: journey.start};
    this.followed.set(number, found);
    return found;
  }

  // Part [low, high] of a line.
  part(context, {points, along, gaps, total}, low, high) {
    const from = low * total, to = high * total;
    let drawing = false;
    for (let i = 1; i < along.length; i++) {
      if (along[i] < from || along[i - 1] > to || gaps[i - 1]) { drawing = false; continue; }
      const size = along[i] - along[i - 1] || 1, a = clamp((from - along[i - 1]) / size), b = clamp((to - along[i - 1]) / size);
      const x0 = points[2 * i - 2], y0 = points[2 * i - 1], x1 = points[2 * i], y1 = points[2 * i + 1];
      if (!drawing) context.moveTo(x0 + (x1 - x0) * a, y0 + (y1 - y0) * a);
      context.lineTo(x0 + (x1 - x0) * b, y0 + (y1 - y0) * b);
      drawing = true;
    }
  }

  drawJourney(context) {
    const found = this.follow(this.state.journey), t = this.state.time * 100000, {scale} = this.camera;
    const past = [[], []], now = [[], []];
    for (const hop of found.hops) {
      const head = clamp((t - hop.t[0]) / Math.max(1, hop.t[1] - hop.t[0])), tail = clamp((t - hop.t[2]) / Math.max(1, hop.t[3] - hop.t[2]));
      if (tail >= 1) past[hop.reduces].push(hop);
      else if (head > 0) now[hop.reduces].push([hop, tail, head]);
      else past[hop.reduces].push(hop);
    }
    context.lineCap = "round"; context.lineJoin = "round";
    const many = found.hops.length > 200;
    for (const reduces of [1, 0]) {
      const colour = reduces ? Colours.reduce : Colours.copy;
      context.strokeStyle = colour;
      context.globalAlpha = (found.reducing && (reduces ? t > found.turn : t < found.turn)) ? 0.07 : many ? 0.16 : 0.32;
      context.lineWidth = Math.max(1 / scale, 1.1);
      context.beginPath();
      for (const hop of past[reduces]) this.part(context, hop, 0, 1);
      context.stroke();
      context.globalAlpha = 1;
      context.lineWidth = Math.max((many ? 1.5 : 2.2) / scale, 2.6);
      context.beginPath();
      for (const [hop, tail, head] of now[reduces]) this.part(context, hop, tail, head);
      context.stroke();
    }
    context.lineCap = "butt";
    this.drawNodes(context);
    for (let node = 0; node < this.count; node++) if (this.nodes.rank[node] >= 0) this.drawHeld(context, found, node, t);
    this.drawLabels(context);
  }

  // How much of the chunk a rank holds: its part of a sum until it has passed it on, then the result.
  drawHeld(context, found, node, t) {
    const [x, y, w, h] = this.box(node), gives = found.gives.get(node), gets = found.gets.get(node), root = node === found.start;
    let level = 0, colour = Colours.copy;
    if (gets && t >= gets[0]) level = clamp((t - gets[0]) / Math.max(1, gets[1] - gets[0]), 0.12, 1);
    else if (gives) { level = 1 - clamp((t - gives[0]) / Math.max(1, gives[1] - gives[0])); colour = Colours.reduce; }
    else if (root && !gets) { level = 1; colour = found.reducing && t < found.turn ? Colours.reduce : Colours.copy; }
    if (level > 0) {
      context.save();
      context.beginPath(); context.roundRect(x, y, w, h, 6); context.clip();
      context.globalAlpha = this.camera.scale < 0.6 ? 0.9 : 0.42;
      context.fillStyle = colour; context.fillRect(x, y + h * (1 - level), w, h * level);
      context.restore();
    }
    if (!root) return;
    context.beginPath(); context.roundRect(x - 2.5, y - 2.5, w + 5, h + 5, 8);
    context.strokeStyle = Colours.ink; context.lineWidth = Math.max(1.8 / this.camera.scale, 1.8); context.stroke();
  }

  // What lies under a point of the stage: a node, a link or a host.
  at(px, py) {
    const {scale, x: cx, y: cy} = this.camera, x = (px - cx) / scale, y = (py - cy) / scale;
    for (let node = 0; node < this.count; node++) {
      const [nx, ny, w, h] = this.box(node);
      if (x >= nx && y >= ny && x <= nx + w && y <= ny + h) return {node};
    }
    let best = 5 / scale, link = -1;
    this.paths.forEach((parts, number) => {
      for (const part of parts)
        for (let i = 2; i < part.length; i += 2) {
          const d = distance(x, y, part[i - 2], part[i - 1], part[i], part[i + 1]);
          if (d < best) { best = d; link = number; }
        }
    });
    if (link >= 0) return {link};
    const frame = this.drawing.frames.findIndex(([, fx, fy, w, h]) => x >= fx && y >= fy && x <= fx + w && y <= fy + h);
    return frame >= 0 ? {frame} : null;
  }

  describe(found) {
    if (!found) return null;
    if ("frame" in found) return [this.drawing.frames[found.frame][0], "click to enlarge"];
    if ("node" in found) {
      const rank = this.nodes.rank[found.node];
      return [this.nodes.name[found.node], rank >= 0 ? `rank ${rank}` + (this.plan && this.plan.journeys.length ? ", click to follow its data" : "") : "switch"];
    }
    const {link} = found, kind = this.data.kinds[this.links.kind[link]];
    const lines = [`${kind.rate} in this direction`];
    if (this.plan) {
      lines.push(`busy for ${percent(this.plan.shares[link] / 1000)} of the bottleneck's time`);
      const bin = Math.min(this.bins - 1, Math.floor(this.state.time * this.bins));
      lines.push(`at this moment ${percent(this.rates[link * this.bins + bin] / 63)} full`);
    }
    return [`${this.nodes.name[this.links.src[link]]} → ${this.nodes.name[this.links.dst[link]]}`, lines.join("\n")];
  }
}

function distance(x, y, ax, ay, bx, by) {
  const dx = bx - ax, dy = by - ay, t = clamp(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy || 1));
  return Math.hypot(x - ax - dx * t, y - ay - dy * t);
}
