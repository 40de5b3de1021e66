// Measures the pages that `cases` holds, each in a frame of its own, and writes what is wrong with them into the document.
// A case: {name, width, html}. Lines begin with the name of the case; the last one says how many cases were measured.

const findings = [];
const SMALLEST = { phone: 11, desk: 10.5 }; // CSS pixels
const smallest = (view) => (view.innerWidth < 500 ? SMALLEST.phone : SMALLEST.desk);
const visible = (element) => element.getClientRects().length > 0;
const short = (text) => JSON.stringify(text.trim().slice(0, 40));

function channels(color) {
  const [r, g, b, a = 1] = color.match(/[\d.]+/g).map(Number);
  return { r, g, b, a };
}

function luminance({ r, g, b }) {
  const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

// Contrast of WCAG 2, 1 to 21.
function contrast(a, b) {
  const [x, y] = [luminance(channels(a)) + 0.05, luminance(channels(b)) + 0.05];
  return Math.max(x, y) / Math.min(x, y);
}

function background(view, element) {
  for (let at = element; at; at = at.parentElement) {
    const color = view.getComputedStyle(at).backgroundColor;
    if (channels(color).a > 0.99) return color;
  }
  return "rgb(255, 255, 255)";
}

// A drawing: no text is cut, none covers another, all of it can be read.
function drawing(view, svg, wrong) {
  const frame = svg.getBoundingClientRect();
  const label = svg.getAttribute("aria-label");
  const scale = svg.viewBox.baseVal.width ? frame.width / svg.viewBox.baseVal.width : 1;
  const texts = [...svg.querySelectorAll("text")].map((text) => ({
    words: short(text.textContent),
    box: text.getBoundingClientRect(),
    style: view.getComputedStyle(text),
    turned: text.hasAttribute("transform"),
    x: text.getAttribute("x") * scale,
  }));
  texts.forEach(({ words, box, style, turned, x }, index) => {
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
      wrong(`${label}: ${words} leaves the drawing`);
    const size = scale * parseFloat(style.fontSize);
    if (size < smallest(view) - 0.05) wrong(`${label}: ${words} has ${size.toFixed(1)} px`);
    if (!svg.classList.contains("squares") && contrast(style.fill, background(view, svg)) < 3.5)
      wrong(`${label}: ${words} cannot be told from its ground`);
    for (const other of texts.slice(index + 1)) {
      if (turned && other.turned) {
        // Side by side at 45 degrees.
        if (Math.abs(x - other.x) * Math.SQRT1_2 < size) wrong(`${label}: ${words} covers ${other.words}`);
        continue;
      }
      const wide = Math.min(box.right, other.box.right) - Math.max(box.left, other.box.left);
      const high = Math.min(box.bottom, other.box.bottom) - Math.max(box.top, other.box.top);
      if (wide > 1 && high > 1) wrong(`${label}: ${words} covers ${other.words}`);
    }
  });
}

function page(view, wrong) {
  const { document } = view;
  const room = document.documentElement;
  if (room.scrollWidth > view.innerWidth) wrong(`is ${room.scrollWidth} px wide`);
  for (const scroller of document.querySelectorAll("table, pre")) {
    const box = scroller.closest(".scroll, pre");
    const scrolls = box && /auto|scroll/.test(view.getComputedStyle(box).overflowX);
    if (!scrolls) wrong(`${short(scroller.textContent)} has no scroller`);
    else if (box.getBoundingClientRect().right > view.innerWidth) wrong(`${short(scroller.textContent)} sticks out`);
  }
  for (const figure of [...document.querySelectorAll("figure")].filter(visible)) {
    const svgs = [...figure.querySelectorAll("svg[role=img]")].filter(visible);
    if (svgs.length !== 1) wrong(`${svgs.length} drawings of a figure show`);
    const inside = figure.getBoundingClientRect();
    const scrolls = /auto|scroll/.test(view.getComputedStyle(figure).overflowX);
    for (const svg of svgs) {
      if (!scrolls && svg.getBoundingClientRect().right > inside.right + 1) wrong("a drawing is cut");
      drawing(view, svg, wrong);
    }
  }
  const walker = document.createTreeWalker(document.body, view.NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const words = walker.currentNode.data;
    if (!words.trim() || !visible(element) || element.closest("svg")) continue;
    const style = view.getComputedStyle(element);
    if (parseFloat(style.fontSize) < smallest(view)) wrong(`${short(words)} has ${style.fontSize}`);
    const told = contrast(style.color, background(view, element));
    if (told < 4.5 - (parseFloat(style.fontWeight) >= 600 ? 1 : 0)) wrong(`${short(words)} has contrast ${told.toFixed(1)}`);
  }
}

async function measure({ name, width, html }) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width: ${width}px; height: 3000px; border: 0`;
  frame.srcdoc = html;
  const loaded = new Promise((resolve) => (frame.onload = resolve));
  document.body.append(frame);
  await loaded;
  for (const details of frame.contentDocument.querySelectorAll("details")) details.open = true;
  page(frame.contentWindow, (problem) => findings.push(`${name}: ${problem}`));
  frame.remove();
}

(async () => {
  try {
    for (const each of cases) await measure(each);
    findings.push(`measured ${cases.length}`);
  } catch (error) {
    findings.push(`failed: ${error.stack}`);
  }
  document.body.textContent = "";
  document.querySelectorAll("script").forEach((script) => script.remove());
  const list = document.createElement("pre");
  list.textContent = findings.join("\n");
  document.body.append(list);
})();
