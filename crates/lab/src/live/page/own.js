// own.js: images of the reader's. A drawing, and data in place of those that the page came with: an IDX pair as MNIST has it, or
// image files in a folder for each class.

"use strict";

/** What a tensor of bytes or words held when the plans were recorded. */
function recorded(replay, name) {
  const { buffer, offset, shape, dtype } = replay.place(name);
  const { contents } = replay.document.buffers[buffer];
  const elements = shape.reduce((all, size) => all * size, 1);
  const bytes = contents?.data === undefined ? new Uint8Array(4 * elements) : replay.data[contents.data];
  return dtype === "u8" ? bytes.slice(offset, offset + elements) : new Uint32Array(bytes.slice(offset, offset + 4 * elements).buffer);
}

/** A picture that can be drawn on: bytes [channels, height, width], shown as squares. */
class Drawing {
  constructor(canvas, replay, data, changed) {
    this.canvas = canvas;
    this.data = data;
    this.changed = changed;
    [this.channels, this.height, this.width] = data.shape;
    // Ground and ink are those of the images: the usual brightness, and one that is far from it.
    const sorted = recorded(replay, "train.images").subarray(0, 50000).slice().sort();
    const at = (share) => sorted[Math.floor(share * (sorted.length - 1))];
    this.ground = at(0.5);
    this.ink = at(0.99) - this.ground >= this.ground - at(0.01) ? at(0.99) : at(0.01);
    this.cursor = [this.width >> 1, this.height >> 1];
    this.clear();
    let before = null;
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * this.width, ((event.clientY - box.top) / box.height) * this.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      before = place(event);
      this.stroke(before, before);
      event.preventDefault();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!before) return;
      const now = place(event);
      this.stroke(before, now);
      before = now;
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { before = null; });
    canvas.addEventListener("keydown", (event) => this.key(event));
    for (const change of ["focus", "blur"]) canvas.addEventListener(change, () => this.show());
  }

  /** Arrow keys move a cursor, the space bar draws there. */
  key(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (move) {
      this.cursor = [
        Math.min(this.width - 1, Math.max(0, this.cursor[0] + move[0])),
        Math.min(this.height - 1, Math.max(0, this.cursor[1] + move[1])),
      ];
      this.show();
    } else if (event.key === " " || event.key === "Enter") {
      const center = this.cursor.map((at) => at + 0.5);
      this.stroke(center, center);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  clear() {
    this.empty = true;
    this.bytes = new Uint8Array(this.channels * this.height * this.width).fill(this.ground);
    this.show();
  }

  /** Shows bytes in place of the drawing. */
  set(bytes) {
    this.empty = false;
    this.bytes = bytes.slice();
    this.show();
    this.changed();
  }

  /** Draws a line with soft edges, a fourteenth of the picture wide. */
  stroke([x0, y0], [x1, y1]) {
    const radius = Math.max(this.width, this.height) / 22;
    for (let y = 0; y < this.height; y++) {
      for (let x = 0; x < this.width; x++) {
        const [dx, dy] = [x1 - x0, y1 - y0];
        const along = Math.max(0, Math.min(1, ((x + 0.5 - x0) * dx + (y + 0.5 - y0) * dy) / (dx * dx + dy * dy || 1)));
        const distance = Math.hypot(x + 0.5 - x0 - along * dx, y + 0.5 - y0 - along * dy);
        const cover = Math.max(0, Math.min(1, radius + 0.5 - distance));
        for (let channel = 0; channel < this.channels; channel++) {
          const at = (channel * this.height + y) * this.width + x;
          const share = (this.bytes[at] - this.ground) / (this.ink - this.ground || 1);
          this.bytes[at] = Math.round(this.ground + Math.max(share, cover) * (this.ink - this.ground));
        }
      }
    }
    this.empty = false;
    this.show();
    this.changed();
  }

  show() {
    const pixels = this.height * this.width;
    const cursor = document.activeElement === this.canvas ? this.cursor[1] * this.width + this.cursor[0] : -1;
    drawMatrix(this.canvas, this.height, this.width, (i) => {
      if (i === cursor) return paint("mark");
      return [0, 1, 2].map((channel) => this.bytes[Math.min(channel, this.channels - 1) * pixels + i]);
    });
  }

  /** As a network sees it. */
  normalized() {
    return Float32Array.from(this.bytes, (byte) => (byte / 255 - this.data.mean) / this.data.deviation);
  }

  /** Sixteen levels in a hexadecimal digit each, for an address; empty for no drawing, or one that is too large. */
  get text() {
    if (this.empty || this.bytes.length > 1024) return "";
    return Array.from(this.bytes, (byte) => (byte >> 4).toString(16)).join("");
  }

  set text(text) {
    if (text.length === this.bytes.length && /^[0-9a-f]+$/.test(text)) {
      this.set(Uint8Array.from(text, (digit) => 17 * parseInt(digit, 16)));
    }
  }
}

/** Reads files as examples for the splits of an experiment. Throws an Error that says what is wrong with them. */
async function readOwn(files, { shape, classes, counts }) {
  const named = files.filter((file) => !/(^|\/)\./.test(pathOf(file)));
  const idx = named.filter((file) => /idx|ubyte/.test(file.name));
  const examples = idx.length > 0 ? await readIdx(idx, shape, classes.length) : await readPictures(named, shape, classes.length);
  // The same order for the same files.
  const next = uniforms(1, [0, 0]);
  const order = examples.labels.map((_, i) => i);
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor((i + 1) * next());
    [order[i], order[j]] = [order[j], order[i]];
  }
  const all = Object.values(counts).reduce((sum, count) => sum + count, 0);
  const size = shape.reduce((product, side) => product * side, 1);
  const splits = {};
  let from = 0;
  for (const [split, count] of Object.entries(counts)) {
    const share = Math.max(1, Math.round((order.length * count) / all));
    const own = order.slice(from, Math.min(order.length, from + share));
    from += share;
    if (own.length === 0) throw new Error(`${order.length} images are too few for training and test: give more`);
    const images = new Uint8Array(Math.ceil((count * size) / 4) * 4);
    const labels = new Uint32Array(count);
    for (let slot = 0; slot < count; slot++) {
      const example = own[slot % own.length];
      images.set(examples.images[example], slot * size);
      labels[slot] = examples.labels[example];
    }
    splits[split] = { images, labels, own: Math.min(own.length, count) };
  }
  return { splits, classes: examples.classes, found: order.length };
}

function pathOf(file) {
  return file.path ?? (file.webkitRelativePath || file.name);
}

/** An IDX pair: images of bytes, and their labels. Packed with gzip or not. */
async function readIdx(files, shape, most) {
  let [images, labels] = [null, null];
  for (const file of files) {
    const stream = file.name.endsWith(".gz") ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    const view = new DataView(bytes.buffer);
    const [type, axes] = [bytes[2], bytes[3]];
    if (bytes[0] !== 0 || bytes[1] !== 0 || type !== 8) throw new Error(`${file.name} is no IDX file of bytes`);
    const sizes = Array.from({ length: axes }, (_, axis) => view.getUint32(4 + 4 * axis));
    const values = bytes.subarray(4 + 4 * axes);
    if (values.length !== sizes.reduce((all, size) => all * size, 1)) throw new Error(`${file.name} is cut off`);
    if (axes === 1) labels = values;
    else if (axes === 3) images = { sizes, values };
    else throw new Error(`${file.name} has ${axes} axes: images have 3, labels 1`);
  }
  if (!images || !labels) throw new Error("an IDX pair is two files: give the images and their labels together");
  if (images.sizes[0] !== labels.length) throw new Error(`${images.sizes[0]} images, but ${labels.length} labels`);
  const [count, height, width] = images.sizes;
  const used = Math.min(count, 20000);
  const largest = labels.subarray(0, used).reduce((a, b) => Math.max(a, b), 0);
  if (largest >= most) throw new Error(`label ${largest} is too large: this page's networks tell ${most} classes apart`);
  const pictures = [];
  for (let i = 0; i < used; i++) {
    const gray = images.values.subarray(i * height * width, (i + 1) * height * width);
    pictures.push(resized(pictureOfGray(gray, width, height), shape));
  }
  return { images: pictures, labels: Array.from(labels.subarray(0, used)), classes: Array.from({ length: most }, (_, i) => String(i)) };
}

/** Image files; the folder of each is its class. */
async function readPictures(files, shape, most) {
  const pictures = files.filter((file) => /^image\//.test(file.type)).slice(0, 20000);
  if (pictures.length === 0) throw new Error("no images among these files: give a folder with a folder of images for each class, or an IDX pair");
  const folder = (file) => pathOf(file).split("/").at(-2) ?? "";
  const classes = [...new Set(pictures.map(folder))].sort();
  if (classes.length < 2) throw new Error("the images are of one class: put those of each class into a folder of its own");
  if (classes.length > most) throw new Error(`${classes.length} classes are too many: this page's networks tell ${most} apart`);
  const images = [];
  for (const file of pictures) {
    const bitmap = await createImageBitmap(file).catch(() => { throw new Error(`${pathOf(file)} is no image that this browser reads`); });
    images.push(resized(bitmap, shape));
    bitmap.close();
  }
  return { images, labels: pictures.map((file) => classes.indexOf(folder(file))), classes };
}

function pictureOfGray(gray, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  gray.forEach((byte, i) => image.data.set([byte, byte, byte, 255], 4 * i));
  context.putImageData(image, 0, 0);
  return canvas;
}

/** The bytes [channels, height, width] of a picture in another size. */
function resized(picture, [channels, height, width]) {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const bytes = new Uint8Array(channels * height * width);
  for (let i = 0; i < height * width; i++) {
    const [red, green, blue] = data.subarray(4 * i, 4 * i + 3);
    if (channels === 1) bytes[i] = Math.round(0.299 * red + 0.587 * green + 0.114 * blue);
    else [red, green, blue].forEach((value, channel) => { bytes[channel * height * width + i] = value; });
  }
  return bytes;
}

/** Files that were dropped, those in folders included, each with its path. */
async function droppedFiles(transfer) {
  const walk = async (entry, path) => {
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      file.path = path + file.name;
      return [file];
    }
    const reader = entry.createReader();
    const found = [];
    // A reader gives some of the entries at a time.
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (some.length === 0) break;
      for (const inner of some) found.push(...await walk(inner, `${path}${entry.name}/`));
    }
    return found;
  };
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  return (await Promise.all(entries.map((entry) => walk(entry, "")))).flat();
}
