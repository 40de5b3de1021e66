// The live page in Chromium: it loads, trains as the native program does, and its controls work.
// Arguments: Chromium, the page, the same with another seed, one of a vision transformer, and, for pictures of the page, a folder.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Chromium, serve } from "./chromium.mjs";

const [chromium, small, other, vision, pictures] = process.argv.slice(2);

/** Relative difference of losses to the native program's. Rounding differs among GPUs, and training amplifies it. */
const TOLERANCE = 1e-3;

const dataOf = (file) => JSON.parse(readFileSync(file, "utf8").match(/<script type="application\/json" id="data">(.*?)<\/script>/s)[1]);
const { experiment: info } = dataOf(small);
const differences = (losses, reference) => losses.map((loss, i) => Math.abs(loss - reference[i]) / reference[i]);

const server = await serve({ "/": small, "/vision": vision });
const browser = new Chromium(chromium);
const folder = mkdtempSync(join(tmpdir(), "trellis-live-"));
let page;

const experiment = "window.trellis.experiment";
const losses = (arm) => page.value(`${experiment}.curves.get(${JSON.stringify(arm)}).losses`);
const idle = () => page.value("window.trellis.queue.then(() => {})");
const at = async (step) => {
  await page.until(`!window.trellis.playing && ${experiment}.step === ${step}`);
  await idle();
};
/** The first `steps` losses of each arm are those of the native program. */
const agrees = async (arms, steps) => {
  for (const arm of arms) {
    const own = await losses(arm.name);
    assert.deepEqual([own.length, arm.reference.length], [steps, steps], arm.name);
    const worst = Math.max(...differences(own, arm.reference));
    console.log(`  ${arm.name}: ${worst.toExponential(1)}`);
    assert.ok(worst <= TOLERANCE, `${arm.name}: ${worst}`);
  }
};
const go = async (address) => {
  await page.value(`location.hash = ${JSON.stringify(address)}; new Promise((resolve) => setTimeout(resolve, 50))`);
  await idle();
};

const tests = {
  async "a browser without WebGPU is told so"() {
    const bare = await browser.open(server.address, "Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined })");
    await bare.until("document.documentElement.dataset.ready");
    assert.match(await bare.value("document.getElementById('message').textContent"), /no WebGPU.*Chrome/);
    assert.equal(await bare.value("document.getElementById('app').hidden"), true);
  },
  async "it loads"() {
    page = await browser.open(`${server.address}/#step=50`);
    await page.until("document.documentElement.dataset.ready");
    assert.equal(await page.value("document.getElementById('message').textContent"), "");
    assert.equal(await page.value("document.documentElement.dataset.ready"), "yes");
  },
  async "50 steps have the losses of the native program"() {
    await at(50);
    await agrees(info.arms, 50);
    assert.match(await page.value("document.getElementById('difference').textContent"), /the 200 losses .* differ by at most/);
  },
  async "curves, similarities and matrices are those of the arms"() {
    const lines = await page.value("[...document.querySelectorAll('#losses path, #accuracies path')].length");
    assert.equal(lines, 2 * info.arms.length);
    for (const arm of info.arms) {
      const { cka, top1, confusion, count } = await page.value(`(({ pairs, top1, confusion, labels }) => ({ cka: pairs.map(({ cka }) => cka), top1,
        confusion: Array.from(confusion), count: labels.length }))(${experiment}.looked.get(${JSON.stringify(arm.name)}))`);
      assert.equal(cka.length, arm.pairs.length);
      assert.ok(cka.every((value) => value > 0 && value <= 1.000001), `${cka}`);
      const classes = info.data.classes.length;
      const right = confusion.filter((_, i) => i % (classes + 1) === 0).reduce((sum, n) => sum + n, 0);
      assert.equal(confusion.reduce((sum, n) => sum + n, 0), count);
      assert.ok(Math.abs(right / count - top1) < 1e-9);
    }
    // The guide pulls: the guided arm is nearer to it than the one that learns alone.
    const of = (arm) => page.value(`${experiment}.looked.get("${arm}").pairs.reduce((sum, { cka }) => sum + cka, 0)`);
    assert.ok(await of("trained") > await of("alone"));
  },
  async "pictures have words, and nothing is wider than a telephone"() {
    const unnamed = await page.value(`[...document.querySelectorAll("canvas, svg")].filter((element) => !element.getAttribute("aria-label")).length`);
    assert.equal(unnamed, 0);
    const unlabeled = await page.value(`[...document.querySelectorAll("input, select")].filter((element) => element.labels.length === 0).length`);
    assert.equal(unlabeled, 0);
    for (const scheme of ["light", "dark"]) {
      for (const width of [400, 1400]) {
        await page.look(width, scheme);
        assert.ok(await page.value("document.documentElement.scrollWidth") <= width);
        if (pictures) await page.picture(join(pictures, `live-${scheme}-${width}.png`));
      }
    }
  },
  async "step, restart and play"() {
    await page.click("#step");
    await at(51);
    await page.click("#restart");
    await at(0);
    assert.equal((await losses("alone")).length, 0);
    await page.click("#play");
    await page.until(`${experiment}.step > 0`);
    assert.equal(await page.value("document.getElementById('play').textContent"), "Pause");
    await page.click("#play");
    await page.until("!window.trellis.playing");
    await idle();
    const [loss] = await losses("alone");
    assert.ok(differences([loss], info.arms[0].reference)[0] <= TOLERANCE);
  },
  async "another seed has the weights and batches of the native program"() {
    const reference = dataOf(other).experiment.arms.find(({ name }) => name === "alone").reference;
    await go("seed=2&arms=alone&step=20");
    await at(20);
    const worst = Math.max(...differences(await losses("alone"), reference));
    console.log(`  alone, seed 2: ${worst.toExponential(1)}`);
    assert.ok(worst <= TOLERANCE, `${worst}`);
    assert.equal(await page.value("document.querySelectorAll('.arm:not([hidden])').length"), 1);
  },
  async "a guide that leaves at once, or has no weight, changes nothing"() {
    for (const change of ["leave", "weight"]) {
      await go(`step=5&arms=alone,pixels&changes=0:${change}:0`);
      await at(5);
      const [alone, pixels] = [await losses("alone"), await losses("pixels")];
      assert.ok(Math.max(...differences(pixels, alone)) < 1e-5, `${change}: ${pixels} and ${alone}`);
    }
  },
  async "sliders act from the next step on, and the address tells of it"() {
    await go("arms=alone,pixels&step=3");
    await at(3);
    const slide = (id, value) => page.value(`(() => { const slider = document.getElementById("${id}"); slider.value = ${value}; slider.dispatchEvent(new Event("input")); })()`);
    await slide("rate", -2);
    await slide("weight", 1.5);
    await slide("leave", 4);
    await idle();
    await page.click("#step");
    await at(4);
    await page.click("#step");
    await at(5);
    const address = await page.value("location.hash");
    assert.match(address, /changes=3:rate:0.01,3:weight:1.5,3:leave:4/);
    const [alone, pixels] = [await losses("alone"), await losses("pixels")];
    await go("arms=alone,pixels&step=5");
    await at(5);
    assert.notDeepEqual((await losses("alone"))[4], alone[4], "the rate has an effect");
    await go(address.slice(1));
    await at(5);
    assert.deepEqual([await losses("alone"), await losses("pixels")], [alone, pixels], "the same bits again");
  },
  async "a drawing is answered, by pointer and by keys"() {
    await page.value("document.getElementById('drawing').scrollIntoView({ block: 'center' })");
    const box = await page.value("(({ left, top, width, height }) => ({ left, top, width, height }))(document.getElementById('drawing').getBoundingClientRect())");
    const mouse = (type, x, y) => page.send("Input.dispatchMouseEvent", { type, x: box.left + x * box.width, y: box.top + y * box.height, button: "left", buttons: 1, clickCount: 1 });
    await mouse("mousePressed", 0.2, 0.5);
    await mouse("mouseMoved", 0.8, 0.5);
    await mouse("mouseReleased", 0.8, 0.5);
    await page.until("document.querySelectorAll('#answers li').length === 6");
    const drawn = await page.value("window.trellis.drawing.text");
    await page.value("document.getElementById('drawing').focus()");
    for (const key of ["ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp", " "]) await page.send("Input.dispatchKeyEvent", { type: "keyDown", key, text: key === " " ? " " : undefined });
    await idle();
    const more = await page.value("window.trellis.drawing.text");
    assert.notEqual(more, drawn);
    await page.until(`location.hash.includes("drawing=${more}")`);
    await page.click("#clear");
    await page.until("document.querySelectorAll('#answers li').length === 0");
    await page.click("#example");
    await page.until("/right|wrong/.test(document.getElementById('answers').textContent)");
  },
  async "a kernel can be read and measured"() {
    await page.value("(() => { const plan = document.getElementById('plan'); plan.value = 'alone.alone'; plan.dispatchEvent(new Event('change')); })()");
    await page.click("#measure");
    await page.until("/ms on this GPU/.test(document.getElementById('total').textContent)");
    const times = await page.value("[...document.querySelectorAll('#rows tr')].map((row) => Number(row.lastElementChild.textContent))");
    assert.ok(times.length > 20 && times.some((time) => time > 0), `${times}`);
    await page.value("[...document.querySelectorAll('#rows button')].find((button) => button.textContent === 'matmul').click()");
    assert.equal(await page.value("document.getElementById('kernel').open"), true);
    assert.match(await page.value("document.getElementById('source').textContent"), /fn matmul\(/);
    assert.match(await page.value("document.getElementById('facts').textContent"), /threads.*workgroup memory.*GFLOP\/s/s);
    assert.match(await page.value("document.querySelector('#map svg').getAttribute('aria-label')"), /^2 workgroups, each of 256 invocations$/);
    if (pictures) await page.picture(join(pictures, "live-kernel.png"));
    await page.click("#close");
  },
  async "images of the reader's own take the place of the page's"() {
    // An IDX pair: 30 images of 8 × 8, each of one brightness, of three classes.
    const header = (...words) => words.flatMap((word) => [word >>> 24, (word >> 16) & 255, (word >> 8) & 255, word & 255]);
    const labels = Array.from({ length: 30 }, (_, i) => i % 3);
    writeFileSync(join(folder, "my-images-idx3-ubyte"), Buffer.from([...header(0x803, 30, 8, 8), ...labels.flatMap((label) => Array(64).fill(80 * label + 40))]));
    writeFileSync(join(folder, "my-labels-idx1-ubyte"), Buffer.from([...header(0x801, 30), ...labels]));
    await go("arms=alone");
    await page.files("#files", [join(folder, "my-images-idx3-ubyte")]);
    await page.until("/two files/.test(document.getElementById('own').textContent)");
    await page.files("#files", [join(folder, "my-images-idx3-ubyte"), join(folder, "my-labels-idx1-ubyte")]);
    await page.until("/Your images: 6 test, 24 train/.test(document.getElementById('own').textContent)");
    await idle();
    const [images, own] = await page.value("window.trellis.replay.read(['train.images', 'train.labels']).then((read) => read.map((values) => Array.from(values)))");
    assert.ok(own.every((label, i) => Math.abs(images[256 * i] - (80 * label + 40)) <= 1), "each label has its brightness");
    await page.click("#play");
    await page.until(`${experiment}.step >= 20`);
    await page.click("#play");
    await page.until("!window.trellis.playing");
    await idle();
    const course = await losses("alone");
    assert.ok(course.at(-1) < 0.5 * course[0], `it learns them: ${course}`);
    await page.click("#back");
    await at(0);
    assert.match(await page.value("document.getElementById('own').textContent"), /^glyphs/);
  },
  async "a vision transformer trains as the native one does"() {
    const first = page;
    page = await browser.open(`${server.address}/vision#step=10`);
    await page.until("document.documentElement.dataset.ready");
    assert.equal(await page.value("document.getElementById('message').textContent"), "");
    await at(10);
    await agrees(dataOf(vision).experiment.arms, 10);
    assert.deepEqual(page.errors, []);
    page = first;
  },
  async "nothing went wrong on the way"() {
    assert.deepEqual(page.errors, []);
  },
};

let failed = 0;
try {
  for (const [name, test] of Object.entries(tests)) {
    const began = Date.now();
    try {
      await test();
      console.log(`ok ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED ${name}\n${error.stack}\n${page?.errors.join("\n") ?? ""}`);
      if (!page) break;
    }
  }
} finally {
  await browser.close();
  server.close();
  rmSync(folder, { recursive: true, force: true });
}
console.log(failed ? `browser tests: ${failed} failed` : `browser tests: ${Object.keys(tests).length} passed`);
process.exitCode = failed ? 1 : 0;
