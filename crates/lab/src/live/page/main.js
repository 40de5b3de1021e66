// main.js: the page. It opens the GPU, wires the controls, keeps the address, and takes steps.

"use strict";

const $ = (id) => document.getElementById(id);

/** Steps between two looks at the arms: test results, Gram matrices, weights. */
const LOOK_EVERY = 10;

/** Milliseconds that steps between two pictures should take. */
const PATIENCE = 120;

function say(text) {
  $("message").textContent = text;
  $("message").hidden = text === "";
}

async function openDevice() {
  if (!navigator.gpu) {
    const why = window.isSecureContext ? "This browser has no WebGPU" : "WebGPU needs a page from https:// or localhost";
    throw new Error(`${why}. Chrome and Edge from version 113, Safari from version 26 and Firefox from version 141 on Windows have it. ` +
      "Nothing on this page can train without it.");
  }
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) throw new Error("This browser has WebGPU but found no GPU that it trusts. Nothing on this page can train without one.");
  const features = ["timestamp-query"].filter((feature) => adapter.features.has(feature));
  const device = await adapter.requestDevice({ requiredFeatures: features });
  device.addEventListener("uncapturederror", ({ error }) => { console.error(error.message); say(`The GPU refused something: ${error.message}`); });
  device.lost.then(({ message }) => say(`The GPU is gone (${message || "no reason given"}). Reload the page to go on.`));
  return device;
}

class Page {
  constructor(replay, info) {
    this.replay = replay;
    this.experiment = new Experiment(replay, info);
    this.playing = false;
    // The last pair is the one nearest to the answer.
    this.pair = Math.max(0, ...info.arms.map(({ pairs }) => pairs.length - 1));
    this.usualPair = this.pair;
    this.chunk = 1;
    this.known = null;
    /** Changes of an address that are still to come, and the step to stop at. */
    this.planned = [];
    this.until = null;
    /** Work on the GPU, one after another. */
    this.queue = Promise.resolve();
    this.cards = new ArmCards($("arms"), this.experiment, (pair) => { this.pair = pair; this.show(); Address.write(this); });
    this.drawing = new Drawing($("drawing"), replay, info.data, () => { this.known = null; this.answerSoon(); });
    this.kernels = new KernelReader({
      plan: $("plan"), rows: $("rows"), total: $("total"), dialog: $("kernel"), close: $("close"), title: $("kernel-title"), facts: $("facts"), map: $("map"), source: $("source"),
    }, replay, this.experiment);
    this.wire(info);
  }

  /** Runs work after all that was asked for before. An error is shown, and training stops. */
  after(work) {
    this.queue = this.queue.then(work).catch((error) => {
      console.error(error);
      this.playing = false;
      say(`That failed: ${error.message}`);
    });
    return this.queue;
  }

  wire(info) {
    const { experiment } = this;
    $("play").addEventListener("click", () => this.toggle());
    $("step").addEventListener("click", () => this.takeOne(false));
    $("restart").addEventListener("click", () => this.restart(this.seedAsked()));
    $("seed").addEventListener("change", () => this.restart(this.seedAsked()));
    $("dice").addEventListener("click", () => this.restart(Math.floor(1e6 * Math.random())));
    $("copy").addEventListener("click", async () => {
      Address.write(this);
      const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
      $("copied").textContent = copied ? "copied" : "the address bar has it";
    });
    info.arms.forEach((arm, color) => {
      const label = document.createElement("label");
      label.style.setProperty("--own", `var(--arm-${color})`);
      label.innerHTML = `<input type="checkbox" checked name="${escapeText(arm.name)}"> ${escapeText(arm.name)} <small>${escapeText(arm.words)}</small>`;
      label.querySelector("input").addEventListener("change", (event) => this.switchArm(arm.name, event.target.checked));
      $("switches").append(label);
    });
    $("weight").addEventListener("input", () => this.change("weight", Number($("weight").value)));
    $("rate").addEventListener("input", () => this.change("rate", Number((10 ** Number($("rate").value)).toPrecision(3))));
    $("leave").addEventListener("input", () => this.change("leave", Number($("leave").value)));
    $("leave").max = experiment.steps;
    $("file").addEventListener("click", () => {
      for (const name of ["weight", "rate", "leave"]) this.change(name, null);
    });
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, textarea, button, a, summary, dialog, canvas");
      if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
      const keys = { " ": () => this.toggle(), s: () => $("step").click(), r: () => $("restart").click() };
      if (keys[event.key]) {
        event.preventDefault();
        keys[event.key]();
      }
    });
    $("clear").addEventListener("click", () => { this.known = null; this.drawing.clear(); this.answerSoon(); });
    $("example").addEventListener("click", () => this.showExample());
    $("measure").disabled = !this.replay.device.features.has("timestamp-query");
    $("measure").title = $("measure").disabled ? "This browser has no time stamps" : "";
    $("measure").addEventListener("click", () => this.takeOne(true));
    for (const input of [$("files"), $("folder")]) {
      input.addEventListener("change", () => { this.takeFiles(async () => [...input.files]).then(() => { input.value = ""; }); });
    }
    const drop = $("drop");
    drop.addEventListener("dragover", (event) => { event.preventDefault(); drop.classList.add("over"); });
    drop.addEventListener("dragleave", () => drop.classList.remove("over"));
    drop.addEventListener("drop", (event) => {
      event.preventDefault();
      drop.classList.remove("over");
      const files = droppedFiles(event.dataTransfer);
      this.takeFiles(() => files);
    });
    $("back").addEventListener("click", () => {
      experiment.own = null;
      experiment.info.data.classes = this.classes;
      this.showData();
      this.restart(experiment.seed);
    });
    this.classes = info.data.classes;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.drawing.show(); this.show(); });
    addEventListener("resize", () => this.show());
    addEventListener("hashchange", () => this.follow(Address.read()));
    this.showData();
  }

  seedAsked() {
    const seed = Math.round(Number($("seed").value));
    return Number.isFinite(seed) ? Math.min(Math.max(seed, 0), 4294967295) : this.experiment.seed;
  }

  /** Makes the page what an address says. */
  follow({ seed, step, pair, arms, changes, drawing }) {
    const { info } = this.experiment;
    const names = info.arms.map(({ name }) => name).filter((name) => !arms || arms.includes(name));
    this.experiment.active = new Set(names.length ? names : info.arms.map(({ name }) => name));
    for (const box of $("switches").querySelectorAll("input")) box.checked = this.experiment.active.has(box.name);
    this.pair = Math.min(Math.max(Math.round(pair ?? this.usualPair), 0), this.usualPair);
    if (drawing) this.drawing.text = drawing;
    this.planned = changes;
    this.until = step > 0 ? Math.min(Math.round(step), this.experiment.steps) : null;
    this.pause();
    this.after(async () => {
      this.experiment.restart(Math.min(Math.max(Math.round(seed ?? info.seed), 0), 4294967295), {});
      this.applyPlanned();
      await this.experiment.look();
      this.show();
      if (this.until) this.play();
    });
  }

  applyPlanned() {
    const due = this.planned.filter(({ step }) => step <= this.experiment.step);
    for (const { name, value } of due) this.experiment.change(name, value);
    this.planned = this.planned.filter(({ step }) => step > this.experiment.step);
  }

  change(name, value) {
    // What a reader does goes before what an address planned.
    this.planned = [];
    this.after(() => {
      this.experiment.change(name, value);
      this.show();
      Address.write(this);
    });
  }

  switchArm(name, on) {
    const { active } = this.experiment;
    if (on) active.add(name);
    else active.delete(name);
    // All arms are at one step, so one that comes back begins with the others.
    if (on && this.experiment.step > 0) this.restart(this.experiment.seed);
    else this.after(() => { this.show(); Address.write(this); });
  }

  restart(seed) {
    const kept = { ...this.experiment.settings };
    this.planned = [];
    this.until = null;
    this.after(async () => {
      this.experiment.restart(seed, kept);
      await this.experiment.look();
      this.show();
      this.answerSoon();
      Address.write(this);
    });
  }

  toggle() {
    if (this.playing) {
      this.pause();
    } else {
      if (this.experiment.step >= this.experiment.steps) this.restart(this.experiment.seed);
      this.until = null;
      this.play();
    }
  }

  pause() {
    this.playing = false;
    this.showPlaying();
  }

  async play() {
    if (this.playing) return;
    this.playing = true;
    this.showPlaying();
    while (this.playing) {
      await this.after(() => this.tick(this.chunk, false));
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    this.showPlaying();
    await this.after(async () => {
      await this.experiment.look();
      this.show();
      this.answerSoon();
      Address.write(this);
    });
  }

  /** Takes a step, measured or not. */
  takeOne(timed) {
    this.pause();
    this.until = null;
    this.after(() => this.tick(1, true, timed));
  }

  /** Takes up to `count` steps. */
  async tick(count, look, timed = false) {
    const { experiment } = this;
    this.applyPlanned();
    const end = this.until ?? experiment.steps;
    const stops = [end, (Math.floor(experiment.step / LOOK_EVERY) + 1) * LOOK_EVERY, ...this.planned.map(({ step }) => step)];
    const limit = Math.min(count, ...stops.map((stop) => stop - experiment.step).filter((left) => left > 0));
    if (experiment.step >= end || experiment.training().length === 0) {
      this.pause();
      return;
    }
    const began = performance.now();
    const times = await experiment.advance(limit, timed);
    const took = performance.now() - began;
    if (took < PATIENCE / 2 && limit === this.chunk) this.chunk = Math.min(2 * this.chunk, LOOK_EVERY);
    if (took > 2 * PATIENCE) this.chunk = Math.max(1, this.chunk >> 1);
    if (timed && times) this.kernels.add(times);
    this.rate = (1000 * limit) / took;
    if (look || experiment.step % LOOK_EVERY === 0) {
      await experiment.look();
      if (!this.drawing.empty) this.showAnswer(await experiment.answer(this.drawing.normalized()));
      if (look) Address.write(this);
    }
    this.show();
    if (experiment.step >= end) this.pause();
  }

  /** Asks the arms about the drawing, once for several strokes. */
  answerSoon() {
    if (this.asked) return;
    this.asked = true;
    this.after(async () => {
      this.asked = false;
      if (this.drawing.empty) $("answers").innerHTML = "";
      else this.showAnswer(await this.experiment.answer(this.drawing.normalized()));
      Address.write(this);
    });
  }

  showAnswer(answers) {
    showAnswers($("answers"), answers, this.experiment, this.known);
  }

  /** Shows one of the images that no arm learns from. */
  showExample() {
    const { replay, experiment } = this;
    const { data } = experiment.info;
    const split = Object.keys(data.counts).at(-1);
    const { images, labels } = experiment.own?.splits[split] ?? { images: recorded(replay, `${split}.images`), labels: recorded(replay, `${split}.labels`) };
    const size = data.shape.reduce((all, side) => all * side, 1);
    const example = Math.floor(Math.random() * labels.length);
    this.drawing.set(images.subarray(example * size, (example + 1) * size));
    this.known = labels[example];
  }

  takeFiles(files) {
    return this.after(async () => {
      const { experiment } = this;
      $("own").textContent = "reading …";
      try {
        const own = await readOwn(await files(), { ...experiment.info.data, classes: this.classes });
        experiment.own = own;
        // The networks have as many outputs as before.
        experiment.info.data.classes = this.classes.map((_, i) => own.classes[i] ?? "–");
      } catch (error) {
        $("own").textContent = `Not taken: ${error.message}.`;
        return;
      }
      this.showData();
      this.drawing.clear();
      this.restart(experiment.seed);
    });
  }

  showData() {
    const { own, info } = this.experiment;
    const { name, shape, counts, classes } = info.data;
    const numbers = Object.entries(own ? Object.fromEntries(Object.entries(own.splits).map(([split, { own: found }]) => [split, found])) : counts);
    const told = numbers.map(([split, count]) => `${count} ${split}`).join(", ");
    const used = classes.filter((word) => word !== "–");
    $("own").textContent = `${own ? "Your images" : name}: ${told}, ${shape.at(-1)} × ${shape.at(-2)} pixels, of ${used.length} classes (${used.join(", ")}).` +
      (own ? " A trained guide has learned from the images that the page came with. A link does not hold yours." : "");
    $("back").hidden = !own;
  }

  showPlaying() {
    $("play").textContent = this.playing ? "Pause" : "Play";
    $("play").setAttribute("aria-pressed", String(this.playing));
  }

  show() {
    const { experiment } = this;
    const { arms } = experiment.info;
    const guided = arms.find((arm) => arm.guided && experiment.active.has(arm.name));
    const { rate = null, weight = null, leave = null } = experiment.settings;
    $("seed").value = experiment.seed;
    const first = (name) => (guided ?? arms[0])[name];
    $("weight").value = weight ?? first("weight");
    $("weight-value").textContent = short(weight ?? first("weight"));
    $("rate").value = Math.log10(Math.max(rate ?? first("rate"), 1e-5));
    $("rate-value").textContent = short(rate ?? first("rate"));
    $("leave").value = leave ?? first("guided_steps");
    const leaves = leave ?? first("guided_steps");
    $("leave-value").textContent = leaves >= experiment.steps ? "stays" : `step ${leaves}`;
    for (const name of ["weight", "leave"]) $(name).disabled = !guided;
    const lines = (points) => arms.map((arm, color) => ({ name: arm.name, color, points: experiment.active.has(arm.name) ? points(experiment.curves.get(arm.name)) : [] }));
    const mark = guided && experiment.leaves(guided) < experiment.steps ? experiment.leaves(guided) : null;
    const width = Math.max(280, $("losses").clientWidth || 560);
    const common = { steps: experiment.steps, mark, width };
    $("losses").innerHTML = chart({ ...common, title: "Training loss, mean of the last ten steps", unit: "",
      lines: lines(({ steps, losses }) => smoothed(losses, 10).map((loss, i) => [steps[i] + 1, loss])) });
    const top1 = lines(({ looks }) => looks.map(({ step, top1 }) => [step, 100 * top1]));
    const best = Math.max(20, ...top1.flatMap(({ points }) => points.map(([, y]) => y)));
    $("accuracies").innerHTML = chart({ ...common, title: "Test top-1", unit: " %", low: 0, high: Math.min(100, 10 * Math.ceil(best / 10 + 0.2)), lines: top1 });
    this.cards.show(this.pair);
    $("progress").textContent = `step ${experiment.step} of ${experiment.steps}` + (this.playing && this.rate ? `, ${short(this.rate)} steps/s` : "");
    const difference = experiment.difference();
    $("difference").textContent = difference
      ? `The native program took the same steps on ${experiment.info.adapter}: the ${difference.count} losses that can be compared differ by at most ${difference.worst.toExponential(1)} of their size.` +
        (difference.worst > 1e-3 ? " GPUs round differently, and training amplifies it." : "")
      : "";
    if (experiment.step % LOOK_EVERY === 0 || !this.playing) {
      const told = top1.filter(({ points }) => points.length).map(({ name, points }) => `${name} ${points.at(-1)[1].toFixed(0)} %`);
      $("told").textContent = `Step ${experiment.step}: ${told.join(", ")}`;
    }
  }
}

async function main() {
  const { plans, experiment: info } = JSON.parse($("data").textContent);
  try {
    say("Opening the GPU …");
    const device = await openDevice();
    const replay = await Replay.open(device, plans, (done, all) => say(`Compiling kernels: ${done} of ${all}`));
    say("");
    $("app").hidden = false;
    const page = new Page(replay, info);
    page.follow(Address.read());
    await page.queue;
    window.trellis = page;
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    console.error(error);
    $("app").hidden = true;
    say(error.message);
    document.documentElement.dataset.ready = "no";
  }
}

main();
