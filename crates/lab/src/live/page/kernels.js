// kernels.js: the list of a step's dispatches, and the kernel behind each: its header, its text, its numbers.

"use strict";

/** Parts of a kernel's header comment: the first line, then `launch`, `memory`, `cost` and others by name. */
function headerOf({ wgsl }) {
  const lines = wgsl.split("\n");
  const end = lines.findIndex((line) => !line.startsWith("//"));
  const comment = lines.slice(0, end).map((line) => line.replace(/^\/\/ ?/, ""));
  const parts = { summary: "" };
  let name = "summary";
  for (const line of comment) {
    const part = line.match(/^(in|out|launch|memory|cost|numeric|variants|source) +(.*)/);
    if (part) name = part[1];
    const text = part ? part[2] : line.trim();
    parts[name] = parts[name] ? `${parts[name]} ${text}` : text;
  }
  return { parts, body: lines.slice(end).join("\n").trim() };
}

/** Text of a kernel in HTML: comments, words of the language and numbers have classes of their own. */
function marked(wgsl) {
  const words = "fn|let|var|const|override|struct|alias|if|else|for|while|loop|return|break|continue|enable|switch|case|default";
  const pattern = new RegExp(`(\\/\\/[^\\n]*)|(@\\w+)|\\b(${words})\\b|\\b(\\d[\\w.]*)\\b`, "g");
  let [html, at] = ["", 0];
  for (const match of wgsl.matchAll(pattern)) {
    const kind = ["comment", "attribute", "word", "number"][match.slice(1).findIndex((group) => group !== undefined)];
    html += escapeText(wgsl.slice(at, match.index)) + `<span class="${kind}">${escapeText(match[0])}</span>`;
    at = match.index + match[0].length;
  }
  return html + escapeText(wgsl.slice(at));
}

/** A launch as a picture: its workgroups, and one of them with its invocations, the first in color. */
function threadMap(groups, workgroup) {
  const [cell, gap, most] = [9, 70, 16];
  const grid = ([across, down], left, marked) => {
    const [columns, rows] = [Math.min(across, most), Math.min(down, most)];
    const squares = Array.from({ length: columns * rows }, (_, i) =>
      `<rect x="${left + cell * (i % columns)}" y="${cell * Math.floor(i / columns)}" width="${cell - 1}" height="${cell - 1}" class="${i === 0 ? marked : "square"}"/>`);
    return { squares, right: left + cell * columns, bottom: cell * rows };
  };
  // 256 invocations in a row are 16 rows of 16 here.
  const [x, y, z] = workgroup;
  const folded = y === 1 && x > most ? [most, x / most] : [x, y * z];
  const all = grid([groups[0], groups[1] * groups[2]], 0, "group");
  const one = grid(folded, all.right + gap, "thread");
  const bottom = Math.max(all.bottom, one.bottom, 40);
  const more = groups[0] > most || groups[1] * groups[2] > most ? ", the first of them shown" : "";
  const words = `${groups.reduce((a, b) => a * b)} workgroups${more}, each of ${x * y * z} invocations`;
  return `<svg viewBox="0 0 ${one.right} ${bottom}" width="${one.right}" height="${bottom}" role="img" aria-label="${words}">
    ${all.squares.join("")}${one.squares.join("")}
    <path d="M${cell - 1} 0 L${all.right + gap} 0 M${cell - 1} ${cell - 1} L${all.right + gap} ${one.bottom - 1}"/></svg><p class="quiet hint">${words}</p>`;
}

/** The table of a plan's dispatches. `open(number)` is called for the one that a reader wants to see. */
class KernelReader {
  constructor(elements, replay, experiment) {
    this.elements = elements;
    this.replay = replay;
    this.experiment = experiment;
    /** Sum of measured times by plan, and their number. */
    this.times = new Map();
    for (const name of Object.keys(replay.document.plans)) elements.plan.append(new Option(name.replace(".", ": "), name));
    elements.plan.value = experiment.planAt(experiment.info.arms.find(({ guided }) => guided) ?? experiment.info.arms[0], 0);
    elements.plan.addEventListener("change", () => this.show());
    elements.close.addEventListener("click", () => elements.dialog.close());
    elements.rows.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.open(Number(button.dataset.number));
    });
    this.show();
  }

  /** Adds times of the dispatches of some plans. */
  add(times) {
    for (const [arm, measured] of Object.entries(times)) {
      if (!measured) continue;
      const { steps } = this.experiment.curves.get(arm);
      const plan = this.experiment.planAt(this.experiment.info.arms.find(({ name }) => name === arm), steps.at(-1));
      const known = this.times.get(plan) ?? { sums: measured.map(() => 0), count: 0 };
      known.sums = known.sums.map((sum, i) => sum + measured[i]);
      known.count += 1;
      this.times.set(plan, known);
    }
    this.show();
  }

  /** Mean milliseconds of a dispatch of the plan that is shown; `null` if none was measured. */
  time(number) {
    const known = this.times.get(this.elements.plan.value);
    return known ? known.sums[number] / known.count : null;
  }

  show() {
    const { plan, rows, total } = this.elements;
    const { dispatches } = this.replay.document.plans[plan.value];
    const known = this.times.get(plan.value);
    rows.innerHTML = dispatches.map(({ op, layer, kernel, groups, flops, bytes }, number) => {
      const { name, workgroup } = this.replay.document.kernels[kernel];
      const time = this.time(number);
      return `<tr><td>${number + 1}</td><td><button type="button" data-number="${number}">${escapeText(name)}</button></td>
        <td>${escapeText(op.replaceAll("_", " "))}</td><td>${escapeText(layer)}</td><td>${groups.join("×")} × ${workgroup.reduce((a, b) => a * b)}</td>
        <td>${short(flops / 1e6)}</td><td>${short(bytes / 1024)}</td><td>${time === null ? "" : time.toFixed(3)}</td></tr>`;
    }).join("");
    const all = known ? known.sums.reduce((sum, time) => sum + time, 0) / known.count : null;
    total.textContent = `${dispatches.length} dispatches, ${new Set(dispatches.map(({ kernel }) => kernel)).size} kernels` +
      (all === null ? "" : `; ${all.toFixed(2)} ms on this GPU, mean of ${known.count}`);
  }

  open(number) {
    const { plan, dialog, title, facts, map, source } = this.elements;
    const { op, layer, kernel, groups, dims, bind, flops, bytes } = this.replay.document.plans[plan.value].dispatches[number];
    const described = this.replay.document.kernels[kernel];
    const { parts, body } = headerOf(described);
    const time = this.time(number);
    const buffers = bind.map(([buffer, , size], i) =>
      `${i + 1}: ${this.replay.document.buffers[buffer].label || "scratch"}, ${size} bytes, ${described.access[i]}`);
    const rows = {
      "for": `${op.replaceAll("_", " ")}${layer ? ` of ${layer}` : ""}`,
      "computes": parts.summary.replace(`${described.name}.wgsl: `, ""),
      "threads": parts.launch,
      "this launch": `${groups.join(" × ")} workgroups of ${described.workgroup.join(" × ")} invocations`,
      "workgroup memory": `${parts.memory}; ${described.memory} bytes`,
      "cost": `${parts.cost}; here ${flops.toLocaleString("en")} FLOP, ${bytes.toLocaleString("en")} bytes`,
      "time": time === null ? "not measured: “Measure a step” does it" : `${time.toFixed(3)} ms, ${short(flops / time / 1e6)} GFLOP/s, ${short(bytes / time / 1e6)} GB/s`,
      "in": parts.in,
      "out": parts.out,
      "numerics": parts.numeric,
      "source": parts.source,
      "compiled with": [...described.flags, ...Object.entries(described.constants).map(([name, value]) => `${name} = ${value}`)].join(", "),
      "sizes": dims.join(" "),
      "buffers": buffers.join("; "),
    };
    title.textContent = `${described.name}.wgsl`;
    facts.innerHTML = Object.entries(rows).filter(([, text]) => text)
      .map(([name, text]) => `<dt>${name}</dt><dd>${escapeText(text)}</dd>`).join("");
    map.innerHTML = threadMap(groups, described.workgroup);
    source.innerHTML = marked(body);
    dialog.showModal();
  }
}
