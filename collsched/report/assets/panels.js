// The texts and small charts around the fabric.
function heading(data) {
  const {fabric, plan} = data;
  const parts = [plural(fabric.ranks, "rank")];
  if (fabric.hosts) parts.push(plural(fabric.hosts, "host"));
  if (fabric.switches) parts.push(plural(fabric.switches, "switch", "switches"));
  if (fabric.grid) parts.push(`grid of ${fabric.grid.join(" × ")}`);
  $("title").textContent = plan ? `${plan.title} on ${fabric.name}` : fabric.name;
  $("subtitle").textContent = parts.join(" · ") + (plan ? ` · ${plan.size}` : "");
  if (!plan) { $("facts").remove(); $("sentence").remove(); }
  else {
    $("facts").append(...plan.facts.map(([label, value, remark]) => make("div", {}, make("dt", {}, label), make("dd", {}, value, make("small", {}, remark)))));
    if (plan.cuts.length) $("sentence").append(make("i"));
    $("sentence").append(plan.sentences.join(" · "));
  }
  $("foot").append(...(plan ? plan.notes.map(note => make("span", {}, note)) : []), make("span", {}, plan ? `plan ${plan.digest.slice(0, 12)} · collsched ${data.version}` : `collsched ${data.version}`));
}

function legendRow(sample, text) {
  return [sample, make("span", {}, text)];
}
const swatch = colour => make("span", {class: "swatch", style: `background:${colour}`});
const dot = style => make("span", {class: "dot", style});

// The card that belongs to the mode: what is followed, or what colours mean.
class Guide {
  constructor(data, state, changed) {
    Object.assign(this, {data, state, changed, plan: data.plan, card: make("div", {class: "card", id: "guide"})});
    $("side").append(this.card);
    if (!this.plan) return;
    this.starts = new Map();
    this.plan.journeys.forEach((journey, number) => {
      if (!this.starts.has(journey.start)) this.starts.set(journey.start, []);
      this.starts.get(journey.start).push(number);
    });
  }

  show() {
    this.card.replaceChildren(...({journey: () => this.journey(), traffic: () => this.ramp("All traffic", "How full each link is at this moment; ranks are as dark as the links into them.", "idle", "full"),
      load: () => this.ramp("Load", "How long its bytes keep each link busy, against the fullest link: what meets the bound is as dark everywhere around the cut.", "unused", "bottleneck"), kinds: () => this.kinds()})[this.state.mode]());
  }

  pick(number) {
    this.state.journey = number;
    this.show();
    this.changed();
  }

  journey() {
    const {plan, data} = this, names = data.nodes.name, current = plan.journeys[this.state.journey];
    if (!current) return [make("h2", {}, "One tree"), make("p", {class: "note"}, "Nothing moves in this plan.")];
    const parts = this.starts.get(current.start), reducing = current.reduces.some(Boolean), copying = current.reduces.some(value => !value);
    const start = make("select", {"aria-label": "Whose shard is followed", onchange: event => this.pick(this.starts.get(Number(event.target.value))[0])},
      ...[...this.starts.keys()].map(node => make("option", {value: node, selected: node === current.start}, names[node])));
    const part = make("select", {"aria-label": "Which chunk of the shard", onchange: event => this.pick(Number(event.target.value))},
      ...parts.map(number => { const j = plan.journeys[number]; return make("option", {value: number, selected: number === this.state.journey}, j.end === null ? `chunk ${j.part} of ${j.parts}` : `to ${names[j.end]}, chunk ${j.part} of ${j.parts}`); }));
    const step = by => () => this.pick((this.state.journey + by + plan.journeys.length) % plan.journeys.length);
    const rows = [];
    if (reducing) rows.push(...legendRow(swatch("var(--reduce)"), "partial sums on their way to the root"));
    if (copying) rows.push(...legendRow(swatch("var(--copy)"), reducing ? "the result on its way to all" : "data on its way"));
    if (reducing) rows.push(...legendRow(dot("background:color-mix(in srgb, var(--reduce) 45%, transparent)"), "holds a part that is not yet passed on"));
    if (copying) rows.push(...legendRow(dot("background:color-mix(in srgb, var(--copy) 45%, transparent)"), "has arrived, as far as it is filled"));
    rows.push(...legendRow(dot("border:2px solid var(--ink)"), reducing ? "root of the tree" : "where the data starts"));
    return [make("h2", {}, "One tree"), make("p", {class: "note"}, `${plural(plan.chunks, "chunk")}, each along its own tree. Follow one:`), start, parts.length > 1 ? part : "",
      make("div", {class: "nav"}, make("button", {type: "button", onclick: step(-1)}, "‹ previous"), make("button", {type: "button", onclick: step(1)}, "next ›")),
      make("p", {class: "note", style: "margin-top:8px"}, `${current.bytes} in ${plural(plan.motion.segments, "piece")}, ${plural(current.routes.length, "hop")}, ${current.depth} in a row. Long streaks are pieces that follow each other.`),
      make("div", {class: "legend"}, ...rows)];
  }

  ramp(title, text, low, high) {
    return [make("h2", {}, title), make("p", {class: "note"}, text), make("div", {class: "ramp"}), make("div", {class: "ends"}, make("span", {}, low), make("span", {}, high)),
      ...(this.state.cut && this.plan.cuts.length ? [make("div", {class: "legend"}, ...legendRow(swatch("var(--cut)"), `bottleneck cut, ${this.plan.cuts[0].rate}`))] : [])];
  }

  kinds() {
    return [make("h2", {}, "Links"), make("div", {class: "legend"}, ...this.data.kinds.flatMap((kind, number) => legendRow(swatch(Colours.kinds[number % Colours.kinds.length]), `${kind.ends}, ${kind.rate}: ${kind.links.toLocaleString("en")}`)))];
  }
}

function loads(data) {
  const {plan} = data, rows = data.kinds.map((kind, number) => {
    const {mean, max} = plan.loads[number];
    return make("div", {class: "load"}, make("div", {class: "what"}, make("span", {}, `${kind.ends} ${kind.rate}`), make("span", {}, percent(mean))),
      make("div", {class: "meter", role: "img", "aria-label": `${kind.ends}: mean ${percent(mean)}, largest ${percent(max)}`}, make("i", {style: `width:${100 * clamp(mean)}%`}), make("b", {style: `left:calc(${100 * clamp(max)}% - 2px)`})));
  });
  $("side").append(make("div", {class: "card last"}, make("h2", {}, "Load by kind of link"), make("p", {class: "note"}, "Time that its bytes need, of the bottleneck's time: mean over the links, and a mark at the fullest."), make("div", {class: "loads"}, ...rows)));
}

function trees(data) {
  const {plan} = data, moving = plan.trees.filter(({kinds}) => kinds.length);
  const alike = moving.length === 2 && JSON.stringify(moving[0].kinds) === JSON.stringify(moving[1].kinds);
  const crossed = kind => kind.crossings.flatMap(([name, count], i) => [i ? make("br") : "", `${count.toLocaleString("en")} × ${name}`]);
  const tables = (alike ? moving.slice(1) : moving).map(({name, kinds}) => make("div", {class: "scroll"}, make("table", {},
    make("thead", {}, make("tr", {}, make("th", {scope: "col"}, alike ? "in- and out-trees, each" : name), make("th", {scope: "col"}, "hops deep"), make("th", {scope: "col"}, "each crosses"))),
    make("tbody", {}, ...kinds.map(kind => make("tr", {}, make("td", {}, kind.trees.toLocaleString("en"), kind.copies > kind.trees ? make("small", {}, `for ${kind.copies.toLocaleString("en")}`) : ""),
      make("td", {}, String(kind.depth)), make("td", {}, ...crossed(kind))))))));
  $("below").append(make("div", {class: "card"}, make("h2", {}, "Trees"), make("p", {class: "note"}, "Those that look alike in one row, the most frequent first."), ...tables));
}

function sizes(data) {
  const {table} = data.plan;
  if (!table) return;
  const names = table.rows.map(row => row.name), colour = number => number === 0 ? Colours.accent : Colours.kinds[1 + (number - 1) % (Colours.kinds.length - 1)];
  const head = make("tr", {}, make("th", {scope: "col"}, "buffer"), ...names.map((name, number) => { const th = make("th", {scope: "col"}, make("span", {style: `display:inline-block;width:10px;border-top:2px solid ${colour(number)};vertical-align:4px;margin-right:5px`}), name); return th; }));
  const body = table.labels.map((label, i) => {
    const best = Math.min(...table.rows.map(row => row.seconds[i])), mine = table.rows[0].seconds[i];
    return make("tr", {}, make("th", {scope: "row"}, label), ...table.rows.map((row, number) => {
      const value = row.seconds[i], ratio = mine ? value / mine : 1;
      return make("td", {class: value === best ? "best" : null}, seconds(value), number ? make("small", {}, `×${ratio.toFixed(ratio < 9.95 ? 2 : 0)}`) : null);
    }));
  });
  $("below").prepend(make("div", {class: names.length > 5 ? "card wide" : "card"}, make("h2", {}, "Time by size, against the usual algorithms"), make("p", {class: "note"}, table.source),
    table.sizes.length > 1 ? chart(table, colour) : "", make("div", {class: "scroll"}, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)))));
}

// Rate over size, both logarithmic: equal distances are equal ratios.
function chart(table, colour) {
  const width = 760, height = 230, left = 66, right = 20, top = 12, bottom = 26;
  const rates = table.rows.map(row => row.seconds.map((value, i) => value ? table.sizes[i] / value / 1e9 : 0)), known = rates.flat().filter(rate => rate > 0);
  if (!known.length) return "";
  const lows = table.sizes.map(Math.log2), span = lows.at(-1) - lows[0], least = Math.log10(Math.min(...known)), most = Math.log10(Math.max(...known)) + 0.06;
  const x = i => left + (lows[i] - lows[0]) / span * (width - left - right), y = rate => height - bottom - (Math.log10(rate) - least) / (most - least || 1) * (height - top - bottom);
  const picture = svg("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "Rate by size of the buffer; the table below has the times", style: "width:100%;margin-top:8px;display:block"});
  for (let power = Math.ceil(least); power <= most; power++) {
    const rate = 10 ** power, label = svg("text", {x: left - 8, y: y(rate) + 4, "text-anchor": "end"});
    label.textContent = rate >= 1 ? `${rate} GB/s` : `${rate * 1000} MB/s`;
    picture.append(svg("line", {class: "grid", x1: left, x2: width - right, y1: y(rate), y2: y(rate)}), label);
  }
  table.labels.forEach((text, i) => {
    if (i % 2 && table.labels.length > 6) return;
    const label = svg("text", {x: x(i), y: height - 8, "text-anchor": i === 0 ? "start" : i === table.labels.length - 1 ? "end" : "middle"});
    label.textContent = text;
    picture.append(label);
  });
  rates.map((values, number) => [values, number]).reverse().forEach(([values, number]) => {
    const points = values.flatMap((rate, i) => rate > 0 ? [[x(i), y(rate)]] : []);
    picture.append(svg("polyline", {points: points.join(" "), fill: "none", stroke: colour(number), "stroke-width": number ? 1.5 : 2.8, "stroke-linejoin": "round"}),
      ...points.map(([cx, cy]) => svg("circle", {cx, cy, r: number ? 2.2 : 3.4, fill: colour(number)})));
  });
  return picture;
}
