// pictures.js: curves as SVG, matrices and weights on canvases. Colors come from the style sheet, so that they follow light and dark.

"use strict";

/** A color of the style sheet as [red, green, blue]. */
function paint(name) {
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

/** Draws `rows` × `columns` numbers, one square each; `color(value, row, column)` gives [red, green, blue]. */
function drawMatrix(canvas, rows, columns, color) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const [red, green, blue] = color(i);
    image.data.set([red, green, blue, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Color of a number from −1 to 1: from one hue over the ground to the other. */
function diverging() {
  const [low, ground, high] = [paint("low"), paint("ground"), paint("high")];
  return (value) => {
    const to = value < 0 ? low : high;
    const share = Math.min(1, Math.abs(value));
    return ground.map((channel, i) => channel + share * (to[i] - channel));
  };
}

/** A centered Gram matrix, its examples sorted by class. The scale is that of its own root mean square. */
function drawGram(canvas, gram, labels) {
  const n = Math.round(Math.sqrt(gram.length));
  const order = Array.from({ length: n }, (_, i) => i).sort((a, b) => labels[a] - labels[b] || a - b);
  let squares = 0;
  for (const value of gram) squares += value * value;
  const scale = 0.4 / Math.max(Math.sqrt(squares / gram.length), 1e-30);
  const color = diverging();
  drawMatrix(canvas, n, n, (i) => color(Math.tanh(scale * gram[order[Math.floor(i / n)] * n + order[i % n]])));
}

/** Confusions: a row for each class, a column for each answer; the darker, the more of the row. */
function drawConfusion(canvas, confusion, classes) {
  const [ground, right, wrong] = [paint("ground"), paint("right"), paint("high")];
  drawMatrix(canvas, classes, classes, (i) => {
    const row = Math.floor(i / classes);
    const all = confusion.subarray(row * classes, (row + 1) * classes).reduce((sum, count) => sum + count, 0);
    const share = Math.sqrt(confusion[i] / Math.max(all, 1));
    const to = row === i % classes ? right : wrong;
    return ground.map((channel, c) => channel + share * (to[c] - channel));
  });
}

/** Weights of the first units of a first layer, each as the image that it looks for. Shape of an image: [channels, height, width]. */
function drawWeights2d(canvas, weights, [, height, width], inputs, across, down) {
  const color = diverging();
  const [columns, rows] = [across * (width + 1) - 1, down * (height + 1) - 1];
  const ground = paint("line");
  const scales = Array.from({ length: across * down }, (_, unit) => {
    const own = weights.subarray(unit * inputs, unit * inputs + height * width);
    return own.reduce((largest, weight) => Math.max(largest, Math.abs(weight)), 1e-30);
  });
  drawMatrix(canvas, rows, columns, (i) => {
    const [y, x] = [Math.floor(i / columns), i % columns];
    const [row, column] = [y % (height + 1), x % (width + 1)];
    if (row === height || column === width) return ground;
    const unit = Math.floor(y / (height + 1)) * across + Math.floor(x / (width + 1));
    return color(weights[unit * inputs + row * width + column] / scales[unit]);
  });
}

/** A running mean over `span` numbers, so that the loss of single batches does not hide the course. */
function smoothed(values, span) {
  let sum = 0;
  return values.map((value, i) => {
    sum += value - (i >= span ? values[i - span] : 0);
    return sum / Math.min(i + 1, span);
  });
}

/**
 * A chart of lines as SVG. Lines are `{ name, color, points: [[x, y], …] }`. `low` and `high` bound y where they are given.
 * `mark` is a step to mark, with its word. `width` is that of its place, so that text keeps its size.
 */
function chart({ title, lines, steps, low, high, unit, mark, width }) {
  const [height, left, right, top, bottom] = [250, 46, 12, 10, 30];
  const all = lines.flatMap(({ points }) => points.map(([, y]) => y)).filter(Number.isFinite);
  const least = low ?? Math.min(...all, Infinity);
  const most = high ?? Math.max(...all, -Infinity);
  const [from, to] = all.length === 0 ? [0, 1] : [least, most > least ? most : least + 1];
  const x = (step) => left + ((width - left - right) * step) / Math.max(steps, 1);
  const y = (value) => top + ((height - top - bottom) * (to - value)) / (to - from);
  const parts = [];
  for (const value of ticks(from, to, 5)) {
    parts.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${y(value)}" y2="${y(value)}"/>`);
    parts.push(`<text x="${left - 6}" y="${y(value) + 4}" text-anchor="end">${short(value)}${unit}</text>`);
  }
  for (const step of ticks(0, steps, 6)) {
    parts.push(`<text x="${x(step)}" y="${height - 8}" text-anchor="middle">${step}</text>`);
  }
  if (mark !== null) {
    parts.push(`<line class="mark" x1="${x(mark)}" x2="${x(mark)}" y1="${top}" y2="${height - bottom}"/>`);
    const end = mark > 0.7 * steps;
    parts.push(`<text class="word" x="${x(mark) + (end ? -5 : 5)}" y="${top + 10}" text-anchor="${end ? "end" : "start"}">guide leaves</text>`);
  }
  for (const { color, points } of lines) {
    const path = points.filter(([, value]) => Number.isFinite(value))
      .map(([step, value], i) => `${i ? "L" : "M"}${x(step).toFixed(1)} ${y(value).toFixed(1)}`).join("");
    if (path) parts.push(`<path d="${path}" stroke="var(--arm-${color})"/>`);
    const last = points.at(-1);
    if (last && Number.isFinite(last[1])) parts.push(`<circle cx="${x(last[0])}" cy="${y(last[1])}" r="3.5" fill="var(--arm-${color})"/>`);
  }
  const told = lines.filter(({ points }) => points.length).map(({ name, points }) => `${name} ${short(points.at(-1)[1])}${unit}`);
  const label = `${title}. ${told.length ? `Now: ${told.join(", ")}.` : "Nothing yet."}`;
  return `<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${escapeText(label)}">${parts.join("")}</svg>`;
}

/** Round numbers between two others, about `count` of them. */
function ticks(from, to, count) {
  const rough = (to - from) / count;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-12)));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const first = Math.ceil(from / step - 1e-9);
  return Array.from({ length: Math.max(0, Math.floor(to / step + 1e-9) - first + 1) }, (_, i) => (first + i) * step);
}

/** A number in few digits. */
function short(value) {
  return Number.isFinite(value) ? String(Number(value.toPrecision(3))) : "not finite";
}

/** Text as it stands in HTML. */
function escapeText(text) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  return String(text).replace(/[&<>"]/g, (character) => names[character]);
}
